"""Numbers of the verifier against concrete ones: what may come out is in what it says can come out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probee.isa.insn import (
    ADD,
    AND,
    ARSH,
    JEQ,
    JGE,
    JGT,
    JLE,
    JLT,
    JNE,
    JSET,
    JSGE,
    JSGT,
    JSLE,
    JSLT,
    LSH,
    MUL,
    NEG,
    OR,
    RSH,
    SUB,
    XOR,
)
from probee.verifier import arithmetic, branches, tnum
from probee.verifier.scalars import (
    U32,
    U64,
    UNKNOWN,
    Num,
    byte_swap,
    const,
    s32,
    s64,
    sign_extend,
    sync,
    truncate,
    zero_extend32,
)

EDGES = [
    0,
    1,
    2,
    7,
    8,
    255,
    256,
    0x7FFF,
    0x7FFFFFFF,
    0x80000000,
    U32,
    U32 + 1,
    1 << 63,
    (1 << 63) - 1,
    U64,
    U64 - 7,
]
VALUES = st.one_of(st.sampled_from(EDGES), st.integers(0, U64), st.integers(0, 300))


def has(num: Num, value: int) -> bool:
    low = value & U32
    return (
        not (value ^ num.value) & ~num.mask & U64
        and num.umin <= value <= num.umax
        and num.smin <= s64(value) <= num.smax
        and num.u32min <= low <= num.u32max
        and num.s32min <= s32(low) <= num.s32max
    )


@st.composite
def numbers(draw: st.DrawFn) -> tuple[Num, int]:
    """A number and one of its values."""
    value = draw(VALUES)
    mask = draw(
        st.one_of(st.just(0), st.just(U64), st.sampled_from([0xFF, U32, 0xFFFF0000]), st.integers(0, U64))
    )
    fields = [value & ~mask, mask, *UNKNOWN.fields[2:]]
    if draw(st.booleans()):
        fields[4], fields[5] = (
            max(0, value - draw(st.integers(0, 1000))),
            min(U64, value + draw(st.integers(0, 1000))),
        )
    if draw(st.booleans()):
        signed = s64(value)
        fields[2] = max(-(1 << 63), signed - draw(st.integers(0, 1000)))
        fields[3] = min((1 << 63) - 1, signed + draw(st.integers(0, 1000)))
    if draw(st.booleans()):
        low = value & U32
        fields[8], fields[9] = (
            max(0, low - draw(st.integers(0, 99))),
            min(U32, low + draw(st.integers(0, 99))),
        )
    return sync(*fields), value


def concrete(op: int, is32: bool, a: int, b: int) -> int:
    bits = 32 if is32 else 64
    ones = (1 << bits) - 1
    a, b = a & ones, b & ones
    signed = a - (1 << bits) if a >> bits - 1 else a
    return {
        ADD: lambda: a + b,
        SUB: lambda: a - b,
        MUL: lambda: a * b,
        AND: lambda: a & b,
        OR: lambda: a | b,
        XOR: lambda: a ^ b,
        LSH: lambda: a << b % bits,
        RSH: lambda: a >> b % bits,
        ARSH: lambda: signed >> b % bits,
        NEG: lambda: -a,
    }[op]() & ones


@settings(max_examples=400, deadline=None)
@given(numbers(), numbers(), st.sampled_from([ADD, SUB, MUL, AND, OR, XOR, NEG]), st.booleans())
def test_arithmetic_contains_every_result(
    a: tuple[Num, int], b: tuple[Num, int], op: int, is32: bool
) -> None:
    assert has(a[0], a[1])
    out = arithmetic.apply(op, is32, a[0], b[0])
    assert has(out, concrete(op, is32, a[1], b[1]))


@settings(max_examples=200, deadline=None)
@given(numbers(), st.integers(0, 63), st.sampled_from([LSH, RSH, ARSH]), st.booleans())
def test_shifts_contain_every_result(a: tuple[Num, int], by: int, op: int, is32: bool) -> None:
    by = by % 32 if is32 else by
    assert has(arithmetic.apply(op, is32, a[0], const(by)), concrete(op, is32, a[1], by))


@settings(max_examples=200, deadline=None)
@given(numbers(), st.sampled_from([1, 2, 4]))
def test_widths(a: tuple[Num, int], size: int) -> None:
    ones = (1 << size * 8) - 1
    low = a[1] & ones
    assert has(truncate(a[0], size), low)
    signed = low - (ones + 1) if low >> size * 8 - 1 else low
    assert has(sign_extend(a[0], size), signed & U64)
    assert has(sync(*zero_extend32(a[0]).fields), a[1] & U32)
    swapped = int.from_bytes(low.to_bytes(size, "little"), "big") if size > 1 else low
    assert has(byte_swap(a[0], size, swaps=True), swapped)


def compare(op: int, is32: bool, a: int, b: int) -> bool:
    ones, signed = (U32, s32) if is32 else (U64, s64)
    a, b = a & ones, b & ones
    sa, sb = signed(a), signed(b)
    return {
        JEQ: a == b,
        JNE: a != b,
        JGT: a > b,
        JGE: a >= b,
        JLT: a < b,
        JLE: a <= b,
        JSGT: sa > sb,
        JSGE: sa >= sb,
        JSLT: sa < sb,
        JSLE: sa <= sb,
        JSET: bool(a & b),
    }[op]


@settings(max_examples=600, deadline=None)
@given(
    numbers(),
    numbers(),
    st.sampled_from([JEQ, JNE, JGT, JGE, JLT, JLE, JSGT, JSGE, JSLT, JSLE, JSET]),
    st.booleans(),
)
def test_branches_keep_what_goes_their_way(
    a: tuple[Num, int], b: tuple[Num, int], op: int, is32: bool
) -> None:
    goes = compare(op, is32, a[1], b[1])
    way = branches.taken(op, is32, a[0], b[0])
    assert way in (-1, int(goes))
    if way < 0:
        yes_a, yes_b, no_a, no_b = branches.sides(op, is32, a[0], b[0])
        kept_a, kept_b = (yes_a, yes_b) if goes else (no_a, no_b)
        assert has(kept_a, a[1])
        assert has(kept_b, b[1])


ALL = [(value, mask) for value in range(8) for mask in range(8) if not value & mask]


def members(number: tuple[int, int]) -> list[int]:
    return [n for n in range(8) if n & ~number[1] == number[0]]


@pytest.mark.parametrize(
    ("op", "plain"),
    [
        (tnum.add, lambda a, b: a + b),
        (tnum.sub, lambda a, b: a - b),
        (tnum.and_, lambda a, b: a & b),
        (tnum.or_, lambda a, b: a | b),
        (tnum.xor, lambda a, b: a ^ b),
        (tnum.mul, lambda a, b: a * b),
        (tnum.mul_by_masks, lambda a, b: a * b),
    ],
)
def test_tristate_numbers_exhaustively(op, plain) -> None:  # type: ignore[no-untyped-def]
    for a in ALL:
        for b in ALL:
            value, mask = op(a, b)
            assert not value & mask
            for x in members(a):
                for y in members(b):
                    assert (plain(x, y) & U64) & ~mask & U64 == value


def test_tristate_relations_exhaustively() -> None:
    for a in ALL:
        for b in ALL:
            common = set(members(a)) & set(members(b))
            assert tnum.overlap(a, b) == bool(common)
            if common:
                assert set(members(tnum.intersect(a, b))) == common
            assert tnum.contains(a, b) == (set(members(b)) <= set(members(a)))
            assert set(members(a)) | set(members(b)) <= set(members(tnum.join(a, b)))


def test_equal_numbers_are_one_object() -> None:
    assert truncate(UNKNOWN, 1) is arithmetic.apply(AND, False, UNKNOWN, const(255))
    assert const(-1) is const(U64)
