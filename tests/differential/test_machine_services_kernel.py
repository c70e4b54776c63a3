"""The same Python programs on the same inputs leave the same bytes in the kernel and in a machine."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import probee as bp
from probee import Char, i64, u8, u64
from probee.errors import ProbeeError

pytestmark = pytest.mark.root

MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Texts(bp.Struct):
    a: Char[32]
    b: Char[16]
    letter: u64
    most: u64
    out: i64[11]


@bp.syscall
def strings(t: Texts):
    c = u8(t.letter)
    t.out[0] = bp.kfunc.bpf_strcmp(t.a, t.b)
    t.out[1] = bp.kfunc.bpf_strchr(t.a, c)
    t.out[2] = bp.kfunc.bpf_strchrnul(t.a, c)
    t.out[3] = bp.kfunc.bpf_strnchr(t.a, t.most, c)
    t.out[4] = bp.kfunc.bpf_strrchr(t.a, c)
    t.out[5] = bp.kfunc.bpf_strlen(t.a)
    t.out[6] = bp.kfunc.bpf_strnlen(t.a, t.most)
    t.out[7] = bp.kfunc.bpf_strspn(t.a, t.b)
    t.out[8] = bp.kfunc.bpf_strcspn(t.a, t.b)
    t.out[9] = bp.kfunc.bpf_strstr(t.a, t.b)
    t.out[10] = bp.kfunc.bpf_strnstr(t.a, t.b, t.most)


class Views(bp.Struct):
    data: u8[64]
    start: u64
    end: u64
    offset: u64
    size: u64
    byte: u64
    out: i64[8]


class Bytes(bp.Struct):
    data: u8[64]


class Pair(bp.Struct):
    first: u64
    second: u64


memory = bp.Array[Bytes](2)


@bp.syscall
def views(v: Views):
    here, there = memory.get(0), memory.get(1)
    if here is None or there is None:
        return
    here.data = v.data
    d = bp.dynptr(here.data)
    other = bp.dynptr(there.data)
    v.out[0] = d.adjust(v.start, v.end)
    v.out[1] = d.size()
    v.out[2] = d.memset(u8(v.byte), v.offset, v.size)
    v.out[3] = other.copy(d, v.size, v.start, v.offset)
    pair = Pair(first=7, second=9)
    v.out[4] = d.write(pair, v.offset)
    found = Pair()
    v.out[5] = d.read(found, v.start)
    v.out[6] = found.first
    again = d.clone()
    v.out[7] = again.size() * 2 + d.is_rdonly()


class Sets(bp.Struct):
    a: u64
    b: u64
    cpu: u64
    out: u64[16]


@bp.syscall
def sets(s: Sets):
    with bp.kfunc.bpf_cpumask_create() as one, bp.kfunc.bpf_cpumask_create() as two:
        for bit in range(4):
            if s.a >> bit & 1:
                bp.kfunc.bpf_cpumask_set_cpu(bit, one)
            if s.b >> bit & 1:
                bp.kfunc.bpf_cpumask_set_cpu(bit, two)
        s.out[0] = bp.kfunc.bpf_cpumask_first(one.cpumask)
        s.out[1] = bp.kfunc.bpf_cpumask_first_zero(one.cpumask)
        s.out[2] = bp.kfunc.bpf_cpumask_first_and(one.cpumask, two.cpumask)
        s.out[3] = bp.kfunc.bpf_cpumask_test_and_set_cpu(u64(s.cpu), one)
        s.out[4] = bp.kfunc.bpf_cpumask_test_cpu(u64(s.cpu), one.cpumask)
        s.out[5] = bp.kfunc.bpf_cpumask_full(one.cpumask)
        s.out[6] = bp.kfunc.bpf_cpumask_empty(two.cpumask)
        s.out[7] = bp.kfunc.bpf_cpumask_equal(one.cpumask, two.cpumask)
        s.out[8] = bp.kfunc.bpf_cpumask_intersects(one.cpumask, two.cpumask)
        s.out[9] = bp.kfunc.bpf_cpumask_subset(two.cpumask, one.cpumask)
        s.out[10] = bp.kfunc.bpf_cpumask_weight(one.cpumask)
        s.out[11] = bp.kfunc.bpf_cpumask_and(two, one.cpumask, two.cpumask)
        bp.kfunc.bpf_cpumask_xor(one, one.cpumask, two.cpumask)
        s.out[12] = bp.kfunc.bpf_cpumask_weight(one.cpumask)
        bp.kfunc.bpf_cpumask_setall(two)
        s.out[13] = bp.kfunc.bpf_cpumask_weight(two.cpumask)
        bp.kfunc.bpf_cpumask_clear(two)
        s.out[14] = bp.kfunc.bpf_cpumask_weight(two.cpumask)
        bp.kfunc.bpf_cpumask_copy(two, one.cpumask)
        s.out[15] = bp.kfunc.bpf_cpumask_weight(two.cpumask)


class Node(bp.Struct):
    number: u64
    link: bp.RbNode
    chain: bp.ListNode
    count: bp.Refcount


class Shelf(bp.Struct):
    lock: bp.SpinLock
    tree: bp.RbRoot[Node, "link"]  # noqa: F821, UP037


class Line(bp.Struct):
    lock: bp.SpinLock
    items: bp.ListHead[Node, "chain"]  # noqa: F821, UP037


shelves = bp.Array[Shelf](1)
queues = bp.Array[Line](1)


class Orders(bp.Struct):
    what: u8[16]
    out: u64[12]


class Steps(bp.Struct):
    what: u8[16]
    out: u64[12]


def smaller(a, b):
    return a.number < b.number


@bp.syscall
def keeping(o: Orders):
    shelf, queue = shelves.get(0), queues.get(0)
    if shelf is None or queue is None:
        return
    mine = Steps()  # the context can't be indexed by a variable
    mine.what = o.what
    for i in range(12):
        number = mine.what[i] & 31
        order = mine.what[i] >> 5
        if order == 0:
            with bp.obj_new(Node) as node:
                node.number = number
                shelf.tree.add(node, smaller)
        elif order == 1:
            with shelf.tree.pop_first() as node:
                mine.out[i] = node.number + 1
        elif order == 2:
            with bp.obj_new(Node) as node:
                node.number = number
                queue.items.push_front(node)
        elif order == 3:
            with bp.obj_new(Node) as node:
                node.number = number
                queue.items.push_back(node)
        elif order == 4:
            with queue.items.pop_front() as node:
                mine.out[i] = node.number + 1
        else:
            with queue.items.pop_back() as node:
                mine.out[i] = node.number + 1
    o.out = mine.out


class Numbers(bp.Struct):
    start: i64
    end: i64
    bits: u64[2]
    text: Char[16]
    flags: u64
    out: i64[8]


@bp.syscall
def numbers(n: Numbers):
    total = 0
    for i in range(n.start & 63, n.end & 63):
        total = total * 3 + i
    n.out[0] = total
    for bit in bp.bits(n.bits):
        n.out[1] = n.out[1] * 5 + bit
    value = i64(0)
    n.out[2] = bp.strtol(n.text, n.flags, value)
    n.out[3] = value
    n.out[4] = bp.strncmp(n.text, 5, "12345")
    count = 0

    def step(i):
        nonlocal count
        count += i
        return i == 7

    n.out[5] = bp.loop(n.end & 15, step)
    n.out[6] = count


PROGRAMS = (strings, views, sets, keeping, numbers)
Run = Callable[[Any, bytes], bytes]


def _loads(program: Any) -> bool:
    try:
        bp.attach(program).close()
    except ProbeeError:
        return False
    return True


@pytest.fixture(scope="module")
def both() -> Iterator[Run]:
    """Run a program in both; the bytes that it left, which are the same."""
    programs = list(PROGRAMS)
    try:
        session = bp.attach(*programs)
    except ProbeeError:  # this kernel lacks what one of them calls
        programs = [program for program in PROGRAMS if _loads(program)]
        session = bp.attach(*programs)
    with session, bp.Machine(*programs, cpus=os.cpu_count() or 1) as m:

        def run(program: Any, data: bytes) -> bytes:
            if program not in programs:
                pytest.skip(f"this kernel has not all that {program.name} calls")
            theirs = session.programs[program.name].test_run(ctx=data).ctx
            ours = m.fire(program, data).output
            assert ours == theirs
            return ours

        yield run


TEXT = st.text("ab/.A", max_size=20).map(str.encode)


@given(a=TEXT, b=TEXT.map(lambda b: b[:6]), letter=st.sampled_from(b"ab/.A\0"), most=st.integers(0, 24))
@MANY
def test_texts(both: Run, a: bytes, b: bytes, letter: int, most: int) -> None:
    both(strings, struct.pack("=32s16sQQ88x", a, b, letter, most))


SMALL = st.integers(0, 70)


@given(data=st.binary(min_size=64, max_size=64), places=st.tuples(SMALL, SMALL, SMALL, SMALL))
@MANY
def test_views_of_memory(both: Run, data: bytes, places: tuple[int, ...]) -> None:
    both(views, struct.pack("=64s4QQ64x", data, *places, 0xA5))


@given(a=st.integers(0, 15), b=st.integers(0, 15), cpu=st.integers(0, 5))
@MANY
def test_sets_of_cpus(both: Run, a: int, b: int, cpu: int) -> None:
    both(sets, struct.pack("=QQQ128x", a, b, cpu))


@given(st.lists(st.binary(min_size=12, max_size=12), max_size=4))
@MANY
def test_trees_and_lists(both: Run, runs: list[bytes]) -> None:
    for orders in runs:
        both(keeping, orders.ljust(16 + 96, b"\0"))


@given(
    ends=st.tuples(st.integers(0, 63), st.integers(0, 63)),
    bits=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 255)),
    text=st.from_regex(rb"\A[ +-]?(0x)?[0-9a-f]{0,8}\Z"),
    flags=st.sampled_from((0, 8, 10, 16)),
)
@MANY
def test_numbers(both: Run, ends: tuple[int, int], bits: tuple[int, int], text: bytes, flags: int) -> None:
    both(numbers, struct.pack("=qqQQ16sQ64x", *ends, *bits, text, flags))
