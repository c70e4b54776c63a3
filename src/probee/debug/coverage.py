"""Which source lines and branches of BPF programs ran, for coverage.py's reports.

What runs are instructions; line info says which lines they are. Lines that the compiler left no instructions
of count as run if a neighbour of the same block ran. A branch is one of the source (`if`, `while`, `for`):
its ways are told apart by the lines that ran after it in the same function.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import ProbeeError
from ..machine.code import Code
from ..machine.env import Cpu
from ..machine.machine import Machine
from ..machine.ops import Op
from ..machine.step import Execution, Frame, Hooks
from .graph import telling
from .hooks import add, remove
from .places import NOWHERE, Places
from .suites import Suites

if TYPE_CHECKING:
    from coverage import CoverageData


class File:
    """What is known of one source file: `possible` lines with instructions, `run` lines, `arcs` from line to
    line, `branches` as (line, instruction) -> the ways taken (0: on, 1: jumped).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.possible: set[int] = set()
        self.run: set[int] = set()
        self.arcs: set[tuple[int, int]] = set()
        self.branches: dict[tuple[int, str, int], set[int]] = {}

    @property
    def python(self) -> bool:
        """Whether it is Python, and not C."""
        return self.name.endswith(".py")


class Coverage(Hooks):
    """Looks on while a machine's programs run. `files` is what was seen, by name."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self._lines: dict[Code, dict[int, tuple[File, int]]] = {}
        self._jumps: dict[tuple[Code, int], tuple[File, int]] = {}
        self._at: dict[Frame, tuple[File, int]] = {}
        self._cpus: list[Cpu] = []

    def watch(self, machine: Machine) -> None:
        """Look on at the programs of a machine, until `close`."""
        places = Places(machine)
        for program in places.programs():
            self._lines[program.code] = self._of(program.code, places)
        for cpu in machine.cpus:
            add(cpu, self)
            self._cpus.append(cpu)

    def _of(self, code: Code, places: Places) -> dict[int, tuple[File, int]]:
        """The instructions that tell whether their line ran."""

        def place_of(pc: int) -> tuple[File, int] | None:
            line = places.line(code, pc) if pc in code.ops else NOWHERE
            if not line.number or not os.path.exists(line.file):
                return None
            file = self.files.setdefault(line.file, File(line.file))
            file.possible.add(line.number)
            return file, line.number

        for pc, op in code.ops.items():
            place = place_of(pc) if op.kind == "jump" else None
            if place is not None:
                place[0].branches.setdefault((place[1], code.name, pc), set())
                self._jumps[code, pc] = place
        return telling(code.insns, place_of)

    def close(self) -> None:
        """Look on no more."""
        for cpu in self._cpus:
            remove(cpu, self)
        self._cpus.clear()

    # ---- looking on

    def before(self, execution: Execution) -> None:
        frame = execution.frames[-1]
        known = self._lines.get(frame.code)
        here = known.get(frame.pc) if known is not None else None
        if here is None:
            return
        last = self._at.get(frame)
        if last is not here:
            file, line = here
            file.run.add(line)
            if last is not None and last[0] is file and last[1] != line:
                file.arcs.add((last[1], line))
            self._at[frame] = here

    def branch(self, execution: Execution, op: Op, taken: bool) -> None:
        frame = execution.frames[-1]
        known = self._jumps.get((frame.code, op.pc))
        if known is not None:
            ways = known[0].branches.get((known[1], frame.code.name, op.pc))
            if ways is not None:
                ways.add(int(taken))

    def left(self, execution: Execution, result: int) -> None:
        last = self._at.pop(execution.frames[-1], None)
        if last is not None:
            last[0].arcs.add((last[1], -1))

    # ---- reports

    def lines(self, file: str) -> tuple[set[int], set[int]]:
        """The lines of a file that ran, and those that have instructions and did not."""
        found = self._file(file)
        return set(found.run), found.possible - found.run

    def branches(self, file: str) -> dict[int, tuple[int, int]]:
        """Line -> (ways taken, ways there are) of the conditional jumps that come from it."""
        out: dict[int, tuple[int, int]] = {}
        for (line, _, _), ways in self._file(file).branches.items():
            taken, all = out.get(line, (0, 0))
            out[line] = taken + len(ways), all + 2
        return out

    def _file(self, name: str) -> File:
        for path, file in self.files.items():
            if path == name or path.endswith(os.sep + name):
                return file
        known = ", ".join(os.path.basename(f) for f in self.files) or "none"
        raise ProbeeError(f"no program has lines of {name}; there are {known}")

    def report(self) -> str:
        """A table: file, lines, lines that did not run, branches, which lines are missing."""
        rows = []
        for name, file in sorted(self.files.items()):
            missing = sorted(file.possible - file.run)
            ways = sum(len(w) for w in file.branches.values())
            rows.append(
                f"{os.path.relpath(name):<40} {len(file.possible):>5} lines {len(missing):>5} missing "
                f"{ways:>5} of {2 * len(file.branches)} branches  {_ranges(missing)}".rstrip()
            )
        return "\n".join(rows)

    def save(self, data: CoverageData, only: Iterable[str] | None = None) -> list[str]:
        """Add what was seen to data of coverage.py; `only` these files. Returns the files that were added.

        C files need coverage's plugin `probee.debug.coverage_plugin`, which tells reports of their lines.
        """
        wanted = None if only is None else set(only)
        arcs = data.has_arcs() or not data.measured_files()
        added = []
        for name, file in self.files.items():
            if not file.run or (wanted is not None and name not in wanted):
                continue
            path = os.path.abspath(name)
            suites = Suites(name) if file.python else None
            run = file.run if suites is None else suites.lines(file.run, file.possible)
            if arcs:
                pairs = file.arcs if suites is None else suites.arcs(run, file.arcs, file.possible)
                data.add_arcs({path: pairs or {(-1, min(run))}})
            else:
                data.add_lines({path: run})
            if not file.python:
                data.add_file_tracers({path: PLUGIN})
            added.append(name)
        return added


PLUGIN = "probee.debug.coverage_plugin.Plugin"


def _ranges(numbers: list[int]) -> str:
    """ "3-5, 9" """
    out: list[list[int]] = []
    for n in numbers:
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def save(of: Coverage, current: Any, path: str = ".coverage", only: Iterable[str] | None = None) -> list[str]:
    """Put coverage where reports find it: into a running `coverage.Coverage` if there is one, else a file.

    Raises ProbeeError without coverage.py.
    """
    try:
        from coverage import CoverageData
    except ImportError:
        raise ProbeeError("coverage of BPF programs needs coverage.py: pip install coverage") from None
    if current is not None:
        return of.save(current.get_data(), only)
    data = CoverageData(basename=path)
    data.erase()
    added = of.save(data, only)
    data.write()
    return added
