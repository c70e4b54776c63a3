"""Structs at random, in the kernel against CPython: layouts with bit fields, unions, packing; texts.

Hypothesis chooses a seed; fields and assignments are written from it, run in the kernel by BPF_PROG_TEST_RUN
and on the same classes in CPython. The memory must be the same, byte by byte.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import lang_module

pytestmark = pytest.mark.root

SCALARS = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"]


def declaration(r: Random, n: int) -> tuple[str, list[tuple[str, str]]]:
    """The text of a struct, and its numbers: (path, kind)."""
    lines, numbers = [], []
    for i in range(r.randint(2, 7)):
        name = f"f{i}"
        choice = r.random()
        scalar = r.choice(SCALARS)
        if choice < 0.4:
            bits = r.randint(1, int(scalar[1:]))
            lines.append(f"    {name}: bp.Bits[{scalar}, {bits}]")
            numbers.append((name, scalar))
        elif choice < 0.7:
            lines.append(f"    {name}: {scalar}")
            numbers.append((name, scalar))
        elif choice < 0.85:
            size = r.randint(1, 3)
            lines.append(f"    {name}: {scalar}[{size}]")
            numbers.append((f"{name}[{r.randrange(size)}]", scalar))
        else:
            lines.append(f"    {name}: U{n}")
            numbers.append((f"{name}.{r.choice('ab')}", "u16"))
    packed = ", packed=True" if r.random() < 0.3 else ""
    text = f"class U{n}(bp.Union):\n    a: u16\n    b: u8\n    c: u32\n\n"
    text += f"class S{n}(bp.Struct{packed}):\n" + "\n".join(lines) + "\n"
    return text, numbers


def statements(r: Random, numbers: list[tuple[str, str]]) -> list[str]:
    out = []
    for _ in range(r.randint(3, 10)):
        path, _kind = r.choice(numbers)
        other, _ = r.choice(numbers)
        value = r.choice(["n", "n >> 3", f"v.{other}", str(r.randint(0, 1 << 31)), f"v.{other} + n"])
        op = r.choice(["=", "=", "=", "+=", "^=", "|="])
        out.append(f"v.{path} {op} {value}")
    return out


@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(st.integers(0, 1 << 32))
def test_memory_of_structs(tmp_path_factory, seed):
    r = Random(seed)
    from probee.errors import CompileError

    text, numbers = declaration(r, 1)
    lines = statements(r, numbers)
    above = (
        f"{text}\nout = bp.Array[S1](1)\n\ndef change(v, n):\n" + "\n".join(f"    {x}" for x in lines) + "\n"
    )
    body = "e = out.get(0)\nif e is None:\n    return -1\nv = S1()\nchange(v, number)\nout[0] = v\nreturn 0"
    try:
        with lang_module.builder(lang_module.kernel_types(), tmp_path_factory.mktemp("s")) as build:
            run = build(body, above=above)
            n = r.getrandbits(31)
            assert run(0, n) == 0
            value = run.module.S1()
            run.module.change(value, n)
            assert run.raw("out") == run.module.S1._pack_(value), (text, lines, n)
            assert run.module.S1._pack_(run.module.S1._unpack_(run.raw("out"))) == run.raw("out")
    except CompileError as e:
        if "bit field lies" not in e.message:  # across more bytes than there are to load at once
            raise


ALPHABET = "ab/."


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.text(ALPHABET, max_size=12), st.text(ALPHABET, max_size=4), st.integers(-14, 14), st.integers(-14, 14)
)
def test_texts(texts, a, b, i, j):
    run = texts
    run.maps["lines"][0] = {"a": a, "b": b, "i": i, "j": j}
    assert run() == 0
    got = run.module.Line._unpack_(run.raw("lines"))
    want = [a.find(b), b in a, a < b, a.startswith(b), a.endswith(b), a == b]
    assert list(got.facts) == [int(x) for x in want], (a, b)
    assert (got.cut, got.both) == (a[i:j], a + "/" + b), (a, b, i, j)
    assert got.shown == f"{a}:{i:4d}|{b:>5}"


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    above = """
class Line(bp.Struct):
    a: Char[12]
    b: Char[4]
    i: i64
    j: i64
    facts: i8[6]
    cut: Char[12]
    both: Char[24]
    shown: Char[40]


lines = bp.Array[Line](1)
"""
    body = """
e = lines.get(0)
if e is None:
    return -1
e.facts[0] = e.a.find(e.b)
e.facts[1] = e.b in e.a
e.facts[2] = e.a < e.b
e.facts[3] = e.a.startswith(e.b)
e.facts[4] = e.a.endswith(e.b)
e.facts[5] = e.a == e.b
e.cut = e.a[e.i:e.j]
e.both = e.a + "/" + e.b
e.shown = f"{e.a}:{e.i:4d}|{e.b:>5}"
return 0
"""
    with lang_module.builder(lang_module.kernel_types(), tmp_path_factory.mktemp("t")) as build:
        yield build(body, above=above)
