"""The verifier: processed instructions a second, by what the programs do.

Run: `python bench/verifier.py [--json]`. Times are of the processor, the best of some rounds, and take in all
that `verify` does: the analysis before the walk as well. Needs no root, but LLVM's library and the kernel's
BTF for the rows of compiled programs (`verifier/loops.py` and the tools).
The reach is 100,000 a second over all rows together; the exit code is 1 if it is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import cache
from pathlib import Path

from probee.btf import kernel_btf
from probee.cli.build import compile_file
from probee.isa.insn import Insn
from probee.obj import read_object
from probee.tools import TOOLS
from probee.verifier.objects import Objects
from probee.verifier.program import Program
from probee.verifier.verify import verify

REACH = 100_000
ROUNDS = 3
EXIT = Insn(0x95)


def counted() -> list[Insn]:
    """A loop that counts up to a constant."""
    return [
        Insn(0xB7, 0, 0, 0, 0),
        Insn(0x07, 0, 0, 0, 1),
        Insn(0x55, 0, 0, -2, 40_000),
        EXIT,
    ]


def to_the_limit() -> list[Insn]:
    """A loop that is refused after a million instructions."""
    return [
        Insn(0xB7, 0, 0, 0, 0),
        Insn(0x07, 0, 0, 0, 1),
        Insn(0xA5, 0, 0, -2, 0x7FFFFFFF),
        EXIT,
    ]


def mixed() -> list[Insn]:
    """A loop with a spill, a fill, a mask and a compare of two registers."""
    return [
        Insn(0x85, 0, 0, 0, 7),
        Insn(0xBF, 7, 0),
        Insn(0xB7, 6, 0, 0, 0),
        Insn(0xB7, 8, 0, 0, 5_000),
        Insn(0x7B, 10, 6, -8),
        Insn(0xBF, 1, 7),
        Insn(0x57, 1, 0, 0, 0xFF),
        Insn(0x0F, 1, 6),
        Insn(0x7B, 10, 1, -16),
        Insn(0x79, 6, 10, -8),
        Insn(0x07, 6, 0, 0, 1),
        Insn(0xAD, 6, 8, -8),
        Insn(0xB7, 0, 0, 0, 0),
        EXIT,
    ]


def straight() -> list[Insn]:
    """Twenty thousand instructions one after another."""
    body = [Insn(0x85, 0, 0, 0, 7), Insn(0xBF, 7, 0)]
    for number in range(5_000):
        body += [
            Insn(0x07, 7, 0, 0, number),
            Insn(0x57, 7, 0, 0, 0xFFFF),
            Insn(0xBF, 1, 7),
            Insn(0x0F, 7, 1),
        ]
    return [*body, Insn(0xB7, 0, 0, 0, 0), EXIT]


def branches() -> list[Insn]:
    """Branches on unknown numbers, whose paths meet again and are pruned."""
    body: list[Insn] = []
    for number in range(400):
        body += [
            Insn(0x85, 0, 0, 0, 7),
            Insn(0x25, 0, 0, 1, number),
            Insn(0xB7, 0, 0, 0, 1),
            Insn(0xBF, 6, 0),
        ]
    return [*body, Insn(0xB7, 0, 0, 0, 0), EXIT]


@cache
def compiled(path: str) -> dict[str, Program]:
    """The programs of a file or tool."""
    spec = read_object(compile_file(path), path)
    objects = Objects(spec, kernel_btf())
    return {name: objects.prepare(program).program for name, program in spec.programs.items()}


def loops(name: str) -> Program:
    return compiled(str(Path(__file__).parent / "verifier" / "loops.py"))[name]


def plain(insns: list[Insn]) -> list[Program]:
    return [Program(insns, 1)]


ROWS = {
    "a counted loop": lambda: plain(counted()),
    "a loop of spills, masks, compares": lambda: plain(mixed()),
    "straight code": lambda: plain(straight()),
    "branches that meet again": lambda: plain(branches()),
    "up to the limit of a million": lambda: plain(to_the_limit()),
    "iterators with branches, nested": lambda: [loops("iterate")],
    "functions called back": lambda: [loops("call_back")],
    "the programs of the tools": lambda: [each for tool in TOOLS for each in compiled(tool).values()],
}


def measure(programs: list[Program]) -> tuple[int, float]:
    """(instructions processed, seconds of the processor)."""
    btf = kernel_btf()
    best, processed = 0.0, 0
    for _ in range(ROUNDS):
        start = time.process_time()
        processed = sum(
            verify(program, kernel="6.18", kernel_btf=btf).insns_processed for program in programs
        )
        took = time.process_time() - start
        best = took if not best else min(best, took)
        if processed >= 1_000_000:
            break
    return processed, best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    opts = parser.parse_args()
    found = {name: measure(make()) for name, make in ROWS.items()}
    total, seconds = (sum(row[at] for row in found.values()) for at in (0, 1))
    if opts.json:
        rows = {name: {"insns": n, "seconds": s, "rate": n / s} for name, (n, s) in found.items()}
        print(json.dumps({"rows": rows, "rate": total / seconds}))
    else:
        for name, (n, s) in {**found, "all": (total, seconds)}.items():
            print(f"{name:<36} {n:>9,} {s:8.3f} s {n / s:>10,.0f}/s")
    return 0 if total / seconds >= REACH else 1


if __name__ == "__main__":
    sys.exit(main())
