"""What arithmetic does to numbers: one function for each operation, on unique `Num`s, each result remembered.

The bounds follow Linux 6.18: 64-bit and 32-bit ranges are computed beside each other, whatever may overflow
is unbounded, and what the ranges lose the known bits give back in `sync`.
"""

from __future__ import annotations

from probee.isa.insn import ADD, AND, ARSH, LSH, MUL, NEG, OR, RSH, SUB, XOR
from probee.verifier import tnum
from probee.verifier.scalars import (
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U32,
    U64,
    UNKNOWN,
    Num,
    const,
    from_bits,
    raw,
    s32,
    s64,
    sync,
    zero_extend32,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MANY = 200_000
_results: dict[tuple[int, bool, Num, Num], Num] = {}

Range = tuple[int, int]


def apply(op: int, is32: bool, a: Num, b: Num) -> Num:
    """`a` op `b`, with `op` as in `isa.insn` (ADD … XOR, NEG). Operations Linux doesn't track give an
    unknown number.
    """
    if not a.mask and not b.mask:
        exact = CONCRETE[is32].get(op)
        if exact is not None:
            return const(exact(a.value, b.value))
    key = (op, is32, a, b)
    done = _results.get(key)
    if done is None:
        if len(_results) > _MANY:
            _results.clear()
        done = _results[key] = _compute(op, is32, a, b)
    return done


_EXACT: dict[int, Callable[[int, int], int]] = {
    ADD: lambda a, b: a + b & U64,
    SUB: lambda a, b: a - b & U64,
    MUL: lambda a, b: a * b & U64,
    AND: lambda a, b: a & b,
    OR: lambda a, b: a | b,
    XOR: lambda a, b: a ^ b,
}
_EXACT32: dict[int, Callable[[int, int], int]] = {
    ADD: lambda a, b: a + b & U32,
    SUB: lambda a, b: a - b & U32,
    MUL: lambda a, b: a * b & U32,
    AND: lambda a, b: a & b & U32,
    OR: lambda a, b: (a | b) & U32,
    XOR: lambda a, b: (a ^ b) & U32,
}
# What is done to numbers that are known: by whether the operation has 32 bits, then by operation.
CONCRETE = (_EXACT, _EXACT32)


def _compute(op: int, is32: bool, a: Num, b: Num) -> Num:
    if op in (LSH, RSH, ARSH):
        if is32:
            fixed = b.known32 and b.s32min == b.s32max and b.u32min == b.u32max
        else:
            fixed = b.known and b.smin == b.smax and b.umin == b.umax
        if not fixed or b.umax >= (32 if is32 else 64):
            return UNKNOWN
        shifted = (_SHIFTS32 if is32 else _SHIFTS64)[op](a, b.u32min if is32 else b.umin)
    elif op == NEG:
        shifted = _sub(const(0), a)
    elif op in _SIMPLE:
        shifted = _SIMPLE[op](a, b)
    else:
        return UNKNOWN
    if is32:
        shifted = zero_extend32(shifted)
    return sync(*shifted.fields)


def shift(op: int, is32: bool, a: Num, by: int) -> Num:
    """`a` shifted by a known number, before its bounds inform each other."""
    return (_SHIFTS32 if is32 else _SHIFTS64)[op](a, by)


def bitwise(op: int, a: Num, b: Num) -> Num:
    """AND, OR or XOR, before the bounds inform each other."""
    return _SIMPLE[op](a, b)


def _signed_sum(low: int, high: int, least: int, most: int) -> Range:
    return (low, high) if least <= low and high <= most else (least, most)


def _unsigned_sum(low: int, high: int, top: int) -> Range:
    """Both ends may wrap round, then the range stays one; if one end does it falls in two."""
    if (low < 0) == (high < 0) and (low > top) == (high > top):
        return low & top, high & top
    return 0, top


def add_fields(a: Num, b: Num) -> tuple[int, ...]:
    """The fields of a sum before its bounds inform each other."""
    return (
        *tnum.add((a.value, a.mask), (b.value, b.mask)),
        *_signed_sum(a.smin + b.smin, a.smax + b.smax, S64_MIN, S64_MAX),
        *_unsigned_sum(a.umin + b.umin, a.umax + b.umax, U64),
        *_signed_sum(a.s32min + b.s32min, a.s32max + b.s32max, S32_MIN, S32_MAX),
        *_unsigned_sum(a.u32min + b.u32min, a.u32max + b.u32max, U32),
    )


def _add(a: Num, b: Num) -> Num:
    return raw(*add_fields(a, b))


def _sub(a: Num, b: Num) -> Num:
    return raw(
        *tnum.sub((a.value, a.mask), (b.value, b.mask)),
        *_signed_sum(a.smin - b.smax, a.smax - b.smin, S64_MIN, S64_MAX),
        *_unsigned_sum(a.umin - b.umax, a.umax - b.umin, U64),
        *_signed_sum(a.s32min - b.s32max, a.s32max - b.s32min, S32_MIN, S32_MAX),
        *_unsigned_sum(a.u32min - b.u32max, a.u32max - b.u32min, U32),
    )


def _product(
    a: tuple[int, int, int, int], b: tuple[int, int, int, int], top: int
) -> tuple[int, int, int, int]:
    """(smin, smax, umin, umax) of the product from those of the factors."""
    low, high = a[2] * b[2], a[3] * b[3]
    if low > top or high > top:
        low, high = 0, top
    corners = (a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
    signed = _signed_sum(min(corners), max(corners), -(top >> 1) - 1, top >> 1)
    return *signed, low, high


def _mul(a: Num, b: Num) -> Num:
    return raw(
        *tnum.mul((a.value, a.mask), (b.value, b.mask)),
        *_product(a.fields[2:6], b.fields[2:6], U64),
        *_product(a.fields[6:10], b.fields[6:10], U32),
    )


def _bitwise(bits: tuple[int, int], a: Num, b: Num, low64: int, high64: int, low32: int, high32: int) -> Num:
    """From the result's bits and unsigned ends: signed bounds follow where the sign bit is the same at
    both ends.
    """
    value, mask = bits
    if a.known and b.known:
        signed = s64(value)
        wide = (signed, signed, value, value)
    else:
        ends = (s64(low64), s64(high64)) if s64(low64) <= s64(high64) else (S64_MIN, S64_MAX)
        wide = (*ends, low64, high64)
    if a.known32 and b.known32:
        low = value & U32
        half = (s32(low), s32(low), low, low)
    else:
        ends = (s32(low32), s32(high32)) if s32(low32) <= s32(high32) else (S32_MIN, S32_MAX)
        half = (*ends, low32, high32)
    if a.known and b.known:
        return const(value)
    return raw(*from_bits(value, mask, *wide, *half))


def _and(a: Num, b: Num) -> Num:
    bits = tnum.and_((a.value, a.mask), (b.value, b.mask))
    low32 = bits[0] & U32
    return _bitwise(bits, a, b, bits[0], min(a.umax, b.umax), low32, min(a.u32max, b.u32max))


def _or(a: Num, b: Num) -> Num:
    bits = tnum.or_((a.value, a.mask), (b.value, b.mask))
    top = bits[0] | bits[1]
    return _bitwise(bits, a, b, max(a.umin, b.umin), top, max(a.u32min, b.u32min), top & U32)


def _xor(a: Num, b: Num) -> Num:
    bits = tnum.xor((a.value, a.mask), (b.value, b.mask))
    top = bits[0] | bits[1]
    return _bitwise(bits, a, b, bits[0], top, bits[0] & U32, top & U32)


def _left_range(low: int, high: int, by: int, bits: int) -> Range:
    if by >= bits or high > 1 << bits - 1 - by:
        return 0, (1 << bits) - 1
    return low << by, high << by


def _lsh64(a: Num, by: int) -> Num:
    # Shifting by 32 and back is how compilers sign-extend, so the lower half's signs are kept.
    signed = (a.s32min << 32, a.s32max << 32) if by == 32 else (S64_MIN, S64_MAX)
    return raw(
        *tnum.lsh((a.value, a.mask), by),
        *signed,
        *_left_range(a.umin, a.umax, by, 64),
        S32_MIN,
        S32_MAX,
        *_left_range(a.u32min, a.u32max, by, 32),
    )


def _lsh32(a: Num, by: int) -> Num:
    value, mask = tnum.lsh((a.value & U32, a.mask & U32), by)
    return _from_half(value & U32, mask & U32, S32_MIN, S32_MAX, *_left_range(a.u32min, a.u32max, by, 32))


def _rsh64(a: Num, by: int) -> Num:
    value, mask = tnum.rsh((a.value, a.mask), by)
    ends = (a.umin >> by, a.umax >> by)
    return raw(value, mask, S64_MIN, S64_MAX, *ends, S32_MIN, S32_MAX, 0, U32)


def _rsh32(a: Num, by: int) -> Num:
    value, mask = tnum.rsh((a.value & U32, a.mask & U32), by)
    return _from_half(value, mask, S32_MIN, S32_MAX, a.u32min >> by, a.u32max >> by)


def _arsh64(a: Num, by: int) -> Num:
    value, mask = tnum.arsh((a.value, a.mask), by, 64)
    return raw(value, mask, a.smin >> by, a.smax >> by, 0, U64, S32_MIN, S32_MAX, 0, U32)


def _arsh32(a: Num, by: int) -> Num:
    value, mask = tnum.arsh((a.value, a.mask), by, 32)
    return _from_half(value, mask, a.s32min >> by, a.s32max >> by, 0, U32)


def _from_half(value: int, mask: int, low: int, high: int, ulow: int, uhigh: int) -> Num:
    """A 32-bit result: its range learns from its bits before the upper half is cleared."""
    top = value | mask
    return raw(
        value,
        mask,
        S64_MIN,
        S64_MAX,
        0,
        U64,
        max(low, s32(value | mask & 1 << 31)),
        min(high, s32(value | mask & S32_MAX)),
        max(ulow, value),
        min(uhigh, top),
    )


_SIMPLE: dict[int, Callable[[Num, Num], Num]] = {
    ADD: _add,
    SUB: _sub,
    MUL: _mul,
    AND: _and,
    OR: _or,
    XOR: _xor,
}
_SHIFTS64: dict[int, Callable[[Num, int], Num]] = {LSH: _lsh64, RSH: _rsh64, ARSH: _arsh64}
_SHIFTS32: dict[int, Callable[[Num, int], Num]] = {LSH: _lsh32, RSH: _rsh32, ARSH: _arsh32}
