"""The verifier: processed instructions a second, by what the programs do.

Run: `python bench/verifier.py [--json]`. Times are the thread's own, the best of some rounds. Needs no root.
The reach is 100,000 a second over all rows together; the exit code is 1 if it is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from probee.isa.insn import Insn
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


ROWS = {
    "a counted loop": counted,
    "a loop of spills, masks, compares": mixed,
    "straight code": straight,
    "branches that meet again": branches,
    "up to the limit of a million": to_the_limit,
}


def measure(make: object) -> tuple[int, float]:
    """(instructions processed, seconds of the thread)."""
    assert callable(make)
    program = Program(make(), 1)
    best, processed = 0.0, 0
    for _ in range(ROUNDS):
        start = time.thread_time()
        processed = verify(program, kernel="6.18").insns_processed
        took = time.thread_time() - start
        best = took if not best else min(best, took)
        if processed >= 1_000_000:
            break
    return processed, best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    opts = parser.parse_args()
    found = {name: measure(make) for name, make in ROWS.items()}
    total, seconds = (sum(row[at] for row in found.values()) for at in (0, 1))
    if opts.json:
        rows = {name: {"insns": n, "seconds": s, "rate": n / s} for name, (n, s) in found.items()}
        print(json.dumps({"rows": rows, "rate": total / seconds}))
    else:
        for name, (n, s) in found.items():
            print(f"{name:<36} {n:>9,} {s:8.2f} s {n / s:>10,.0f}/s")
        print(f"{'all':<36} {total:>9,} {seconds:8.2f} s {total / seconds:>10,.0f}/s")
    return 0 if total / seconds >= REACH else 1


if __name__ == "__main__":
    sys.exit(main())
