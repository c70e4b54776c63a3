"""What functions give and share: optional numbers, tuples, references, variables two functions out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import lang_module

pytestmark = pytest.mark.root


@pytest.fixture
def build(tmp_path) -> Iterator[Callable[..., lang_module.Both]]:
    with lang_module.both(lang_module.kernel_types().btf, tmp_path) as make:
        yield make


ABOVE = """
def find(n) -> "int | None":
    if n > 10:
        return None
    return n * 2


def half(n):
    if n % 2:
        return None
    return n // 2


def either(n):
    found = half(n)
    if found is None:
        return find(n)
    return found


def split(n):
    if n > 10:
        return 1, 2, True
    return n, -1, n < 3
"""
BODY = """
v = find(number)
if v is not None:
    counts[1] = v
counts[2] = 7 if find(number + 6) is None else 8
w = either(number)
if not w:
    counts[3] = 1
elif w > 3:
    counts[4] = w
if (u := half(number)) is not None and u > 1:
    counts[5] = u
a, b, c = split(number)
counts[6] = a
counts[7] = b + 5
counts[8] = c

def least(n):
    if n < 4:
        return
    return None if n > 8 else n

x = least(number)
if x is not None:
    counts[9] = x
return 0
"""


def test_results_that_may_be_none_and_several_results_as_in_python(build):
    body = BODY.replace("        return\n", "        return None\n")
    run = build(body, above=ABOVE)
    for n in (0, 1, 2, 4, 5, 7, 9, 10, 11, 12, 100):
        assert run(n) == lang_module.python(body, n, ABOVE), n


REFERENCES = """
def both(n):
    if n > 10:
        return n, None
    return n + 1, points.get(n)


def parents(n):
    task = bp.current_task()
    return task, task.real_parent


def entry(n):
    return points.get(n)


def number_of(n):
    return counts.get(n)
"""


def test_references_and_pointers_among_results(build):
    run = build(
        """
        n, point = both(number)
        counts[1] = n
        if point is not None:
            point.x += 1
            counts[2] = point.x
        me, parent = parents(number)
        counts[3] = me.real_parent.tgid == parent.tgid
        again = entry(number)
        if again is not None:
            again.y = 9
        one = number_of(1)
        if one is not None:
            counts[4] = one
        if number_of(99) is None:
            counts[5] = 1
        """,
        above=REFERENCES,
    )
    for where in (run.kernel, run.machine):
        where.maps["points"][5] = (3, 0)
    assert run(5)[1] == {1: 6, 2: 4, 3: 1, 4: 6, 5: 1}
    assert run(6)[1] == {1: 7, 3: 1, 4: 7, 5: 1}
    assert run(11)[1] == {1: 11, 3: 1, 4: 11, 5: 1}
    assert run.kernel.maps["points"][5].y == run.machine.maps["points"][5].y == 9


def test_variables_of_functions_further_out(build):
    body = """
n = 0
k = 100

def outer(i):
    m = 5

    def inner(j):
        nonlocal n, m

        def third(x):
            nonlocal n, m, k
            n += 1
            m += 2
            k += x

        third(j)
        LOOP(3, third)
        n += j
        m += 1

    LOOP(number, inner)
    counts[i] = m

for i in range(number & 7):
    outer(i)
counts[70] = n
counts[71] = k
return n
"""
    run = build(body.replace("LOOP", "bp.loop"))
    above = "def LOOP(n, f):\n    for i in range(n):\n        f(i)\n"
    model = f"{above}def around(number, counts):\n" + "".join(f"    {x}\n" for x in body.splitlines())
    for n in (0, 1, 3, 5):
        assert run(n) == lang_module.python("return around(number, counts)", n, model), n


def test_the_value_that_a_helper_looks_up(build):
    run = build(
        """
        counts[3] = 9
        p = bp.map_lookup_elem(counts, 3)
        if p is not None:
            counts[4] = bp.deref(p)
            p[0] += number
            p[0] |= 64
            counts[5] = p[0]
        q = bp.map_lookup_elem(counts, 77)
        return 1 if q is None else 0
        """
    )
    assert run(2) == (1, {3: 11 | 64, 4: 9, 5: 11 | 64})


def test_a_tail_call_out_of_a_loop(build):
    run = build(
        """
        for i in range(number & 7):
            counts[i] += 1
            bp.jump(programs, i)
        k = 0
        while k < 4:
            k += 1
            bp.jump(programs, k + 8)
        return 3
        """,
        above="""
        @bp.raw_tracepoint("sys_enter")
        def other(regs, number):
            counts[77] += 1
            return 8

        programs[2] = other
        """,
    )
    assert run(2) == (3, {0: 1, 1: 1})
    assert run(5) == (8, {0: 1, 1: 1, 2: 1, 77: 1})
