"""`probee explain`: what a verifier's log says, on the lines of the source. Needs no root and no kernel."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ProbeeError
from ..obj.spec import ObjectSpec
from ..tools import TOOLS
from ..verifier.explain import Explanation, LineTable, explain
from .run import check_file
from .style import bold
from .verify import explanation_json, read, show_explanation
from .verify import main as verify

EXAMPLES = """\
examples:
  sudo bpftool prog load tool.bpf.o /sys/fs/bpf/x 2>&1 | probee explain
  probee explain refusal.log                            a log that somebody sent
  probee explain refusal.log --object tool.bpf.o        with the lines and variables of the object it is about
  probee explain tool.py                                the same as probee verify tool.py
"""
_MOST = 64 << 20  # bytes; the kernel's own limit is 16 MiB a log
_NAMED = re.compile(r"prog '([^']*)': BPF program load failed")
_BEGIN, _END = "-- BEGIN PROG LOAD LOG --", "-- END PROG LOAD LOG --"
_WALKED = re.compile(r"^\s*(?:\d+: \([0-9a-f]{2}\) |processed \d+ insns |Verification failed:)", re.MULTILINE)


class Log:
    """A verifier's log, and the program it is about as far as that is known."""

    __slots__ = ("program", "text")

    def __init__(self, program: str, text: str) -> None:
        self.program = program
        self.text = text


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="probee explain",
        description="What a verifier's log says: the line of the source, the way there, what was known, the "
        "cause and a fix. The log may be the kernel's alone, or stand in what bpftool, libbpf or another "
        "loader printed. An object, a Python file or a tool is verified here instead.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", nargs="?", default="-", metavar="LOG", help="standard input if left out, or -"
    )
    parser.add_argument("--object", default="", metavar="OBJECT.o|FILE.py|TOOL", help="what the log is about")
    parser.add_argument("--program", default="", metavar="NAME", help="which program of it")
    parser.add_argument("--json", action="store_true", help="one JSON object with all explanations")
    opts = parser.parse_args(argv)
    if _is_program(opts.file):
        words = [opts.file] + (["--program", opts.program] if opts.program else [])
        return verify(words + (["--json"] if opts.json else []))
    if opts.file == "-" and sys.stdin.isatty():
        print("probee explain: reading a log from the terminal; end it with Ctrl-D", file=sys.stderr)
    logs = split(_text(opts.file))
    if not logs:
        raise ProbeeError("this is no verifier's log: it has no instructions and no statistics in it")
    spec = read(opts.object) if opts.object else None
    found = []
    for log in logs:
        log.program = opts.program or log.program
        found.append((log.program, _explain(log, spec)))
    if opts.json:
        print(json.dumps({"logs": [_as_json(name, told) for name, told in found]}))
        return 0
    for number, (name, told) in enumerate(found):
        if number:
            print()
        print(
            f"{bold(name or 'the program')}: " + ("refused" if _refused(told) else "not refused in this log")
        )
        if _refused(told):
            show_explanation(told, [told.known] if told.known else [])
    return 0


def _is_program(path: str) -> bool:
    if path == "-":
        return False
    if path.endswith(".py") or path in TOOLS:
        return True
    check_file(path)
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError as error:
        raise ProbeeError(f"can't read {path}: {error.strerror}") from None


def _text(path: str) -> str:
    if path == "-":
        data = sys.stdin.buffer.read(_MOST + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise ProbeeError(f"more than {_MOST >> 20} MiB: no verifier writes such a log")
    return data.decode(errors="replace")


def split(text: str) -> list[Log]:
    """The verifier logs in what a loader printed. libbpf's are framed, each under its program's name."""
    logs = []
    if _BEGIN in text:
        name = ""
        for part in text.split(_END):
            before, _, log = part.partition(_BEGIN)
            name = next(iter(reversed(_NAMED.findall(before))), name)
            if log:
                logs.append(Log(name, _bare(log)))
    elif _WALKED.search(text):
        logs.append(Log("", _bare(text)))
    return logs


def _bare(log: str) -> str:
    """Without what loaders put before each line: tabs, `libbpf: `."""
    lines = [line.removeprefix("libbpf: ") for line in log.splitlines()]
    return "\n".join(line.removeprefix("\t") for line in lines) + "\n"


def _refused(told: Explanation) -> bool:
    return bool(told.last_words)


def _explain(log: Log, spec: ObjectSpec | None) -> Explanation:
    if spec is None:
        return explain(log.text)
    from ..btf import kernel_btf
    from ..errors import Unsupported
    from ..verifier.objects import Objects

    program = spec.programs.get(log.program)
    if program is None and not log.program and len(spec.programs) == 1:
        (program,) = spec.programs.values()
    if program is None:
        what = f"has no program {log.program!r}" if log.program else "has several programs: say which"
        raise ProbeeError(f"{os.path.basename(spec.name)} {what} (--program {'|'.join(spec.programs)})")
    log.program = program.name
    try:
        target = kernel_btf()
    except (Unsupported, OSError):
        target = None
    prepared = Objects(spec, target).prepare(program)
    names: Callable[[int], Mapping[str, str]] = prepared.names
    table = LineTable(prepared.line_info, prepared.program.btf)
    return explain(log.text, table, prepared.poisoned, names=names)


def _as_json(name: str, told: Explanation) -> dict[str, Any]:
    found = {"program": name, "verdict": "reject" if _refused(told) else "", "message": told.last_words}
    return {**found, "insn": told.insn, "known": told.known, **explanation_json(told)}
