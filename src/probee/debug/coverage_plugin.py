"""A plugin of coverage.py that tells its reports which lines of a C file are in BPF programs.

`plugins = probee.debug.coverage_plugin` in the section `run` of coverage's configuration switches it on.
Lines that have instructions come from the objects beside the source: `X.bpf.c` from `X.bpf.o` or `X.o`.
"""

from __future__ import annotations

import os
from typing import Any

from coverage import CoveragePlugin
from coverage.plugin import FileReporter

from ..btf.parser import Btf
from ..obj import read_object
from ..obj.spec import ObjectSpec
from ..verifier.explain import LineTable

_ENDINGS = (".c", ".h")


class Plugin(CoveragePlugin):
    """Reports on C files; what ran, `--bpf-cov` has noted."""

    def file_reporter(self, filename: str) -> FileReporter:
        return Reporter(filename)


class Reporter(FileReporter):
    """The lines of one C file."""

    def lines(self) -> set[int]:
        """Those that have instructions."""
        base = self.filename.rpartition(".")[0]
        found: set[int] = set()
        for path in (f"{base}.o", f"{base.removesuffix('.bpf')}.o"):
            if os.path.exists(path):
                with open(path, "rb") as file:
                    found |= lines_of(read_object(file.read(), path), self.filename)
        return found


def lines_of(spec: ObjectSpec, file: str) -> set[int]:
    """The lines of a source file that an object has instructions of."""
    found: set[int] = set()
    btf: Btf | None = spec.btf
    for program in spec.programs.values():
        linked = program.link()
        table = LineTable(linked.line_info, btf, linked.endian)
        for pc in range(len(linked.insns) // 8):
            place = table.at(pc)
            if place is not None and os.path.basename(place.file) == os.path.basename(file):
                found.add(place.line)
    return found


def coverage_init(registry: Any, options: dict[str, Any]) -> None:
    """What coverage.py calls."""
    registry.add_file_tracer(Plugin())
