"""`probee verify-cases`: the verdicts on a file of verifier cases, ours or the running kernel's."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from ..errors import ProbeeError
from ..verifier.cases import Case, CaseFile
from ..verifier.verdict import ACCEPT, REJECT, UNSUPPORTED, Verdict
from .run import check_file
from .style import bold
from .verify_live import LiveKernel

EXAMPLES = """\
examples:
  probee verify-cases cases.json.xz --json                one line of JSON a case
  probee verify-cases cases.json --compare                where we and the file's kernel differ
  sudo probee verify-cases cases.json --live --json       what the running kernel says
"""


class Answer:
    """A case with the verdict on it."""

    __slots__ = ("case", "retval", "seconds", "verdict")

    def __init__(self, case: Case, verdict: Verdict, seconds: float) -> None:
        self.case = case
        self.verdict = verdict
        self.seconds = seconds
        self.retval: int | None = None

    @property
    def line(self) -> dict[str, Any]:
        """What --json prints."""
        return {
            "id": self.case.id,
            "verdict": self.verdict.verdict,
            "message": self.verdict.message,
            "insns_processed": self.verdict.insns_processed,
            "retval": self.retval,
        }

    @property
    def known(self) -> str:
        """The verdict that the file has of a kernel; "" if that kernel could not say."""
        live = self.case.live
        return "" if live.get("env") else str(live.get("verdict") or "")

    @property
    def differs(self) -> bool:
        return bool(self.known) and self.verdict.verdict != self.known


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="probee verify-cases",
        description="Verdicts on a file of verifier cases: ours, without root, or the running kernel's.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE.json[.xz]")
    parser.add_argument("--json", action="store_true", help="one line of JSON a case")
    parser.add_argument("--live", action="store_true", help="ask the running kernel (needs root)")
    parser.add_argument("--kernel", default="live", help="whose rules count: 5.10, 6.1, 6.12, 6.18, live")
    parser.add_argument(
        "--btf", default="", metavar="FILE", help="that kernel's BTF (else the running one's)"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="list where the verdicts differ from the file's; exit code 1 if so",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases with TEXT in their id")
    opts = parser.parse_args(argv)
    check_file(opts.file)
    with open(opts.file, "rb") as file:
        btf = _btf(opts.btf)
        cases = CaseFile(file.read(), btf).cases
    chosen = [case for case in cases if opts.only in case.id]
    if not chosen:
        raise ProbeeError(f"{opts.file} has no case with {opts.only!r} in its id")
    answers = []
    for answer in _live(chosen) if opts.live else _ours(chosen, opts.kernel, btf, run=opts.json):
        answers.append(answer)
        if opts.json:
            print(json.dumps(answer.line), flush=True)
    if opts.compare:
        return _compare(answers, opts.json)
    if not opts.json:
        _summary(answers)
    return 0


def _btf(path: str = "") -> Any:
    from ..btf import kernel_btf, open_btf
    from ..errors import Unsupported

    if path:
        check_file(path)
        return open_btf(path)
    try:
        return kernel_btf()
    except (Unsupported, OSError):
        return None


def _ours(cases: list[Case], kernel: str, btf: Any, *, run: bool = False) -> Iterator[Answer]:
    """Our verdicts; `run`: what is accepted, and has runs, is run in a machine."""
    from ..verifier.verify import verify

    runner = _Runner(btf) if run else None
    for case in cases:
        start = time.thread_time()
        if case.problem:
            verdict = Verdict(UNSUPPORTED, case.problem)
        else:
            verdict = verify(case.program, kernel=kernel, kernel_btf=btf)
        answer = Answer(case, verdict, time.thread_time() - start)
        if runner is not None and verdict.accepted and case.runs:
            answer.retval = runner.first(case)
        yield answer


class _Runner:
    """A machine for the cases, made when the first of them is run."""

    def __init__(self, btf: Any) -> None:
        self._btf = btf
        self._runner: Any = None

    def first(self, case: Case) -> int | None:
        """What the first run of a case leaves in r0; None where the machine can't run it."""
        if self._runner is None:
            from ..machine.cases import CaseRunner

            self._runner = CaseRunner(btf=self._btf)
        try:
            found: list[int] = self._runner.run(case, verified=True)
        except ProbeeError:
            return None
        return found[0] if found else None


def _live(cases: list[Case]) -> Iterator[Answer]:
    for case in cases:
        start = time.perf_counter()
        retvals: list[int] = []
        try:
            if case.problem:
                raise ProbeeError(case.problem)
            with LiveKernel() as live:  # maps are a case's own: kept, they'd be too many descriptors
                verdict, retvals = live.verify(case.program, case.runs)
        except ProbeeError as problem:
            verdict = Verdict(UNSUPPORTED, str(problem))
        answer = Answer(case, verdict, time.perf_counter() - start)
        answer.retval = retvals[0] if retvals else None
        yield answer


def _compare(answers: list[Answer], as_json: bool) -> int:
    """Where the verdicts differ, the dangerous ones first: accepted, though the kernel refuses."""
    known = [answer for answer in answers if answer.known]
    differing = [answer for answer in known if answer.differs]
    worst = [answer for answer in differing if answer.verdict.verdict == ACCEPT]
    if not as_json:
        differing.sort(key=lambda answer: (answer.verdict.verdict != ACCEPT, answer.case.id))
        for answer in differing:
            verdict = answer.verdict
            print(f"{bold(answer.case.id)}")
            print(f"  ours:   {verdict.verdict} at {verdict.index}: {verdict.message}")
            print(f"  kernel: {answer.known}: {answer.case.live.get('message') or ''}")
        _summary(answers)
        _agreement(known, differing, worst)
    return 1 if differing else 0


def _agreement(known: list[Answer], differing: list[Answer], worst: list[Answer]) -> None:
    share = 100 * (1 - len(differing) / len(known)) if known else 100.0
    words = [
        answer
        for answer in known
        if answer.verdict.verdict == REJECT == answer.known
        and answer.verdict.message == answer.case.live.get("message")
    ]
    counted = [
        answer
        for answer in known
        if answer.verdict.verdict == ACCEPT == answer.known
        and answer.verdict.insns_processed == answer.case.live.get("insns_processed")
    ]
    rejects = sum(answer.verdict.verdict == REJECT == answer.known for answer in known)
    accepts = sum(answer.verdict.verdict == ACCEPT == answer.known for answer in known)
    print(f"\n{len(known) - len(differing)} of {len(known)} verdicts agree ({share:.2f} %)")
    print(f"accepted though the kernel refuses: {len(worst)}")
    print(f"the kernel's very words: {len(words)} of {rejects} refusals")
    print(f"the kernel's count of instructions: {len(counted)} of {accepts} accepted")


def _summary(answers: list[Answer]) -> None:
    """A table by family, then the totals."""
    families: dict[str, list[Answer]] = {}
    for answer in answers:
        families.setdefault(answer.case.family or "?", []).append(answer)
    width = max(len(name) for name in families)
    heads = ("cases", "accept", "reject", "unsupported", "differ")
    print(bold(f"{'family':<{width}}  " + "  ".join(f"{head:>{max(6, len(head))}}" for head in heads)))
    for name, held in sorted(families.items()):
        _row(name, held, width, heads)
    _row("all", answers, width, heads)
    seconds = sum(answer.seconds for answer in answers)
    insns = sum(answer.verdict.insns_processed for answer in answers)
    print(f"\n{insns} instructions processed in {seconds:.1f} s ({insns / max(seconds, 1e-9):,.0f} a second)")


def _row(name: str, held: list[Answer], width: int, heads: tuple[str, ...]) -> None:
    counts = [len(held)] + [
        sum(answer.verdict.verdict == verdict for answer in held) for verdict in (ACCEPT, REJECT, UNSUPPORTED)
    ]
    counts.append(sum(answer.differs for answer in held))
    cells = [f"{count or '':>{max(6, len(head))}}" for count, head in zip(counts, heads, strict=True)]
    print(f"{name:<{width}}  " + "  ".join(cells))
