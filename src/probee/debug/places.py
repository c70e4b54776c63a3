"""Where in the source a machine's programs are: lines, functions, and places that people write."""

from __future__ import annotations

import linecache
import os
from bisect import bisect_right
from struct import Struct
from typing import NamedTuple

from ..btf.kinds import ENUMS, INT, INT_SIGNED
from ..errors import ProbeeError
from ..machine.code import Code
from ..machine.load import Program
from ..machine.machine import Machine


class Line(NamedTuple):
    """A source line; `number` is 0 where the compiler names none."""

    file: str
    number: int

    @property
    def text(self) -> str:
        """The line itself, "" if the file is not there."""
        return linecache.getline(self.file, self.number).rstrip("\n")

    def __str__(self) -> str:
        near = os.path.relpath(self.file) if os.path.isabs(self.file) else os.path.normpath(self.file)
        return f"{self.file if near.startswith('../') else near}:{self.number}"


NOWHERE = Line("", 0)
FUNC_INFO = Struct("<II")  # instruction, BTF id: the machine is little-endian


class Places:
    """The places of all programs of a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._lines: dict[Code, dict[int, Line]] = {}

    def line(self, code: Code, pc: int) -> Line:
        """The source line of an instruction."""
        known = self._lines.setdefault(code, {})
        found = known.get(pc)
        if found is None:
            file, _, number = code.line_of(pc).rpartition(":")
            found = Line(file, int(number)) if number.isdigit() and int(number) else NOWHERE
            known[pc] = found
        return found

    def program(self, code: Code) -> Program | None:
        """The program that some code belongs to."""
        for collection in self.machine.collections:
            for program in collection.programs.values():
                if program.code is code:
                    return program
        return None

    def function(self, code: Code, pc: int) -> str:
        """The name of the function that an instruction belongs to."""
        return self.start(code, pc)[1]

    def start(self, code: Code, pc: int) -> tuple[int, str]:
        """The first instruction and the name of the function that an instruction belongs to."""
        program = self.program(code)
        if program is None:
            return 0, code.name
        starts = [start for start, _ in program.linked.functions]
        at = bisect_right(starts, pc) - 1
        return program.linked.functions[at] if at >= 0 else (0, code.name)

    def parameters(self, code: Code, start: int) -> list[tuple[str, int, bool]]:
        """Name, size in bytes and sign of the numbers that the function at `start` gets in r1 to r5. The
        size is 0 for what is no number.
        """
        program, btf = self.program(code), self.machine.services.types_of.get(code.base)
        if program is None or btf is None:
            return []
        id = dict(FUNC_INFO.iter_unpack(program.linked.func_info)).get(start)
        if id is None:
            return []
        out = []
        for name, type in btf.type(btf.type(id).type).params:
            kind = btf.type(btf.strip(type))
            number = kind.kind == INT or kind.kind in ENUMS
            signed = kind.kflag if kind.kind in ENUMS else bool(number and kind.encoding & INT_SIGNED)
            out.append((name, btf.size_of(type) if number else 0, signed))
        return out

    def functions(self) -> list[tuple[str, Code, int]]:
        """All functions: name, code, first instruction."""
        return [
            (name, program.code, start)
            for program in self.programs()
            for start, name in program.linked.functions
        ]

    def programs(self) -> list[Program]:
        """All programs of the machine."""
        return [p for c in self.machine.collections for p in c.programs.values()]

    def lines(self) -> set[Line]:
        """All lines that have instructions."""
        return {self.line(p.code, pc) for p in self.programs() for pc in p.code.ops} - {NOWHERE}

    def find_line(self, text: str, near: str) -> Line:
        """The line that "12" (in the file `near`) or "file.py:12" means: the next one with instructions.

        Raises ProbeeError if there is none.
        """
        file, _, number = text.rpartition(":")
        if not number.isdigit():
            raise ProbeeError(f"{text!r} is no line: write 12 or FILE:12")
        have = self.lines()
        files = {line.file for line in have}
        if file:
            chosen = {f for f in files if f == file or f.endswith(os.sep + file)}
        else:
            chosen = {near} & files or files
        if not chosen:
            raise ProbeeError(f"no program has lines in {file or 'any file'}; they are in {_names(files)}")
        if len(chosen) > 1:
            raise ProbeeError(f"line {number} of which file? {_names(chosen)}")
        only = chosen.pop()
        after = sorted(line for line in have if line.file == only and line.number >= int(number))
        if not after:
            last = max(line.number for line in have if line.file == only)
            raise ProbeeError(f"no instructions come from line {number} or after it; the last is {last}")
        return after[0]


def _names(files: set[str]) -> str:
    return ", ".join(sorted(os.path.basename(f) for f in files)) or "none: the object has no line info"
