"""Which of the kernel's selftest programs can be written in the language, and what keeps the others from it.

    python tests/selftests/audit.py /usr/src/linux-source-6.12 [--json] [--blocked FEATURE] [--file NAME]

A program counts as expressible only if everything that it uses is known, and the language has it. What the
language has comes from its own tables, and for constructs from tests that show them
(`audit_language.PROOFS`); a test that is named and does not exist is an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import audit_language
from audit_features import Program, Tree


class Report:
    """The result for a tree. `blockers` maps file names to what blocks them."""

    def __init__(self, tree: Tree) -> None:
        self.programs = [Program(file, tree) for file in tree.files()]
        self.blockers = {p.name: audit_language.blockers(p.features) for p in self.programs}

    @property
    def expressible(self) -> list[str]:
        return [name for name, blockers in self.blockers.items() if not blockers]

    @property
    def share(self) -> float:
        """Expressible programs among all."""
        return len(self.expressible) / len(self.programs) if self.programs else 0.0

    def frequency(self) -> list[tuple[str, int, int]]:
        """Blockers: how many programs each keeps out, and how many it alone keeps out; most first."""
        every = Counter(b for blockers in self.blockers.values() for b in blockers)
        alone = Counter(blockers[0] for blockers in self.blockers.values() if len(blockers) == 1)
        return sorted(((b, n, alone[b]) for b, n in every.items()), key=lambda row: (-row[1], row[0]))

    def as_json(self) -> dict[str, Any]:
        return {
            "programs": len(self.programs),
            "expressible": len(self.expressible),
            "share": round(self.share, 4),
            "negative": sum(p.negative for p in self.programs),
            "blockers": [
                {"blocker": b, "programs": n, "alone": alone, "reason": reason(b)}
                for b, n, alone in self.frequency()
            ],
            "files": {
                p.name: {
                    "features": sorted(p.features),
                    "blockers": self.blockers[p.name],
                    "negative": p.negative,
                }
                for p in self.programs
            },
        }

    def as_text(self, rows: int = 60) -> str:
        negative = {p.name for p in self.programs if p.negative}
        positive = [p.name for p in self.programs if not p.negative]
        good = sum(not self.blockers[name] for name in positive)
        lines = [
            f"expressible: {len(self.expressible)} of {len(self.programs)} programs, {self.share:.1%}",
            f"without those in which the verifier has to refuse something ({len(negative)}): "
            f"{good} of {len(positive)}, {good / max(len(positive), 1):.1%}",
            "",
            "programs  alone  blocker",
        ]
        for blocker, count, alone in self.frequency()[:rows]:
            why = reason(blocker)
            lines.append(f"{count:8}  {alone:5}  {blocker}" + (f" ({why})" if why else ""))
        return "\n".join(lines)


def reason(blocker: str) -> str:
    """Why a blocker stays one, "" if it could go."""
    return audit_language.IMPOSSIBLE.get(blocker.partition(": ")[2], "")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tree", type=Path, help="a kernel's source tree")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument("--rows", type=int, default=60, help="how many blockers to print")
    parser.add_argument("--blocked", metavar="FEATURE", help="the programs that this keeps out")
    parser.add_argument("--file", metavar="NAME", help="the features and blockers of one program")
    args = parser.parse_args(argv)
    missing = audit_language.missing_proofs()
    if missing:
        print("no such test:", *missing, sep="\n  ", file=sys.stderr)
        return 1
    report = Report(Tree(args.tree))
    if args.json:
        json.dump(report.as_json(), sys.stdout, indent=1)
    elif args.blocked:
        print(*(name for name, found in report.blockers.items() if args.blocked in found), sep="\n")
    elif args.file:
        program = next(p for p in report.programs if p.name == args.file)
        print(*sorted(program.features), "", "blocked by:", *report.blockers[args.file], sep="\n")
    else:
        print(report.as_text(args.rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
