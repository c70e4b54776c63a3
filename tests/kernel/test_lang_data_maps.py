"""All kinds of maps in programs: each operation runs in the kernel, and its effect is looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import lang_module
from probee import maps

pytestmark = pytest.mark.root

ABOVE = """
class Prefix(bp.Struct):
    prefixlen: u32
    address: u8[4]


class State(bp.Struct):
    calls: u64
    last: Char[16]


queue = bp.Queue[u64](4)
stack = bp.Stack[Point](4)
bloom = bp.BloomFilter[u32](64, hashes=3)
routes = bp.LpmTrie[Prefix, u32](16)
by_task = bp.TaskStorage[State]()
count_by_task = bp.TaskStorage[u64]()
inner = bp.Array[u64](4)
by_cpu = bp.ArrayOfMaps[inner](4)
by_name = bp.HashOfMaps[u32, bp.Hash[u32, u64](8)](4)
events = bp.PerfEventArray[Point]()
cgroups = bp.CgroupArray(2)
ports = bp.DevMap(4)
on_node = bp.Array[u64](4, numa_node=0)
percpu_hash = bp.PerCpuHash[u32, u64](8)
seen = bp.Array[u64](16)
"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path):
    with lang_module.builder(ktypes, tmp_path, above=ABOVE) as build:
        yield build


def test_queue(build):
    run = build(
        """
        if queue.push(number) != 0:
            return -1
        first = queue.peek()
        if first is None:
            return -2
        queue.push(number + 1)
        x = queue.pop()
        if x is None:
            return -3
        return first * 100 + x
        """
    )
    assert run(0, 5) == 505
    assert run(0, 7) == 606
    assert run.maps["queue"].pop() == 7


def test_stack_of_structs_and_empty(build):
    run = build(
        """
        nothing = stack.pop()
        if nothing is not None:
            return -1
        stack.push(Point(x=1, y=2))
        stack.push(Point(x=3, y=4))
        top = stack.pop()
        if top is None:
            return -2
        return top.x * 10 + top.y
        """
    )
    assert run() == 34


def test_bloom_filter(build):
    run = build(
        """
        bloom.add(number)
        if number not in bloom:
            return 1
        return 2 if 123456 in bloom else 0
        """
    )
    assert run(0, 77) == 0
    assert 77 in run.maps["bloom"]


def test_longest_prefix(build):
    run = build(
        """
        net = Prefix(prefixlen=8)
        net.address = (10, 0, 0, 0)
        routes[net] = 1
        net.prefixlen = 24
        net.address = (10, 1, 2, 0)
        routes[net] = 2
        wanted = Prefix(prefixlen=32, address=(10, 1, 2, 77))
        other = Prefix(prefixlen=32, address=(10, 9, 9, 9))
        return routes[wanted] * 10 + routes[other]
        """
    )
    assert run() == 21


TASK = 'tp_btf("sys_enter")'


def test_task_storage(build):
    run = build(
        """
        task = bp.current_task()
        s = by_task.get(task)
        if s is not None:
            seen[1] += 1
        made = by_task.get(task, create=True)
        if made is None:
            return 1
        made.calls += 2
        made.last = bp.comm()
        count_by_task[task] += 5
        seen[2] = count_by_task[task]
        if task in count_by_task:
            seen[3] = 1
        by_task[task].calls += 1
        again = by_task.get(task)
        if again is None:
            return 2
        seen[4] = again.calls
        del count_by_task[task]
        seen[5] = count_by_task[task]
        return 0
        """,
        hook=TASK,
    )
    lang_module.fire(run)
    assert run.maps["seen"][2] == 5
    assert run.maps["seen"][3] == 1
    assert run.maps["seen"][4] >= 3
    assert run.maps["seen"][5] == 0
    state = run.maps["by_task"][os.getpid()]
    assert state.calls >= 3
    assert state.last == Path("/proc/self/comm").read_text().strip()


def test_maps_of_maps(build):
    run = build(
        """
        m = by_cpu.get(1)
        if m is None:
            return -1
        m[2] += number
        n = by_name.get(7)
        if n is None:
            return m[2]
        n[5] = m[2] + 1
        n[6] += 3
        if 9 in n:
            return -2
        v = n.get(5)
        if v is None:
            return -3
        if by_name.get(8) is not None:
            return -4
        return v
        """
    )
    assert run(0, 10) == -1
    with (
        maps.create("array", key="u32", value="u64", entries=4) as one,
        maps.create("hash", key="u32", value="u64", entries=8) as two,
    ):
        run.maps["by_cpu"][1] = one
        assert run(0, 10) == 10
        run.maps["by_name"][7] = two
        assert run(0, 10) == 21
        assert one[2] == 20
        assert two.snapshot() == {5: 21, 6: 3}


def test_per_cpu_of_another_cpu(build):
    run = build(
        """
        percpu_hash[1] = 10 + number
        v = percpu_hash.get(1, cpu=bp.cpu())
        if v is None:
            return -1
        if percpu_hash.get(1, cpu=9999) is not None:
            return -2
        return v
        """
    )
    assert run(0, 5) == 15


def test_numa_node(build):
    run = build(
        """
        on_node[1] += 1
        return on_node[1]
        """
    )
    assert run() == 1
    assert run.maps["on_node"].info().flags & 4


def test_discard(build):
    run = build(
        """
        with rb2.reserve() as p:
            p.x = number
            p.y = 1
            if number & 1:
                rb2.discard()
        with rb2.reserve() as p:
            p.x = 100
            rb2.discard()
        return 0
        """
    )
    for i in range(6):
        run(0, i)
    assert [p.x for p in lang_module.records(run.maps["rb2"])] == [0, 2, 4]


def test_perf_output(build):
    run = build(
        """
        p = Point(x=number, y=2)
        return events.output(p)
        """,
        hook=TASK,
        params="regs, number",
    )
    with run.maps["events"].buffer("Point") as buffer:
        lang_module.fire(run)
        found = buffer.poll(1)
    assert found
    assert all(p.y == 2 for p in found)


def test_functions_in_a_program_array(build):
    run = build(
        """
        bp.tail_call(jumps, number)
        return 7
        """,
        above=ABOVE
        + """
jumps = bp.ProgArray(4)

@bp.raw_tracepoint("sys_enter")
def second(regs, number):
    return 42

jumps[2] = second
""",
    )
    assert run(0, 1) == 7
    assert run(0, 2) == 42
