"""The integer rules, checked on the IR itself: a small evaluator runs what the builder made."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from probee.lang import ir
from probee.lang.builder import Builder, wrap
from probee.lang.types import BOOL, I8, I16, I32, I64, U8, U16, U32, U64, Int

EDGES = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    -3,
    7,
    -7,
    63,
    64,
    65,
    2**31,
    -(2**31),
    2**32,
    2**63 - 1,
    -(2**63),
    2**63,
    2**64 - 1,
]
numbers = st.one_of(st.sampled_from(EDGES), st.integers(-(2**63), 2**64 - 1), st.integers(-20, 20))
kinds = st.sampled_from([I8, I16, I32, I64, U8, U16, U32, U64, BOOL])
where = st.sampled_from(["", "a", "b", "ab"])  # which operands are constants
ARITH = ["+", "-", "*", "//", "%", "<<", ">>", "&", "|", "^"]
COMPARE = ["==", "!=", "<", "<=", ">", ">="]


MACHINE = {  # of a as unsigned, a as signed, b as unsigned
    "add": lambda a, _, b: a + b,
    "sub": lambda a, _, b: a - b,
    "mul": lambda a, _, b: a * b,
    "and": lambda a, _, b: a & b,
    "or": lambda a, _, b: a | b,
    "xor": lambda a, _, b: a ^ b,
    "udiv": lambda a, _, b: a // b if b else 0,
    "urem": lambda a, _, b: a % b if b else a,
    "shl": lambda a, _, b: a << b,
    "lshr": lambda a, _, b: a >> b,
    "ashr": lambda _, a, b: a >> b,
}


def evaluate(fn: ir.Function, values: dict[ir.Value, int]) -> int:
    """The result of the one block of `fn`, in the machine's arithmetic."""
    known = dict(values)

    def get(v: ir.Value) -> int:
        return v.value if isinstance(v, ir.Const) else known[v]

    def kind(v: ir.Value) -> Int:
        assert isinstance(v.type, Int)
        return v.type

    for op in fn.blocks[0].ops:
        if isinstance(op, ir.Return):
            assert op.value is not None
            return get(op.value)
        t = kind(op)
        if isinstance(op, ir.Cast):
            source = get(op.value)
            known[op] = wrap(source, t)
        elif isinstance(op, ir.Select):
            known[op] = get(op.a) if get(op.cond) else get(op.b)
        elif isinstance(op, ir.Compare):
            assert op.a.type == op.b.type
            signed = op.op.startswith("s")
            view = Int(kind(op.a).bits, signed)
            a, b = wrap(get(op.a), view), wrap(get(op.b), view)
            known[op] = int(
                {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[op.op[-2:]]
            )
        else:
            assert isinstance(op, ir.Binary)
            assert op.a.type == op.b.type
            unsigned = Int(t.bits, False)
            a, b = wrap(get(op.a), unsigned), wrap(get(op.b), unsigned)
            if op.op in ("shl", "lshr", "ashr") and b >= t.bits:
                known[op] = 0xDEAD  # undefined: must not reach the result
                continue
            result = MACHINE[op.op](a, wrap(a, Int(t.bits, True)), b)
            known[op] = wrap(result, t)
    raise AssertionError("no return")


def expected(op: str, a: int, ta: Int, b: int, tb: Int) -> int:
    """Python's answer, wrapped by the rules of the language."""
    signed = [t.signed or t.bits == 1 for t in (ta, tb)]
    if op in ("<<", ">>"):
        kind = I64 if signed[0] else U64
        if not 0 <= b < 64:
            return -1 if op == ">>" and a < 0 else 0
        return wrap(a << b if op == "<<" else a >> b, kind)
    if op in ("&", "|", "^") and ta == tb == BOOL:
        return {"&": a & b, "|": a | b, "^": a ^ b}[op]
    kind = I64 if all(signed) else U64
    a, b = wrap(a, kind), wrap(b, kind)
    if op in ("//", "%") and b == 0:
        return 0 if op == "//" else a
    result = {
        "+": lambda: a + b,
        "-": lambda: a - b,
        "*": lambda: a * b,
        "//": lambda: a // b,
        "%": lambda: a % b,
        "&": lambda: a & b,
        "|": lambda: a | b,
        "^": lambda: a ^ b,
    }[op]()
    return wrap(result, kind)


def run(make, a: int, ta: Int, b: int, tb: Int, constants: str) -> tuple[int, ir.Type]:
    """What `make(builder, a, b)` computes, with a and b as parameters or constants."""
    pa, pb = ir.Param(0, "a", ta), ir.Param(1, "b", tb)
    fn = ir.Function("f", [pa, pb], I64)
    builder = Builder(fn)
    va = builder.const(a, ta) if "a" in constants else pa
    vb = builder.const(b, tb) if "b" in constants else pb
    value = make(builder, va, vb)
    builder.emit(ir.Return(value))
    return evaluate(fn, {pa: a, pb: b}), value.type


@given(op=st.sampled_from(ARITH), a=numbers, b=numbers, ta=kinds, tb=kinds, constants=where)
@example(op="//", a=-(2**63), b=-1, ta=I64, tb=I64, constants="")
@example(op="//", a=-(2**63), b=-2, ta=I64, tb=I64, constants="")
@example(op="//", a=0, b=-5, ta=I64, tb=I64, constants="")
@example(op="%", a=5, b=-(2**63), ta=I64, tb=I64, constants="")
@example(op="//", a=-7, b=0, ta=I64, tb=I64, constants="")
@example(op="%", a=-7, b=0, ta=I64, tb=I64, constants="")
@example(op="%", a=-7, b=5, ta=I64, tb=I64, constants="b")
@example(op=">>", a=-7, b=200, ta=I64, tb=I64, constants="")
def test_arithmetic_is_pythons(op: str, a: int, b: int, ta: Int, tb: Int, constants: str) -> None:
    a, b = wrap(a, ta), wrap(b, tb)
    got, kind = run(lambda f, x, y: f.arith(op, x, y), a, ta, b, tb, constants)
    want = expected(op, a, ta, b, tb)
    assert got == want
    assert isinstance(kind, Int)
    assert wrap(got, kind) == got


@given(op=st.sampled_from(COMPARE), a=numbers, b=numbers, ta=kinds, tb=kinds, constants=where)
def test_comparison_is_by_value(op: str, a: int, b: int, ta: Int, tb: Int, constants: str) -> None:
    a, b = wrap(a, ta), wrap(b, tb)
    got, kind = run(lambda f, x, y: f.compare(op, x, y), a, ta, b, tb, constants)
    want = {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]
    assert (got, kind) == (int(want), BOOL)


@given(a=numbers, ta=kinds, chain=st.lists(kinds.filter(lambda t: t.bits > 1), min_size=1, max_size=4))
def test_casts_compose(a: int, ta: Int, chain: list[Int]) -> None:
    a = wrap(a, ta)

    def make(f: Builder, x: ir.Value, _: ir.Value) -> ir.Value:
        for t in chain:
            x = f.cast(x, t)
        return x

    want = a
    for t in chain:
        want = wrap(want, t)
    got, kind = run(make, a, ta, 0, I64, "")
    assert got == want
    assert kind == chain[-1]


@given(a=numbers, ta=kinds)
def test_unary(a: int, ta: Int) -> None:
    a = wrap(a, ta)
    wide = I64 if ta.signed or ta == BOOL else U64
    for make, want in (
        (Builder.neg, wrap(-a, wide)),
        (Builder.invert, wrap(~a, wide)),
        (Builder.not_, int(not a)),
        (Builder.truth, int(bool(a))),
        (Builder.widen, a),
    ):
        assert run(lambda f, x, _, make=make: make(f, x), a, ta, 0, I64, "")[0] == want
        assert run(lambda f, x, _, make=make: make(f, x), a, ta, 0, I64, "a")[0] == want


@pytest.mark.parametrize(("op", "n"), [(op, n) for op in ("//", "%") for n in (1, 2, 8, 4096, 2**62)])
def test_powers_of_two_need_no_division(op: str, n: int) -> None:
    fn = ir.Function("f", [ir.Param(0, "a", I64)], I64)
    builder = Builder(fn)
    builder.arith(op, fn.params[0], builder.const(n))
    assert not any(isinstance(x, ir.Binary) and "div" in x.op + "rem" in x.op for x in fn.blocks[0].ops)
    assert len(fn.blocks[0].ops) == 1


def test_comparison_with_a_widened_field_is_one_comparison() -> None:
    fn = ir.Function("f", [ir.Param(0, "a", I64), ir.Param(1, "b", U32)], I64)
    builder = Builder(fn)
    builder.compare("<", fn.params[0], fn.params[1])
    assert [x.op for x in fn.blocks[0].ops if not isinstance(x, ir.Cast)] == ["slt"]
