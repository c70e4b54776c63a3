"""A recording made by hand: two calls seen by a program, as if a kernel had run it."""

from __future__ import annotations

from functools import cache

import probee as bp
from probee import Char, u32, u64
from probee.isa.insn import decode
from probee.machine.types import Types
from probee.machine_target import _compile
from probee.obj import read_object
from probee.record.file import Invocation, Objects, Recording, Traced
from probee.record.sites import find


class Call(bp.Struct):
    pid: u32
    call: u32
    time_ns: u64
    comm: Char[16]


events = bp.RingBuf[Call](4096)
counts = bp.Hash[u32, u64](16)


@bp.tp_btf("sys_enter")
def on_call(regs, call):  # type: ignore[no-untyped-def]
    with events.reserve() as e:
        e.pid = bp.pid()
        e.call = call
        e.time_ns = bp.ktime_get_ns()
        e.comm = bp.comm()
    counts[u32(call)] += 1


@cache
def _object() -> bytes:
    return _compile([on_call], True, Types("shipped"))


def words(*numbers: int) -> bytes:
    return b"".join((n & (1 << 64) - 1).to_bytes(8, "little") for n in numbers)


ANSWERS = {
    "get_current_pid_tgid": words(7 << 32 | 8),
    "get_current_comm": words(0) + b"sh".ljust(16, b"\0"),
    "ringbuf_reserve": words(1),
    "map_update_elem": words(0),
}


def recording() -> Recording:
    """Two invocations on one CPU: system call 3, at 1000 and 2000 ns."""
    data = _object()
    spec = read_object(data, "made")
    program = spec.programs["on_call"]
    linked = program.link()
    assert not linked.core
    sites, notes = find(linked, decode(linked.insns), program.prog_type, spec.maps)
    assert not notes
    traced = Traced("on_call", bytes(linked.insns), [], sites)
    traced.kind, traced.target, traced.context, traced.ends = "tp_btf", "sys_enter", 16, True
    one = Objects("made", data, [traced])
    one.initial = {"counts": [], "events": None}
    record = words(7 | 3 << 32)
    one.events = {"events": [record + words(t) + b"sh".ljust(16, b"\0") for t in (1000, 2000)]}
    one.final = {"counts": [((3).to_bytes(4, "little"), words(2))], "events": None}
    made = Recording()
    made.release, made.arch, made.cpus, made.started = "6.18.0", "x86_64", 2, 1.5
    made.objects = [one]
    for number, time in enumerate((1000, 2000)):
        call = Invocation(traced, 1, time, 7 << 32 | 8)
        call.number, call.context, call.result = number, words(0xFFFF888100000000, 3), 0
        # The first finds no entry, makes one, and looks again.
        lookups = [words(1, 1)] if number else [words(0), words(1, 0)]
        for index, site in enumerate(sites):
            if site.name == "map_lookup_elem":
                if lookups:
                    call.inputs.append((traced, index, lookups.pop(0)))
            elif site.name == "map_update_elem" and number:
                continue
            elif site.name == "ktime_get_ns":
                call.inputs.append((traced, index, words(time)))
            else:
                call.inputs.append((traced, index, ANSWERS[site.name]))
        made.all.append(call)
    return made
