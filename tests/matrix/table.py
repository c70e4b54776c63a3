"""What the matrix found: on the terminal, and in docs/kernels.md, which is made from docs/kernels.json."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .results import Results

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
_OF_ONE_RUN = re.compile(r" /sys/fs/cgroup/\S+(?=:)|(?<=probee-test)-\d+-\w+")
_ORDER = ("here", "5.10", "6.1", "6.12", "sid")


@dataclass
class Row:
    kernel: str
    release: str
    results: Results
    seconds: float

    def reasons(self) -> Counter[str]:
        """As results have them, without what is of one run or release, so that kernels can be compared."""
        reasons = (why.replace(f" ({self.release})", "") for why in self.results.skipped.values())
        return Counter(_OF_ONE_RUN.sub("", why) for why in reasons)

    def facts(self) -> dict[str, object]:
        return {
            "release": self.release,
            "passed": len(self.results.passed),
            "skipped": dict(sorted(self.reasons().items())),
            "failed": dict(sorted(self.results.failed.items())),
            "not run": len(self.results.not_run),
        }


def print_table(rows: list[Row]) -> None:
    for row in rows:
        if row.results.skipped:
            print(f"\nskipped on {row.kernel}:")
            for reason, count in sorted(row.reasons().items()):
                print(f"  {count:4}  {reason}")
        if row.results.failed:
            print(f"\nfailed on {row.kernel}:")
            for test, reason in sorted(row.results.failed.items()):
                print(f"  {test}: {reason}")
    everywhere = set.intersection(*(set(row.results.skipped) for row in rows)) if rows else set()
    if everywhere:
        print(f"\nskipped on {' and '.join(row.kernel for row in rows)}, so not run at all:")
        for test in sorted(everywhere):
            print(f"  {test}: {rows[-1].results.skipped[test]}")
    heads = ("passed", "skipped", "failed", "not run", "minutes")
    print(f"\n{'kernel':8} {'release':28}" + "".join(f"{head:>8}" for head in heads))
    for row in rows:
        found = row.results
        counts = [len(group) for group in (found.passed, found.skipped, found.failed, found.not_run)]
        numbers = "".join(f"{count:8}" for count in counts)
        print(f"{row.kernel:8} {row.release:28}{numbers}{row.seconds / 60:8.1f}")


def update_docs(rows: list[Row]) -> None:
    """Replaces these kernels' facts in docs/kernels.json, and writes the page's table anew from all."""
    path = DOCS / "kernels.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known |= {row.kernel: row.facts() for row in rows}
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    page = (DOCS / "kernels.md").read_text()
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    (DOCS / "kernels.md").write_text(f"{before}{BEGIN}\n{render(known)}{END}{after}")


def render(known: dict[str, dict[str, object]]) -> str:
    """The table in Markdown: counts for each kernel, then what was missing where."""
    names = [name for name in _ORDER if name in known]
    lines = ["| kernel | release | passed | skipped | failed | not run |", "|---|---|---|---|---|---|"]
    reasons: dict[str, dict[str, int]] = {}
    for name in names:
        facts = known[name]
        skipped = facts["skipped"]
        failed = facts["failed"]
        assert isinstance(skipped, dict)
        assert isinstance(failed, dict)
        numbers = [facts["passed"], sum(skipped.values()), len(failed), facts.get("not run", 0)]
        lines.append(f"| {name} | {facts['release']} | {' | '.join(map(str, numbers))} |")
        for reason, count in skipped.items():
            reasons.setdefault(reason, {})[name] = count
    lines += ["", f"| why tests were skipped | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for reason, counts in sorted(reasons.items()):
        cells = [str(counts.get(name, "")) for name in names]
        lines.append(f"| {reason.replace('|', '/')} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
