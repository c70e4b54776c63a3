"""Functions in the kernel: inside programs, called back, specialised, global."""

from __future__ import annotations

import os

import pytest
from test_lang_control import build as build
from test_lang_control import ktypes as ktypes
from test_lang_control import needs as needs

pytestmark = pytest.mark.root


def test_a_function_inside_a_program(build):
    run = build(
        """
        n = 0

        def add(x, y):
            nonlocal n
            n += x * y
            return n

        if add(number, 2) > 10:
            add(1, 1)
        twice = lambda x: x * 2
        return n + twice(100)
        """
    )
    assert [run(0, n) for n in (1, 6)] == [202, 213]


def test_bpf_loop_with_captured_locals(build):
    run = build(
        """
        sum = 0
        last = 0
        e = Exec(pid=7)

        def visit(i):
            nonlocal sum, last
            if i == 1000:
                return True
            sum += i * number
            last = i
            e.pid += 1

        rounds = bp.loop(number, visit)
        counts[1] = sum
        counts[2] = last
        counts[3] = rounds
        counts[4] = e.pid
        """
    )
    for n in (1, 10, 500, 5000):
        run(0, n)
        rounds = min(n, 1000)
        assert dict(run.maps["counts"].items()) == {
            1: sum(range(rounds)) * n,
            2: rounds - 1,
            3: min(n, 1001),
            4: 7 + rounds,
        }


def test_bpf_loop_with_a_lambda_and_with_a_function_of_the_module(build):
    run = build(
        """
        bp.loop(5, lambda i: total.value > 2)
        bp.loop(number, count)
        """,
        above="""
        def count(i):
            total.value += 1
            return i == 3
        """,
    )
    run(0, 2)
    assert run.globals.total == 2
    run(0, 100)
    assert run.globals.total == 6


def test_for_each_entry_of_a_map(build):
    run = build(
        """
        most = 0
        best = 0

        def visit(key, value):
            nonlocal most, best
            if value > most:
                most = value
                best = key

        found = bp.for_each_map_elem(counts, visit)

        def shift(key, p):
            p.x += i32(number)
            p.y = p.x * 2

        bp.for_each_map_elem(points, shift)
        slots[0] = best
        slots[1] = most
        return found
        """
    )
    run.maps["counts"].update({3: 10, 5: 50, 9: 20})
    run.maps["points"].update({1: {"x": 1, "y": 0}, 2: {"x": 2, "y": 0}})
    assert run(0, 7) == 3
    assert [run.maps["slots"][i] for i in (0, 1)] == [5, 50]
    assert {k: (p.x, p.y) for k, p in run.maps["points"].items()} == {1: (8, 16), 2: (9, 18)}


def test_an_optional_that_an_inner_function_sets_is_tested_again(build):
    run = build(
        """
        p = points.get(1)

        def find(i):
            nonlocal p
            p = points.get(u32(i))
            return p is not None

        bp.loop(10, find)
        if p is None:
            return 0
        return p.x
        """
    )
    assert run() == 0
    run.maps["points"][4] = {"x": 44, "y": 0}
    assert run() == 44


# -- global functions

GLOBAL = """
@bp.global_function
def weigh(x: u64, p: Point, q: Point | None, name: Char[16]):
    p.y += 1
    if name == "heavy":
        return 1000
    if q is None:
        return x + p.x
    return x * q.x

@bp.global_function
def note(key: u32):
    counts[key] += 1

@bp.global_function
def parent(task: 'bp.kernel["task_struct"]') -> u32:
    return task.real_parent.tgid
"""


def test_global_functions(build):
    run = build(
        """
        p = Point(x=3)
        counts[1] = weigh(number, p, None, "light")
        counts[2] = weigh(number, p, points.get(1), bp.comm())
        counts[3] = weigh(number, p, Point(x=5), "heavy")
        counts[4] = p.y
        note(77)
        note(77)
        """,
        above=GLOBAL,
    )
    run.maps["points"][1] = {"x": 7, "y": 0}
    run(0, 10)
    assert dict(run.maps["counts"].items()) == {1: 13, 2: 70, 3: 1000, 4: 3, 77: 2}
    assert "call" in run.text()


def test_a_global_function_of_a_kernel_struct(build, ktypes):
    if ktypes.kfunc("bpf_iter_task_new") is None:
        pytest.skip("this kernel has no tags for trusted arguments (Linux 6.8)")
    run = build("return parent(bp.current_task())", above=GLOBAL)
    assert run() == os.getppid()


# -- several results


def test_several_results(build):
    run = build(
        """
        q, r = split(number, 7)
        b, c = split(q, 3)
        counts[1] = q
        counts[2] = r
        counts[3] = b * 100 + c

        def both(x):
            if x > 5:
                return x, u64(1) << 63
            return 0, 0

        x, y = both(number)
        return (y >> 63) * 50 + x
        """,
        above="""
        def split(n, by):
            return n // by, n % by
        """,
    )
    assert [run(0, 40), run(0, 5)] == [90, 0]
    run(0, 40)
    assert dict(run.maps["counts"].items()) == {1: 5, 2: 5, 3: 102}


def test_numbers_of_global_functions_have_their_width(build):
    above = """
@bp.global_function
def narrow(a: u32, b: i8, c: u64) -> u64:
    if b < 0:
        return c
    return a
"""
    run = build("return narrow(number, i64(number >> 32), 5)", above=above)
    assert run(0, 7 + (0x17F << 32)) == 7  # 0x7f as an i8
    assert run(0, 7 + (0x80 << 32)) == 5  # -128
    run = build("slots[1] = narrow(number, 1, 0)\nreturn 0", above=above)
    run(0, (1 << 40) + 9)
    assert run.maps["slots"][1] == 9
