"""Perf buffer records to Python: objects and columns, against BCC's callback and a C program on libbpf.

Run as root: `python bench/perf_buffer.py [--json] [--rounds N]`. A record is a u64, two u32, a Char[16] and a
u64, all are written on one CPU. Each reader has a ring of its own, which it puts into the map when its turn
comes. The C program copies each record into an array. Times are CPU time of the reading thread, which never
waits here. The reach for columns is 3 × the C program; the exit code is 1 if it is missed.
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

import peers

import probee as bp
from probee.isa.asm import assemble
from probee.sys import kernel
from probee.sys.bpf import ProgAttr

PAGES = 256  # 1 MiB
RUNS = 18  # of the program, each emits a thousand
RECORDS = RUNS * 1000
RAW_TRACEPOINT = 17
ON_CPU = 1
REACH = 3.0
EVENT = {"time_ns": "u64", "pid": "u32", "ppid": "u32", "comm": "char[16]", "x": "u64"}

EMITTER = """
    r7 = r1
    r6 = 0
    *(u64 *)(r10 - 40) = 1
    *(u64 *)(r10 - 32) = 77
    *(u64 *)(r10 - 24) = 0x68736162
    *(u64 *)(r10 - 16) = 0
    *(u64 *)(r10 - 8) = 5
next:
    *(u64 *)(r10 - 40) = r6
    r1 = r7
    r2 = map_fd({fd}, 0x0) ll
    r3 = 0xffffffff ll
    r4 = r10
    r4 += -40
    r5 = 40
    call 25
    r6 += 1
    if r6 < 1000 goto next
    r0 = 0
    exit
"""

BCC = r"""
import ctypes as ct, sys, time
class Event(ct.Structure):
    _fields_ = [("time_ns", ct.c_ulonglong), ("pid", ct.c_uint), ("ppid", ct.c_uint),
                ("comm", ct.c_char * 16), ("x", ct.c_ulonglong)]
Pointer = ct.POINTER(Event)
from bcc.libbcc import lib, _RAW_CB_TYPE, _LOST_CB_TYPE, bcc_perf_buffer_opts
seen = []
fields = False
def callback(cpu, data, size):
    event = ct.cast(data, Pointer).contents
    if fields:
        event.pid, event.comm.decode()
        seen.append(None)
    else:
        seen.append(event)
def guarded(_, data, size):  # as bcc.table.PerfEventArray wraps the user's function
    try:
        callback(0, data, size)
    except IOError as e:
        raise e
fn = _RAW_CB_TYPE(guarded)
options = bcc_perf_buffer_opts()
options.pid, options.cpu, options.wakeup_events = -1, 0, 1
none = ct.cast(None, _LOST_CB_TYPE)
reader = lib.bpf_open_perf_buffer_opts(fn, none, None, int(sys.argv[2]), ct.byref(options))
key, leaf = ct.c_uint(0), ct.c_uint(lib.perf_reader_fd(ct.cast(reader, ct.c_void_p)))
readers = (ct.c_void_p * 1)(reader)
assert lib.bpf_update_elem(int(sys.argv[1]), ct.byref(key), ct.byref(leaf), 0) == 0
print("bcc", flush=True)
for line in sys.stdin:
    fields = line.strip() == "fields"
    seen.clear()
    start = time.thread_time_ns()
    lib.perf_reader_poll(1, readers, 0)
    print(len(seen), time.thread_time_ns() - start, flush=True)
"""


class Bench:
    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.rows: dict[str, list[float]] = {}
        self.events = bp.maps.create("perf_event_array", name="events")
        code = assemble(EMITTER.format(fd=self.events.fd))
        self.program = kernel().prog_load(ProgAttr(RAW_TRACEPOINT, code, "GPL", "emit"))

    def fill(self) -> None:
        for _ in range(RUNS):
            kernel().prog_test_run(self.program, repeat=0, flags=ON_CPU, cpu=0)

    def ours(self, name: str, read: Callable[[Any], Any]) -> None:
        with self.events.buffer(EVENT, pages=PAGES) as buffer:
            for _ in range(self.rounds):
                self.fill()
                start = time.thread_time_ns()
                found = read(buffer)
                took = time.thread_time_ns() - start
                assert len(found) == RECORDS
                del found
                self.rows.setdefault(name, []).append(took / RECORDS)
            assert buffer.dropped == 0

    def peer(self, names: dict[str, str], command: list[str]) -> None:
        """Rounds of another process; `names` are the rows by the word that asks for them."""
        try:
            peer = peers.Peer(command, self.events.fd)
        except OSError as e:
            print(f"no such peer: {e}", file=sys.stderr)
            return
        for _ in range(self.rounds):
            for word, name in names.items():
                self.fill()
                count, took = peer.round(word)
                assert count == RECORDS, (name, count)
                self.rows.setdefault(name, []).append(took / count)
        peer.close()

    def close(self) -> None:
        kernel().close(self.program)
        self.events.close()


def iterate(buffer: Any) -> range:
    """Read two fields of each record, as a user's loop does."""
    n = 0
    for e in buffer:
        e.pid, e.comm  # noqa: B018
        n += 1
        if n == RECORDS:
            break
    return range(n)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one object for each row")
    parser.add_argument("--rounds", type=int, default=21, help=f"rounds of {RECORDS} records (default 21)")
    options = parser.parse_args()
    if os.geteuid():
        print("needs root", file=sys.stderr)
        return 2
    import numpy  # noqa: F401 - loading it is no part of the first round

    bench = Bench(options.rounds)
    fd = str(bench.events.fd)
    try:
        bench.ours("objects", lambda b: b.consume())
        bench.ours("for e in buffer: e.pid, e.comm", iterate)
        bench.ours("numpy", lambda b: b.read_numpy())
        readers = peers.compiled("readers")
        if readers is not None:
            bench.peer({"": "C on libbpf"}, [str(readers), "perf", fd, str(PAGES)])
        names = {"records": "bcc: objects", "fields": "bcc: event.pid, .comm"}
        bench.peer(names, [peers.system_python(), "-c", BCC, fd, str(PAGES)])
    finally:
        bench.close()
    medians = {name: statistics.median(times) for name, times in bench.rows.items()}
    base = medians.get("C on libbpf")
    if not options.json:
        print(f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}")
        print(f"{'a record':<32}{'median':>10}{'best':>10}{'of C':>8}")
    for name, times in bench.rows.items():
        ratio = medians[name] / base if base else None
        if options.json:
            row = {"what": name, "median_ns": medians[name], "best_ns": min(times), "of_c": ratio}
            print(json.dumps(row))
        else:
            shown = f"{ratio:>7.1f}×" if ratio else ""
            print(f"{name:<32}{medians[name]:>7.1f} ns{min(times):>7.1f} ns{shown}")
    if base and medians["numpy"] > REACH * base:
        print(f"missed: {REACH} × C for columns", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
