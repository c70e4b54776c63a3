"""Refused programs and faults as test failures to read: the test's line, then the program's, no frames of
probee.
"""

from __future__ import annotations

import linecache
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest._io import TerminalWriter

from ..errors import CompileError, ProbeeError, VerifierError
from ..machine.memory import Fault

_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep
_AROUND = 2  # source lines shown before and after the one that matters


class Refusal(TerminalRepr):
    """The report. `reprcrash` is what pytest's summary takes its one line from."""

    def __init__(self, text: str, crash: ReprFileLocation) -> None:
        self.text = text
        self.reprcrash = crash

    def toterminal(self, tw: TerminalWriter) -> None:
        for line in self.text.splitlines():
            red = line.startswith("E ")
            tw.line(line, red=red, bold=red)
        self.reprcrash.toterminal(tw)

    def __str__(self) -> str:
        return self.text


def readable(problem: BaseException, test: tuple[Path, int]) -> Refusal | None:
    """The failure in words, with the test's file and line; None for errors that a traceback tells better."""
    if not isinstance(problem, (CompileError, VerifierError, Fault)) and not _told(problem):
        return None
    place = _last_of_user(problem.__traceback__)
    out = []
    file, line = (str(test[0]), test[1]) if place is None else place
    if place is not None:
        out += [f"{_relative(file)}:{line}:", *_source(file, line), ""]
    out += [f"E   {text}" for text in _words(problem)]
    kind = type(problem).__name__
    brief = str(problem).splitlines()[0] if str(problem) else kind
    return Refusal("\n".join(out), ReprFileLocation(_relative(file), line, f"{kind}: {brief}"))


def _told(problem: BaseException) -> bool:
    """Whether probee says what the test did wrong: then its own frames tell nothing."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        return False
    if isinstance(problem, ProbeeError):
        return True
    line = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    return isinstance(problem, (AttributeError, TypeError, ValueError)) and line.lstrip().startswith("raise ")


def _words(problem: BaseException) -> list[str]:
    lines = str(problem).splitlines()
    if isinstance(problem, Fault):
        file, colon, number = problem.line.rpartition(":")
        if colon and number.isdigit():
            lines += ["", *_source(file, int(number))]
        if problem.registers:
            lines += ["", *_registers(problem.registers)]
    elif isinstance(problem, VerifierError) and not problem.explanation and problem.log:
        lines += ["", *problem.log.splitlines()[-12:]]
    return lines


def _registers(registers: dict[str, int]) -> list[str]:
    cells = [f"{name:>3} = {value:#x}" for name, value in registers.items()]
    return [
        "  ".join(f"{cell:<26}" for cell in cells[at : at + 4]).rstrip() for at in range(0, len(cells), 4)
    ]


def _source(file: str, line: int) -> list[str]:
    out = []
    for number in range(max(1, line - _AROUND), line + _AROUND + 1):
        text = linecache.getline(file, number).rstrip()
        if text or number == line:
            out.append(f"{'>' if number == line else ' '} {number:>4}  {text}")
    return out


def _last_of_user(trace: TracebackType | None) -> tuple[str, int] | None:
    """The innermost frame of the test: after it only probee's (or the library's that probee called)."""
    found = None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if os.path.exists(file) and not file.startswith(_PACKAGE) and not _library(file):
            found = file, trace.tb_lineno
        trace = trace.tb_next
    return found


def _library(file: str) -> bool:
    return f"{os.sep}site-packages{os.sep}" in file or file.startswith(os.path.dirname(os.__file__))


def _relative(file: str) -> str:
    near = os.path.relpath(file)
    return file if near.startswith("..") else near


def patch(report: Any, problem: BaseException, test: tuple[Path, int]) -> None:
    """Put the words in place of pytest's traceback."""
    found = readable(problem, test)
    if found is not None:
        report.longrepr = found
