"""Records of perf event arrays by their type, and machines that run out of memory."""

from __future__ import annotations

import pytest

import probee as bp
from probee import Char, u32
from probee.errors import MapError, ProbeeError
from probee.machine.memory import MemoryFull


class Renamed(bp.Struct):
    pid: u32
    to: Char[16]


events = bp.PerfEventArray[Renamed]()
large = bp.Array[Char[1 << 20]](300)


@bp.tracepoint("task:task_rename")
def renamed(args):  # type: ignore[no-untyped-def]
    events.output(Renamed(pid=args.pid, to=args.newcomm))


@bp.raw_tracepoint("task_rename")
def looks(task, comm):  # type: ignore[no-untyped-def]
    if large.get(1) is not None:
        print("there")


def test_records_of_a_perf_event_array_have_their_type() -> None:
    got: list[Renamed] = []
    with bp.Machine(renamed, cpus=2) as m:
        for pid in (5, 6, 7, 8):
            m.fire("task:task_rename", pid=pid, newcomm=f"task {pid}")
            if pid == 6:
                assert m.read(events) == [Renamed(pid=5, to="task 5"), Renamed(pid=6, to="task 6")]
                assert m.read("events") == []
            elif pid == 7:
                assert [e.to for e in m.events(events)] == ["task 7"]
        m.on(events, got.append)
        assert m.poll() == 1
        assert [e.pid for e in got] == [8]
        m.fire("task:task_rename", pid=9)
        assert [e.pid for e in events.buffer()] == [9]


def test_maps_that_do_not_fit_say_what_to_give() -> None:
    with pytest.raises(
        MapError, match=r"'large' in the machine: it does not fit in 256 MiB of memory: give more"
    ):
        bp.Machine(looks)
    with bp.Machine(looks, memory=1 << 30) as m:
        m.fire("task_rename", m.task(1), "x")
        assert m.trace_pipe == ["there"]
        with pytest.raises(MemoryFull, match=r"give it more, as bp\.Machine\(…, memory=1 << 30\)"):
            m.kernel.alloc(1 << 30, "too much")


@pytest.mark.parametrize("size", [0, 4097, 4 << 30, -4096])
def test_sizes_that_no_machine_has(size: int) -> None:
    with pytest.raises(
        ProbeeError, match="a machine's memory is 64 KiB to 2 GiB, in whole pages of 4096 bytes"
    ):
        bp.Machine(looks, memory=size)
