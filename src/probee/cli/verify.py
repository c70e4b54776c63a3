"""`probee verify`: will Linux take these programs? Our verifier's answer for any kernel, without root."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..errors import ObjectError, ProbeeError, Unsupported
from ..isa.tables import PROG_TYPES, name_of
from ..obj import read_object
from ..obj.spec import ObjectSpec
from ..tools import TOOLS
from ..verifier.explain import Explanation
from ..verifier.explain_verdict import Refusal, explain_verdict
from ..verifier.kernels import KNOWN, Rules
from ..verifier.objects import Objects, Prepared
from ..verifier.verdict import ACCEPT, REJECT, UNSUPPORTED, Verdict
from .run import check_file
from .style import bold, dim

EXAMPLES = """\
examples:
  probee verify examples/execsnoop.py                  will this machine's Linux take it?
  probee verify execsnoop.bpf.o --kernel 5.10          will Linux 5.10?
  probee verify tool.py --program on_exec --json       one program, for other programs to read
"""


class Result:
    """A program with the verdict on it; `refusal` explains one that is refused."""

    __slots__ = ("name", "prepared", "refusal", "type", "verdict")

    def __init__(self, name: str, type: str, verdict: Verdict, prepared: Prepared | None = None) -> None:
        self.name = name
        self.type = type
        self.verdict = verdict
        self.prepared = prepared
        self.refusal: Refusal | None = None
        if verdict.verdict == REJECT and prepared is not None:
            self.refusal = explain_verdict(prepared, verdict)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="probee verify",
        description="Whether Linux's verifier will take the programs of a Python file, a tool or an object, "
        "and why not. Needs no root and loads nothing. Exit code 1 if a program is refused.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="OBJECT.o|FILE.py|TOOL")
    parser.add_argument("--program", action="append", default=[], metavar="NAME", help="only this program")
    parser.add_argument(
        "--kernel", default="live", help=f"whose rules count: {', '.join(KNOWN)}, or live (the running one)"
    )
    parser.add_argument(
        "--btf", default="", metavar="FILE", help="that kernel's BTF (else the running one's)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object with all verdicts")
    parser.add_argument("--log", action="store_true", help="a log like the kernel's as well")
    opts = parser.parse_args(argv)
    rules = Rules(opts.kernel)
    spec = read(opts.file)
    unknown = [name for name in opts.program if name not in spec.programs]
    if unknown:
        raise ProbeeError(f"{opts.file} has no program {unknown[0]!r}; it has {', '.join(spec.programs)}")
    results = check(spec, rules.version if opts.kernel != "live" else "live", opts.btf, opts.program)
    if opts.json:
        print(json.dumps({"kernel": rules.version, "programs": [as_json(each) for each in results]}))
    else:
        for number, each in enumerate(results):
            if number and each.refusal:
                print()
            show(each)
            if opts.log and each.verdict.log:
                print(each.verdict.log)
    return 1 if any(each.verdict.verdict != ACCEPT for each in results) else 0


def read(path: str) -> ObjectSpec:
    """The programs of a Python file, a tool or an object."""
    named: Callable[[], bytes] | None = None
    if path.endswith(".py") or path in TOOLS:
        from ..lang import compile
        from .build import programs_of

        programs = programs_of(path)
        data = compile(programs, merge_syscalls=False)
        named = partial(compile, programs, merge_syscalls=False, debug="names")
    else:
        check_file(path)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise ProbeeError(f"can't read {path}: {error.strerror}") from None
    try:
        spec = read_object(data, os.path.basename(path))
        if named is not None:
            spec.debug = named
        return spec
    except ObjectError as error:
        raise ObjectError(f"{path}: {error}") from None


def check(spec: ObjectSpec, kernel: str, btf: str = "", only: list[str] | None = None) -> list[Result]:
    """The verdicts on the programs of an object, for Linux `kernel` ("live": the running one)."""
    from ..verifier.verify import verify

    target = _target(btf)
    objects = Objects(spec, target)
    results = []
    for name, program in spec.programs.items():
        if only and name not in only:
            continue
        kind = name_of(PROG_TYPES, program.prog_type)
        try:
            prepared = objects.prepare(program)
        except ObjectError as error:
            results.append(Result(name, kind, Verdict(UNSUPPORTED, str(error))))
            continue
        verdict = verify(prepared.program, kernel=kernel, kernel_btf=target, log_level=2)
        results.append(Result(name, kind, verdict, prepared))
    return results


def _target(path: str) -> Any:
    from ..btf import kernel_btf, open_btf

    if path:
        return open_btf(path)
    try:
        return kernel_btf()
    except (Unsupported, OSError):
        return None


def as_json(result: Result) -> dict[str, Any]:
    """A result for --json."""
    verdict = result.verdict
    found: dict[str, Any] = {
        "program": result.name,
        "type": result.type,
        "verdict": verdict.verdict,
        "message": verdict.message,
        "insn": verdict.index,
        "insns_processed": verdict.insns_processed,
        "total_states": verdict.total_states,
        "peak_states": verdict.peak_states,
        "stack_depth": verdict.stack_depth,
        "worst_path": verdict.worst_path,
    }
    if result.refusal:
        found.update(explanation_json(result.refusal.explanation))
        found["known"] = [
            {"register": each.register, "name": each.name, "line": each.line, "is": each.words}
            for each in result.refusal.known
        ]
    return found


def explanation_json(told: Explanation) -> dict[str, Any]:
    """What was found out about a refusal, for --json."""
    return {
        "file": told.place.file if told.place else "",
        "line": told.place.line if told.place else 0,
        "source": told.place.source if told.place else "",
        "cause_id": told.id,
        "cause": told.cause,
        "fix": told.fix,
        "variables": told.variables,
        "path": [step.as_json() for step in told.path],
    }


def show(result: Result) -> None:
    """A result for people."""
    verdict = result.verdict
    head = f"{bold(result.name)} ({result.type})"
    if verdict.verdict == ACCEPT:
        stack = "+".join(str(depth) for depth in verdict.stack_depth) or "0"
        longest = f", longest path {verdict.worst_path}" if verdict.worst_path else ""
        print(
            f"{head}: ok, {verdict.insns_processed} instructions processed, {verdict.total_states} states "
            f"(at most {verdict.peak_states} kept), stack {stack} bytes{longest}"
        )
        return
    if verdict.verdict == UNSUPPORTED:
        print(f"{head}: can't say: {verdict.message}")
        return
    print(f"{head}: refused")
    if result.refusal is None:
        print(f"  {verdict.message}")
        return
    show_explanation(result.refusal.explanation, [*map(str, result.refusal.known)], verdict.message)


def show_explanation(told: Explanation, known: Sequence[str], words: str = "") -> None:
    """A refusal for people: place, verdict, cause, what was known, the way there, what to do."""
    if told.place:
        print(f"  {told.place.file}:{told.place.line}" if told.place.file else f"  line {told.place.line}")
        print(f"    {told.place.source.strip()}")
    print(f"  {told.last_words or words}")
    if told.cause:
        print(f"  cause: {told.cause}")
    for each in known:
        print(f"  known: {each}")
    for name, is_ in told.variables.items():
        if not any(f" {name} (" in f" {each}" for each in known):
            print(f"  known: {name} is {is_}")
    ways = [step for step in told.path if step.place]
    if ways:
        print("  the way there:")
        for step in ways:
            place = step.place
            assert place is not None  # for the type checker: filtered above
            way = "jumps" if step.taken else "goes on"
            way += f", {step.times} times" if step.times > 1 else ""
            where = f"line {place.line}: " if place.line else ""
            print(f"    {where}{place.source.strip()}  {dim(f'({step.text}: {way})')}")
    if told.fix:
        print(f"  fix: {told.fix}")
