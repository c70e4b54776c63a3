"""What Python means, in the kernel: order, aliases, loops; functions run in CPython and there."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from textwrap import dedent
from typing import Any

import pytest

import lang_module
from probee import lang
from probee.kernel.load import load
from probee.lang import decl
from probee.obj import read_object

pytestmark = pytest.mark.root

ARGUMENTS = ((0, 0), (1, 2), (5, 3), (-7, 3), (7, -3))
STRUCTS = """
class Pair(bp.Struct):
    l: Point
    r: Point
    n: u32
    m: u32


class Texts(bp.Struct):
    l: Char[8]
    r: Char[8]
"""
RUN = """

@bp.raw_tracepoint("sys_enter")
def program(a, b):
    signed_total.value = calc(i64(a), i64(b))
"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def kernel(ktypes, tmp_path) -> Iterator[Callable[[str], tuple[Any, Callable[[int, int], int]]]]:
    """The module of a text with `calc(a, b)`, and its `calc` in the kernel."""
    with ExitStack() as stack:

        def build(text: str) -> tuple[Any, Callable[[int, int], int]]:
            module = lang_module.make(lang_module.PRELUDE + STRUCTS + dedent(text) + RUN, tmp_path)
            data = lang.compile(decl.programs_in(vars(module)), ktypes=ktypes)
            loaded = stack.enter_context(load(read_object(data)))

            def calc(a: int, b: int) -> int:
                ctx = struct.pack("<QQ", a & (1 << 64) - 1, b & (1 << 64) - 1)
                loaded.programs["program"].test_run(ctx=ctx)
                return loaded.globals.signed_total

            return module, calc

        yield build


# functions that mean the same in CPython
SAME = {
    "texts swap": """
        def calc(a, b):
            p = Texts(l="ab", r="cd")
            p.l, p.r = p.r, p.l
            return (p.l == "cd") * 10 + (p.r == "ab")
        """,
    "text locals swap": """
        def calc(a, b):
            p = Texts(l="ab", r="cd")
            x = p.l
            y = p.r
            x, y = y, x
            return (x == "cd") * 10 + (y == "ab")
        """,
    "nested targets swap": """
        def calc(a, b):
            p = Texts(l="ab", r="cd")
            q = Pair(n=1, m=2)
            (q.n, p.l), (q.m, p.r) = (q.m, p.r), (q.n, p.l)
            return (p.l == "cd") * 10 + (p.r == "ab") + q.n * 1000 + q.m * 100
        """,
    "old value first in an augmented assignment": """
        def f(p):
            p.x = 50
            return 1

        def calc(a, b):
            p = Point(x=1)
            p.x += f(p)
            return p.x
        """,
    "the best so far": """
        def calc(a, b):
            best = Point(x=0, y=0)
            for i in range(10):
                v = (i * 7 + a) % 10
                if v > best.x:
                    best = Point(x=v, y=i)
            return best.x * 100 + best.y
        """,
    "the best so far, with continue": """
        def calc(a, b):
            best = Point(x=0, y=0)
            i = 0
            while i < 10:
                i += 1
                v = (i * 7 + a) % 10
                if v <= best.x:
                    continue
                best = Point(x=v, y=i)
            return best.x * 100 + best.y
        """,
    "a copy of the round before": """
        def calc(a, b):
            prev = Point(x=100, y=0)
            t = 0
            for i in range(4):
                cur = Point(x=i, y=a)
                t = t * 10 + prev.x
                prev = Point(x=cur.x, y=cur.y)
            return t
        """,
    "two names in one round": """
        def calc(a, b):
            t = 0
            for i in range(4):
                cur = Point(x=i, y=a)
                other = cur
                other.x += 1
                t = t * 10 + cur.x
            return t
        """,
    "text of the round before": """
        def calc(a, b):
            last = Exec(comm="a").comm
            t = 0
            for i in range(3):
                f = Exec(pid=i, comm="c")
                if i == 0:
                    f.comm = "b"
                t = t * 10 + (last == "a") + (last == "b") * 2 + (last == "c") * 3
                last = f.comm
            return t
        """,
    "a range from below zero to an unsigned number": """
        def calc(a, b):
            n = u64(b & 7)
            t = 0
            for i in range((a & 7) - 4, n):
                t = t * 3 + i
            return t
        """,
    "a parameter that may be left out": """
        def f(x, y=None):
            if y is None:
                return x
            return x * y

        def calc(a, b):
            return f(a) * 100 + f(a, b) + f(a, y=None)
        """,
    "a global's name as a local": """
        def calc(a, b):
            total = 0
            for i in range(3):
                total += i
            return total
        """,
}
# functions that change the copies that fields are, or maps: the result is given
GIVEN: dict[str, tuple[str, Callable[[int, int], int]]] = {
    "struct fields swap": (
        """
        def calc(a, b):
            p = Pair()
            p.l.x = 1
            p.r.x = 2
            p.l, p.r = p.r, p.l
            return p.l.x * 10 + p.r.x
        """,
        lambda a, b: 21,
    ),
    "a struct made of its own parts in a loop": (
        """
        def calc(a, b):
            p = Pair(l=Point(x=1), r=Point(x=2))
            t = 0
            for i in range(3):
                t = t * 100 + p.l.x * 10 + p.r.x
                p = Pair(l=p.r, r=p.l)
            return t
        """,
        lambda a, b: 122112,
    ),
    "an optional changes in a loop": (
        """
        def calc(a, b):
            counts[1] = 3
            v = counts.get(1)
            if v is None:
                return -1
            t = 0
            for i in range(3):
                if v is None:
                    t += 100
                    v = 5
                t += v
                v = counts.get(i + 50)
            return t
        """,
        lambda a, b: 213,
    ),
    "a reference into a map is carried": (
        """
        def calc(a, b):
            points[1] = Point(x=1)
            points[2] = Point(x=2)
            last = points.get(1)
            if last is None:
                return -1
            t = 0
            for i in range(3):
                p = points.get(i)
                if p is not None:
                    last = p
                t = t * 10 + last.x
            return t
        """,
        lambda a, b: 112,
    ),
    "a tuple into an array": (
        """
        def calc(a, b):
            e = Exec()
            e.sizes = (7, a & 3, 3)
            e.sizes = (e.sizes[1], e.sizes[0], 4, 5)
            f = Exec(sizes=(1, 6, 2))
            t = 0
            for size in e.sizes:
                t = t * 10 + size
            return t * 100 + f.sizes[1] * 10 + f.sizes[3]
        """,
        lambda a, b: (a & 3) * 100000 + 74560,
    ),
    "one name for records of two types": (
        """
        def calc(a, b):
            n = 0
            while n < 3:
                n += 1
                with rb.reserve() as e:
                    e.pid = 1
                with rb2.reserve() as e:
                    if n == 2:
                        break
                    e.x = 1
            return n
        """,
        lambda a, b: 2,
    ),
}


GIVEN |= {
    "a parameter is given back": (
        """
        def bigger(p, q):
            return p if p.x > q.x else q

        def at(e):
            return e.at

        def calc(a, b):
            e = Exec()
            bigger(at(e), Point(x=-100)).x = a
            at(e).y = b
            return e.at.x * 10 + e.at.y
        """,
        lambda a, b: a * 10 + b,
    ),
    "texts in maps": (
        """
        tm = bp.Hash[u32, Texts](4)
        nm = bp.Hash[u32, Char[8]](4)

        def calc(a, b):
            nm[1] = "abc"
            tm[1] = Texts(l="xyz")
            n = nm.get(1)
            if n is None:
                return -1
            m = nm.get(2)
            t = tm.get(1)
            if t is None:
                return -2
            t.l = n
            nm[3] = t.l
            gone = nm.pop(4)
            o = nm.pop(3)
            if o is None or gone is not None:
                return -3
            same = (n == "abc") + (tm[1].l == "abc") * 100 + (o == "abc") * 1000
            return same + (m is None) * 10 + (3 in nm)
        """,
        lambda a, b: 1111,
    ),
    "a negative number among small unsigned ones": (
        """
        def small(x):
            if x < 0:
                return -1
            return u32(x)

        def calc(a, b):
            x = -1 if a < 0 else u16(a)
            y = min(-5, u32(b))
            return (x < 0) + (y == -5) * 10 + (small(a) < 0) * 100 + (max(-1, u8(a)) == u8(a)) * 1000
        """,
        lambda a, b: (a < 0) + 10 + (a < 0) * 100 + 1000,
    ),
    "maps swap": (
        """
        def calc(a, b):
            counts[1], counts[2] = a & 7, b & 7
            counts[1], counts[2] = counts[2], counts[1]
            points[1] = Point(x=1)
            points[2] = Point(x=2)
            points[1], points[2] = points[2], points[1]
            return counts[1] * 1000 + counts[2] * 100 + points[1].x * 10 + points[2].x
        """,
        lambda a, b: (b & 7) * 1000 + (a & 7) * 100 + 21,
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_means_what_python_means(name, kernel):
    module, calc = kernel(SAME[name])
    for a, b in ARGUMENTS:
        assert calc(a, b) == module.calc(a, b), (a, b)


@pytest.mark.parametrize("name", GIVEN)
def test_copies_and_maps(name, kernel):
    text, want = GIVEN[name]
    _, calc = kernel(text)
    for a, b in ARGUMENTS:
        assert calc(a, b) == want(a, b), (a, b)
