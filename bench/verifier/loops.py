"""Loops that the kernel counts and functions that it calls back: what `bench/verifier.py` has verified."""

import probee as bp
from probee import u32, u64

# ruff: noqa: B023 (the functions are called in the round that makes them)

STEPS = (1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
seen = bp.Hash[u32, u64](1024)
totals = bp.Array[u64](16)


@bp.raw_tracepoint("sys_enter")
def iterate(regs, number):
    rounds = bp.rand()
    for step in STEPS:
        total = u64(0)
        for i in range(rounds & 0xFFFF):
            if i > 5000 * step:
                total += i * step
            entry = seen.get(i)
            if entry is not None:
                if entry > total:
                    total = entry
                for j in range(entry & 0xFFFF):
                    if j == i:
                        break
                    total += j
        totals[step & 15] = total


@bp.raw_tracepoint("sys_exit")
def call_back(regs, result):
    rounds = bp.rand()
    for step in STEPS:
        total = u64(0)

        def visit(key, value):
            nonlocal total
            if value > step:
                total += value
            if key & 1:
                value += step

        def count(i):
            nonlocal total
            total += i * step
            return total > 1 << 40

        bp.for_each_map_elem(seen, visit)
        bp.loop(rounds & 0xFFFF, count)
        totals[step & 15] = total
