"""Ring-buffer records to Python: objects and columns, against BCC's callback and a C program on libbpf.

Run as root: `python bench/ringbuf.py [--json] [--rounds N]`. A record is a u64, two u32, a Char[16]
and a u64. The peer is BCC (python3-bpfcc of the system's Python), else the same ctypes callback on
libbpf.so.1; it runs in a process of its own on the same ring buffer, as does a C program that copies each
record into an array. Times are CPU time of the reading thread, which never waits here. The exit code is 1 if
a median misses its mark: 0.8 µs for an object, 0.05 µs for a row of an array.
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

from probee.btf.build import BtfBuilder
from probee.isa.asm import assemble
from probee.kernel.maps import RINGBUF, Map
from probee.obj import MapSpec
from probee.sys import kernel
from probee.sys.bpf import ProgAttr

SIZE = 1 << 20
RECORD = 40
RUNS = 20  # of the program, each emits a thousand
RECORDS = RUNS * 1000
RAW_TRACEPOINT = 17
REACH = {"objects": 800, "numpy": 50}  # ns a record, medians

EMITTER = """
    r6 = 0
    *(u64 *)(r10 - 40) = 1
    *(u64 *)(r10 - 32) = 77
    *(u64 *)(r10 - 24) = 0x68736162
    *(u64 *)(r10 - 16) = 0
    *(u64 *)(r10 - 8) = 5
next:
    *(u64 *)(r10 - 40) = r6
    r1 = map_fd({fd}, 0x0) ll
    r2 = r10
    r2 += -40
    r3 = 40
    r4 = 1
    call 130
    r6 += 1
    if r6 < 1000 goto next
    r0 = 0
    exit
"""

PEER = r"""
import ctypes as ct, sys, time
class Event(ct.Structure):
    _fields_ = [("time_ns", ct.c_ulonglong), ("pid", ct.c_uint), ("ppid", ct.c_uint),
                ("comm", ct.c_char * 16), ("x", ct.c_ulonglong)]
Pointer = ct.POINTER(Event)
seen = []
fields = False
def callback(ctx, data, size):
    event = ct.cast(data, Pointer).contents
    if fields:
        event.pid, event.comm.decode()
        seen.append(None)
    else:
        seen.append(event)
fd = int(sys.argv[1])
try:
    from bcc.libbcc import lib, _RINGBUF_CB_TYPE
    name = "bcc"
    def guarded(ctx, data, size):  # as bcc.table.RingBuf.open_ring_buffer wraps the user's function
        try:
            ret = callback(ctx, data, size)
            return int(ret) if ret else 0
        except IOError:
            return -1
    fn = _RINGBUF_CB_TYPE(guarded)
    ring = lib.bpf_new_ringbuf(fd, fn, None)
    consume = lambda: lib.bpf_consume_ringbuf(ring)
except ImportError:
    name = "ctypes on libbpf"
    lib = ct.CDLL("libbpf.so.1")
    kind = ct.CFUNCTYPE(ct.c_int, ct.c_void_p, ct.c_void_p, ct.c_size_t)
    fn = kind(lambda ctx, data, size: callback(ctx, data, size) or 0)
    lib.ring_buffer__new.restype = ct.c_void_p
    lib.ring_buffer__new.argtypes = [ct.c_int, kind, ct.c_void_p, ct.c_void_p]
    lib.ring_buffer__consume.argtypes = [ct.c_void_p]
    ring = lib.ring_buffer__new(fd, fn, None, None)
    consume = lambda: lib.ring_buffer__consume(ring)
print(name, flush=True)
for line in sys.stdin:
    fields = line.strip() == "fields"
    seen.clear()
    start = time.thread_time_ns()
    consume()
    took = time.thread_time_ns() - start
    print(len(seen), took, flush=True)
"""


def event_type(b: BtfBuilder) -> int:
    u32, u64 = b.int_("unsigned int", 4), b.int_("unsigned long long", 8)
    comm = b.array(b.int_("char", 1, 1), 16)
    members = [("time_ns", u64, 0), ("pid", u32, 64), ("ppid", u32, 96), ("comm", comm, 128), ("x", u64, 256)]
    return b.struct("Event", RECORD, members)


class Bench:
    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        b = BtfBuilder()
        spec = MapSpec("events", map_type=RINGBUF, max_entries=SIZE)
        spec.record_type_id = event_type(b)
        self.ring = Map.create(spec, b.btf())
        code = assemble(EMITTER.format(fd=self.ring.fd))
        self.program = kernel().prog_load(ProgAttr(RAW_TRACEPOINT, code, "GPL", "emit"))

    def fill(self) -> None:
        for _ in range(RUNS):
            kernel().prog_test_run(self.program, repeat=0)

    def ours(self, read: Callable[[], Any]) -> list[float]:
        """ns a record, for each round."""
        out = []
        for _ in range(self.rounds):
            self.fill()
            start = time.thread_time_ns()
            found = read()
            took = time.thread_time_ns() - start
            assert len(found) == RECORDS
            del found
            out.append(took / RECORDS)
        return out

    def peer(self, command: list[str], names: dict[str, str]) -> dict[str, list[float]]:
        """ns a record in another process; `names` are the rows by the word that asks for them, after which
        comes the peer's name if there is a `%s`."""
        peer = peers.Peer(command, self.ring.fd)
        rows: dict[str, list[float]] = {}
        for _ in range(self.rounds):
            for word, name in names.items():
                self.fill()
                count, took = peer.round(word)
                assert count == RECORDS
                rows.setdefault(name.replace("%s", peer.name), []).append(took / count)
        peer.close()
        return rows

    def close(self) -> None:
        kernel().close(self.program)
        self.ring.close()


def iterate(rb: Any) -> range:
    """Read two fields of each record, as a user's loop does."""
    n = 0
    for e in rb:
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
    bench = Bench(options.rounds)
    rb = bench.ring
    import numpy  # noqa: F401 - loading it is no part of the first round

    fd = str(bench.ring.fd)
    try:
        rows = {
            "objects": bench.ours(rb.consume),
            "for e in rb: e.pid, e.comm": bench.ours(lambda: iterate(rb)),
            "numpy": bench.ours(rb.read_numpy),
        }
        names = {"records": "%s: objects", "fields": "%s: event.pid, .comm"}
        rows |= bench.peer([peers.system_python(), "-c", PEER, fd], names)
        readers = peers.compiled("readers")
        if readers is not None:
            rows |= bench.peer([str(readers), "ring", fd], {"": "C on libbpf: copied"})
    finally:
        bench.close()
    missed = [name for name, reach in REACH.items() if statistics.median(rows[name]) > reach]
    if not options.json:
        print(f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}")
        print(f"{'':<32}{'median':>10}{'best':>10}{'records/s':>14}")
    for name, times in rows.items():
        median, best = statistics.median(times), min(times)
        if options.json:
            print(
                json.dumps({"what": name, "median_ns": median, "best_ns": best, "reach_ns": REACH.get(name)})
            )
        else:
            print(f"{name:<32}{median:>7.1f} ns{best:>7.1f} ns{1e9 / median:>14,.0f}")
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
