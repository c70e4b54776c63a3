"""Functions in the kernel: inside programs, called back, specialised, global."""

from __future__ import annotations

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
