"""A plugin of coverage.py that tells its reports which lines and branches of a C file are in BPF programs.

`plugins = probee.debug.coverage_plugin` in the section `run` of coverage's configuration switches it on.
Lines that have instructions come from the objects beside the source: `X.bpf.c` from `X.bpf.o` or `X.o`.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import Any

from coverage import CoveragePlugin
from coverage.plugin import FileReporter

from ..btf.parser import Btf
from ..isa.insn import decode
from ..obj import read_object
from ..obj.spec import LinkedProgram, ObjectSpec
from . import graph

_ENDINGS = (".c", ".h")


class Plugin(CoveragePlugin):
    """Reports on C files; what ran, `--bpf-cov` has noted."""

    def file_reporter(self, filename: str) -> FileReporter:
        return Reporter(filename)


class Reporter(FileReporter):
    """The lines and branches of one C file."""

    def __init__(self, filename: str) -> None:
        super().__init__(filename)
        self._lines: set[int] = set()
        self._arcs: set[tuple[int, int]] = set()
        base = filename.rpartition(".")[0]
        for path in (f"{base}.o", f"{base.removesuffix('.bpf')}.o"):
            if os.path.exists(path):
                with open(path, "rb") as file:
                    lines, arcs = ways(read_object(file.read(), path), filename)
                self._lines |= lines
                self._arcs |= arcs

    def lines(self) -> set[int]:
        """Those that have instructions."""
        return self._lines

    def arcs(self) -> set[tuple[int, int]]:
        """Which line may follow which; -1 is the end of a function."""
        return self._arcs

    def exit_counts(self) -> dict[int, int]:
        """How many lines may follow each line."""
        return dict(Counter(line for line, _ in self._arcs))


def ways(spec: ObjectSpec, file: str) -> tuple[set[int], set[tuple[int, int]]]:
    """The lines of a source file that an object has instructions of, and which may follow which."""
    lines: set[int] = set()
    arcs: set[tuple[int, int]] = set()
    name = os.path.basename(file)
    for program in spec.programs.values():
        linked = program.link()
        insns = decode(linked.insns, linked.endian)
        place_of = _places(linked, spec.btf)
        known = graph.telling(insns, place_of)
        lines |= {number for file, number in known.values() if os.path.basename(file) == name}
        for a, b in graph.arcs(insns, known):
            if os.path.basename(a[0]) == name and (b is None or b[0] == a[0]):
                arcs.add((a[1], -1 if b is None else b[1]))
    return lines, arcs


def _places(linked: LinkedProgram, btf: Btf | None) -> Callable[[int], tuple[str, int] | None]:
    """File and line of an instruction."""
    order = "<" if linked.endian == "little" else ">"
    starts, found = [], []
    if btf is not None:
        for insn, file, _, position in struct.iter_unpack(order + "IIII", linked.line_info):
            starts.append(insn)
            found.append((btf.string(file), position >> 10))

    def place_of(pc: int) -> tuple[str, int] | None:
        at = bisect_right(starts, pc) - 1
        return found[at] if at >= 0 and found[at][1] else None

    return place_of


def coverage_init(registry: Any, options: dict[str, Any]) -> None:
    """What coverage.py calls."""
    registry.add_file_tracer(Plugin())
