"""A hash map of 1,000,000 entries written and read whole: probee, BCC, and a C program on libbpf, in turns.

Run as root: `python bench/maps.py [--json] [--entries N] [--rounds N]`. Keys are u32, values u64. All three
use BPF_MAP_UPDATE_BATCH and BPF_MAP_LOOKUP_BATCH on the same map, which is emptied before each write;
probee's `to_numpy()` reads with a program in the kernel instead. Times are of the clock on the wall. The
reach is at most 2 × the C program for columns; the exit code is 1 if it is missed.

BCC's Python (python3-bpfcc) works on the map as its own `HashTable` would; without it, or without a C
compiler and libbpf's headers, there is no such row.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import peers

import probee as bp

REACH = 2.0
BCC = r"""
import ctypes as ct, sys, time
from bcc.table import HashTable
fd, n = int(sys.argv[1]), int(sys.argv[2])
table = HashTable.__new__(HashTable)
table.map_fd, table.Key, table.Leaf, table.max_entries = fd, ct.c_uint, ct.c_ulonglong, n
keys, values = (ct.c_uint * n)(*range(n)), (ct.c_ulonglong * n)(*range(0, 3 * n, 3))
print("bcc", flush=True)
for line in sys.stdin:
    if line.strip() == "write":
        start = time.perf_counter_ns()
        table.items_update_batch(keys, values)
    else:
        start = time.perf_counter_ns()
        got = sum(1 for _ in table.items_lookup_batch())
    print(n if line.strip() == "write" else got, time.perf_counter_ns() - start, flush=True)
"""


def timed(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    found = action()
    took = time.perf_counter() - start
    del found
    return took


def measure(entries: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, by what was done."""
    keys = np.arange(entries, dtype=np.uint32)
    values = keys.astype(np.uint64) * 3
    pairs = dict(zip(keys.tolist(), values.tolist(), strict=True))
    rows: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        rows.setdefault(name, []).append(seconds)

    with bp.maps.create("hash", key="u32", value="u64", entries=entries, name="bench") as m:
        fd = str(m.fd)
        c_program = peers.compiled("readers")
        c_peer = None
        if c_program is not None:
            c_peer = peers.Peer([str(c_program), "map", fd, str(entries)], m.fd, greets=False)
        try:
            bcc = peers.Peer([peers.system_python(), "-c", BCC, fd, str(entries)], m.fd)
        except OSError:
            bcc = None
            print("no BCC for the system's Python", file=sys.stderr)
        for _ in range(rounds):
            m.clear()
            note("write: update_many(arrays)", timed(lambda: m.update_many(keys, values)))
            note("read: to_numpy()", timed(m.to_numpy))
            note("read: to_numpy(locked=True)", timed(lambda: m.to_numpy(locked=True)))
            note("read: to_arrow()", timed(m.to_arrow))
            note("read: snapshot(), a dict", timed(m.snapshot))
            assert len(m.to_numpy()) == entries
            m.clear()
            note("write: update(dict)", timed(lambda: m.update(pairs)))
            if c_peer is not None:
                m.clear()
                got, write, read = c_peer.round()
                assert got == entries
                note("write: C on libbpf", write / 1e9)
                note("read: C on libbpf", read / 1e9)
            if bcc is not None:
                m.clear()
                note("write: BCC, ctypes arrays", bcc.round("write")[1] / 1e9)
                got, took = bcc.round("read")
                assert got == entries
                note("read: BCC, pairs of ctypes", took / 1e9)
        for peer in (c_peer, bcc):
            if peer is not None:
                peer.close()
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one object for each row")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if os.geteuid():
        print("needs root", file=sys.stderr)
        return 2
    rows = measure(options.entries, options.rounds)
    medians = {name: statistics.median(times) for name, times in rows.items()}
    if not options.json:
        print(f"{platform.machine()}, Linux {platform.release()}, {options.entries:,} entries")
        print(f"{'':<30}{'median':>10}{'best':>10}{'of C':>8}")
    for name in sorted(rows, key=lambda name: (name.split(":")[0], medians[name])):
        base = medians.get(f"{name.split(':')[0]}: C on libbpf")
        ratio = medians[name] / base if base else None
        if options.json:
            row = {"what": name, "median_s": medians[name], "best_s": min(rows[name]), "of_c": ratio}
            print(json.dumps(row))
        else:
            shown = f"{ratio:>7.2f}×" if ratio else ""
            print(f"{name:<30}{medians[name]:>8.3f} s{min(rows[name]):>8.3f} s{shown}")
    missed = [
        ours
        for ours, peer in (
            ("write: update_many(arrays)", "write: C on libbpf"),
            ("read: to_numpy()", "read: C on libbpf"),
            ("read: to_numpy(locked=True)", "read: C on libbpf"),
        )
        if peer in medians and medians[ours] > REACH * medians[peer]
    ]
    if missed:
        print(f"missed: {REACH} × C: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
