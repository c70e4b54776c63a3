"""Dynptrs, kernel variables, sockets, user ring buffers: what they did is looked at."""

from __future__ import annotations

import struct

import pytest

import lang_module

pytestmark = pytest.mark.root

ABOVE = """
class Args(bp.Struct):
    a: u64
    b: u64
    c: u64

class Block(bp.Struct):
    data: u8[64]

class Head(bp.Struct):
    x: u32
    y: u32

class Order(bp.Struct):
    number: u64

class Each(bp.Struct):
    head: bp.PerCpuKptr[Head]

each = bp.Array[Each](1)
blocks = bp.Array[Block](1)
orders = bp.UserRingBuf[Order](4096)
"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path):
    with lang_module.builder(ktypes, tmp_path, hook="syscall", params="args: Args", above=ABOVE) as build:
        yield build


@pytest.fixture
def needs(ktypes):
    def needs(*names):
        missing = [n for n in names if ktypes.kfunc(n) is None]
        if missing:
            pytest.skip(f"this kernel has no function {missing[0]}")

    return needs


def run(made, a=0, b=0, c=0):
    out = made.collection.programs["program"].test_run(ctx=struct.pack("<QQQ", a, b, c))
    return struct.unpack("<QQQ", out.ctx)


def test_memory_of_a_map(build, needs):
    needs("bpf_dynptr_size", "bpf_dynptr_adjust")
    made = build(
        """
        v = blocks.get(0)
        if v is None:
            return 1
        d = bp.dynptr(v.data)
        d.write(Head(x=5, y=6), args.a)
        head = d.load(args.a, Head)
        if head is None:
            args.b = 99
            return
        args.b = head.x * 10 + head.y
        near = d.data(8, Head)
        if near is not None:
            near.x += 1
            args.c = near.x
        d.adjust(60, 64)
        args.a = d.size()
        copy = Head()
        if d.read(copy) >= 0:
            args.a = 1000
        """
    )
    assert run(made, a=8) == (4, 56, 6)
    assert run(made, a=60)[1] == 99
    assert bytes(made.maps["blocks"][0].data)[8:16] == struct.pack("<II", 6, 6)


def test_records_of_any_size(build):
    made = build(
        """
        with rb.reserve_dynptr(args.a) as d:
            d.write(args.b)
            if args.c:
                rb.discard()
        """
    )
    ring = made.maps["rb"]
    run(made, a=40, b=7)
    run(made, a=40, b=8, c=1)
    run(made, a=1 << 20, b=9)
    run(made, a=40, b=10)
    assert [e.time_ns for e in ring.consume()] == [7, 10]


def test_packets_as_dynptrs(ktypes, tmp_path, needs):
    needs("bpf_dynptr_from_skb", "bpf_dynptr_slice")
    with lang_module.builder(ktypes, tmp_path, hook="tc", params="pkt", above=ABOVE) as build:
        made = build(
            """
            d = bp.dynptr(pkt)
            head = d.slice(14, Head)
            if head is None:
                return 1
            total.value = head.x
            """
        )
        packet = bytes(14) + struct.pack("<II", 1234, 5) + bytes(40)
        made.collection.programs["program"].test_run(packet)
        assert made.globals.total == 1234
        assert made.collection.programs["program"].test_run(bytes(18))[0] == 1


def test_variables_of_the_kernel(build, ktypes):
    from probee.btf.kinds import VAR

    if ktypes.btf.find("runqueues", VAR) is None:
        pytest.skip("this kernel's BTF has no variable runqueues")
    with open("/proc/kallsyms") as lines:
        if not any(line.split()[2] == "runqueues" for line in lines):
            pytest.skip("this kernel's kallsyms has no runqueues: no per-CPU variable can be found by name")
    made = build(
        """
        rq = bp.per_cpu_ptr(bp.ksym("runqueues"), u32(args.a))
        if rq is None:
            args.b = 77
            return
        args.b = rq.cpu
        here = bp.this_cpu_ptr(bp.ksym("runqueues"))
        args.c = here.cpu == bp.cpu()
        """
    )
    assert run(made, a=1)[1:] == (1, 1)
    assert run(made, a=100000)[1] == 77


def test_addresses_of_symbols(build):
    with open("/proc/kallsyms") as lines:
        known = {name: int(at, 16) for at, _, name, *_ in map(str.split, lines)}
    if not known.get("schedule"):
        pytest.skip("this kernel's kallsyms tells no addresses")
    made = build(
        """
        args.a = bp.ksym_address("schedule")
        args.b = bp.ksym_address("bpf_prog_load")
        args.c = bp.ksym_address("schedule") == args.a
        """
    )
    assert run(made) == (known["schedule"], known["bpf_prog_load"], 1)


def test_objects_of_each_cpu(build, needs):
    needs("bpf_percpu_obj_new_impl")
    made = build(
        """
        v = each.get(0)
        if v is None:
            return 1
        with bp.percpu_obj_new(Head) as p:
            v.head = p
        with bp.rcu():
            p = v.head
            if p is not None:
                mine = bp.this_cpu_ptr(p)
                mine.x = 5
                other = bp.per_cpu_ptr(p, 0)
                if other is not None:
                    other.y = 7
                    args.a = mine.x
                    args.b = other.y
        """
    )
    assert run(made)[:2] == (5, 7)


def test_sockets_that_are_looked_up(ktypes, tmp_path):
    import socket

    above = """
class Tuple(bp.Struct):
    saddr: u8[4]
    daddr: u8[4]
    sport: u8[2]
    dport: u8[2]
"""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        lang_module.builder(ktypes, tmp_path, hook="tc", params="pkt", above=above) as build,
    ):
        made = build(
            """
            who = Tuple(daddr=(127, 0, 0, 1), dport=(u8(limit >> 8), u8(limit)))
            total.value = 1
            with bp.sk_lookup_tcp(who, -1, 0) as sk:
                total.value = sk.src_port
                tcp = bp.tcp_sock(sk)
                if tcp is None:
                    return 3
            """,
            values={"limit": struct.pack("<I", server.getsockname()[1])},
        )
        made.collection.programs["program"].test_run(bytes(64))
        assert made.globals.total == server.getsockname()[1]


def test_records_from_user_space(build):
    made = build(
        """
        sum = 0

        def take(order):
            nonlocal sum
            o = order.load(0, Order)
            if o is not None:
                sum += o.number

        args.a = bp.user_ringbuf_drain(orders, take)
        args.b = sum
        """
    )
    ring = made.maps["orders"].of("Order")
    for n in (3, 4):
        ring.send((n,))
    assert run(made)[:2] == (2, 7)


def test_memory_areas_found(build):
    made = build(
        """
        low = 0

        def look(task, vma):
            nonlocal low
            low = vma.vm_start

        args.b = bp.find_vma(bp.current_task(), args.a, look) == 0
        args.c = low
        """
    )
    import ctypes

    here = ctypes.addressof(ctypes.create_string_buffer(100))
    _, found, start = run(made, a=here)
    assert found == 1
    assert 0 < start <= here
