"""Programs of all sorts of kinds, recorded in the kernel and replayed to the same without it."""

from __future__ import annotations

import ctypes
import io
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import netbox
import probee as bp
from probee import i32, u32, u64
from probee.debug import launch
from probee.debug.face import Face
from probee.record.file import Recording
from probee.record.live import record
from probee.record.replay import Replay, replay

pytestmark = pytest.mark.root

libc = ctypes.CDLL(None)
me = bp.Global[u32](0)


class State(bp.Struct):
    count: u64
    last: u64


class Guarded(bp.Struct):
    lock: bp.SpinLock
    n: u64


states = bp.TaskStorage[State]()
sockets = bp.SkStorage[u64]()
groups = bp.CgroupStorage[u64]()
seen = bp.Hash[u32, u64](256)
by_cpu = bp.PerCpuHash[u32, u64](16)
recent = bp.LruHash[u32, u64](64)
queue = bp.Queue[u64](64)
known = bp.BloomFilter[u32](64)
guarded = bp.Array[Guarded](1)
stacks = bp.StackTrace(256)
out = bp.Array[u64](16)
events = bp.RingBuf[State](1 << 16)


@bp.perf_event(freq=499)
def sample():  # type: ignore[no-untyped-def]
    by_cpu[1] += 1
    out[0] += bp.reg("ip") & 1
    out[1] = u64(bp.kstack(stacks))


@bp.uprobe("libc", "getpgid")
def start(pid: i32):  # type: ignore[no-untyped-def]
    if bp.pid() == me.value:
        out[2] += u64(pid)


@bp.uretprobe("libc", "getpgid")
def end():  # type: ignore[no-untyped-def]
    if bp.pid() == me.value:
        out[3] = bp.retval()


@bp.tp_btf("sys_enter")
def storages(regs, call):  # type: ignore[no-untyped-def]
    if bp.pid() == me.value:
        s = states.get(bp.current_task(), create=True)
        if s is not None:
            s.count += 1
            s.last = u64(call)
            if s.count & 7 == 0:
                events.output(s)


@bp.tp_btf("sys_enter")
def kfuncs(regs, call):  # type: ignore[no-untyped-def]
    if bp.pid() == me.value:
        with bp.kfunc.bpf_task_from_pid(1) as task:
            if task is not None:
                out[4] = u64(task.tgid) + u64(call)


@bp.tp_btf("sys_enter")
def structures(regs, call):  # type: ignore[no-untyped-def]
    if bp.pid() == me.value:
        queue.push(u64(call))
        known.add(u32(call))
        recent[u32(call)] += 1
        if u32(call) in known:
            out[5] += 1
        n = queue.pop()
        if n is not None:
            out[6] = n
        v = guarded.get(0)
        if v is not None:
            with v.lock:
                v.n += 1
        total = 0
        for i in range(bp.get_prandom_u32() & 255):
            total += i
        out[7] = total
        with events.reserve() as e:
            e.count = bp.ktime_get_ns()
            e.last = bp.get_smp_processor_id()


@bp.iter("task")
def tasks(ctx):  # type: ignore[no-untyped-def]
    task = ctx.task
    if task is not None:
        seen[u32(task.pid) & 127] += 1


@bp.tcx("lo", "ingress")
def traffic(packet):  # type: ignore[no-untyped-def]
    _eth, ip, udp = packet.read(bp.Ethernet, bp.IPv4, bp.UDP, short=bp.TC.OK)
    if ip.protocol != bp.Protocol.UDP:
        return bp.TC.OK
    out[8] += u64(len(packet))
    out[9] = u64(udp.dst_port) + (u64(ip.ttl) << 16)
    packet.mark = 7
    return bp.TC.OK


@bp.tp_btf("sys_enter")
def doubles(regs, call):  # type: ignore[no-untyped-def]
    if bp.pid() == me.value:
        twice = u64(call) * 2
        out[10] = twice + bp.get_prandom_u32() % 7
        out[11] = twice


def again(made: Recording) -> Replay:
    """The recording as a file has it, run again without a difference."""
    assert not any(t.partial for t in made.programs), [t.notes for t in made.programs]
    run = replay(Recording.from_bytes(made.to_bytes()))
    assert run.run() == []
    assert run.whole
    return run


def calls() -> None:
    me.value = os.getpid()
    until = time.monotonic() + 0.02
    while time.monotonic() < until:
        libc.getpgid(os.getpid())
        os.getppid()
    me.value = 0


def test_events_probes_storages_and_kernel_functions() -> None:
    made = record(sample, start, end, storages, kfuncs, structures, workload=calls)
    for name in ("sample", "start", "end", "storages", "kfuncs", "structures"):
        assert made.invocations(name), name
    with again(made) as run:
        maps = run.machine.maps
        assert maps["out"][3] == os.getpgid(0)
        assert maps["out"][2] % os.getpid() == 0
        assert sum(maps["by_cpu"][1]) == len(made.invocations("sample"))
        assert run.read("events")


def test_iterators() -> None:
    def walk(session: Any) -> Any:
        link = session.programs["tasks"].attach()
        link.text()
        return link

    with again(record(tasks, workload=lambda: None, attach=walk)) as run:
        assert sum(run.machine.maps["seen"].values()) == len(run.recording) - 1  # the last has no task


def test_the_debugger_knows_the_variables_of_a_recording() -> None:
    made = record(doubles, workload=calls)
    line = doubles.fn.__code__.co_firstlineno + 5
    said = io.StringIO()
    with replay(Recording.from_bytes(made.to_bytes()), engine="step") as run:
        face = Face([f"b {line}; c; locals; p (twice, call); q"], stdin=io.StringIO(), stdout=said)
        launch.attach(run.machine, face)
        launch.debug(run.machine)
        with pytest.raises(launch.Quit):
            run.run()
        assert run.position >= 1
    text = said.getvalue()
    assert f"test_record_kinds.py:{line} doubles: out[11] = twice" in text
    first = next(one for one in run.recording.all if one.number == run.position - 1)
    call = int.from_bytes(first.context[8:16], "little")
    assert f"\ntwice = {2 * call}\n" in text
    assert f"\n({2 * call}, {call})\n" in text or "call is optimised out here" in text


def send() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(4):
            sender.sendto(b"x" * 32, ("127.0.0.1", 9))


def connect() -> None:
    send()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        server.accept()[0].close()


def test_packets_of_tc() -> None:
    with netbox.namespace(), again(record(traffic, workload=send)) as run:
        assert run.machine.maps["out"][9] & 0xFFFF == 9
        assert run.machine.maps["out"][8] == 4 * (14 + 20 + 8 + 32)


@pytest.fixture
def inside() -> Iterator[Callable[..., Recording]]:
    """Records programs that are attached to a cgroup, in which the workload is."""
    with netbox.cgroup() as group, group:
        yield lambda make: record(*make(group.path), workload=connect)


def in_cgroup(path: str) -> list[Any]:
    @bp.cgroup_skb("egress", path)
    def leaving(packet):  # type: ignore[no-untyped-def]
        mine = groups.local()
        mine[0] += 1
        out[0] = mine[0]
        seen[u32(packet.protocol)] += 1
        return 1

    @bp.cgroup_skb("ingress", path)
    def coming(packet):  # type: ignore[no-untyped-def]
        sock = packet.sk
        if sock is not None:
            count = sockets.get(sock, create=True)
            if count is not None:
                out[1] += 1
            whole = bp.sk_fullsock(sock)
            if whole is not None:
                out[6] = u64(whole.family) + (u64(whole.src_port) << 8)
                tcp = bp.tcp_sock(whole)
                if tcp is not None:
                    out[7] = u64(tcp.snd_cwnd)
        return 1

    @bp.cgroup_sock("sock_create", path)
    def create(ctx):  # type: ignore[no-untyped-def]
        out[2] = u64(ctx.family)
        return 1

    @bp.cgroup_sock_addr("connect4", path)
    def connecting(ctx):  # type: ignore[no-untyped-def]
        out[3] = u64(ctx.user_port)
        out[4] = u64(ctx.user_ip4)
        return 1

    @bp.sockops(path)
    def states_of(ctx):  # type: ignore[no-untyped-def]
        out[5] += u64(ctx.op)
        return 1

    return [leaving, coming, create, connecting, states_of]


def test_programs_of_cgroups(inside: Callable[..., Recording]) -> None:
    made = inside(in_cgroup)
    for name in ("leaving", "coming", "create", "connecting", "states_of"):
        assert made.invocations(name), name
    with again(made) as run:
        maps = run.machine.maps
        assert maps["out"][0] == len(made.invocations("leaving"))
        assert maps["out"][2] == socket.AF_INET
        assert maps["out"][4] == 0x7F000001
        assert maps["out"][6] & 255 == socket.AF_INET
        assert maps["out"][7]
        assert maps["seen"][0x800] == len(made.invocations("leaving"))
