"""Tristate numbers: 64 bits of which each is 0, 1 or unknown, as a pair (value, mask).

A 1 in `mask` says that the bit is unknown; there `value` has 0. What each operation gives contains every
result of the concrete operation on members of its operands. Papers: Vishwanathan et al., "Sound, Precise,
and Fast Abstract Interpretation with Tristate Numbers" (CGO 2022).
"""

from __future__ import annotations

U64 = (1 << 64) - 1
U32 = (1 << 32) - 1

Tnum = tuple[int, int]
UNKNOWN: Tnum = (0, U64)


def span(low: int, high: int) -> Tnum:
    """The least tristate number with all of the unsigned range: their common leading bits are known."""
    bits = (low ^ high).bit_length()
    if bits > 63:
        return UNKNOWN
    free = (1 << bits) - 1
    return low & ~free, free


def add(a: Tnum, b: Tnum) -> Tnum:
    base = a[0] + b[0] & U64
    carries = (base + a[1] + b[1] & U64) ^ base
    mask = carries | a[1] | b[1]
    return base & ~mask, mask


def sub(a: Tnum, b: Tnum) -> Tnum:
    base = a[0] - b[0] & U64
    borrows = (base + a[1] & U64) ^ (base - b[1] & U64)
    mask = borrows | a[1] | b[1]
    return base & ~mask, mask


def and_(a: Tnum, b: Tnum) -> Tnum:
    ones = a[0] & b[0]
    return ones, (a[0] | a[1]) & (b[0] | b[1]) & ~ones


def or_(a: Tnum, b: Tnum) -> Tnum:
    ones = a[0] | b[0]
    return ones, (a[1] | b[1]) & ~ones


def xor(a: Tnum, b: Tnum) -> Tnum:
    mask = a[1] | b[1]
    return (a[0] ^ b[0]) & ~mask, mask


def join(a: Tnum, b: Tnum) -> Tnum:
    """What is common to both: every member of either is in it."""
    mask = (a[0] ^ b[0]) | a[1] | b[1]
    return a[0] & b[0] & ~mask, mask


def mul(a: Tnum, b: Tnum) -> Tnum:
    """Long multiplication; an unknown bit of `a` takes both sums, with and without the shifted `b` (Linux
    6.18).
    """
    value, mask = a
    total: Tnum = (0, 0)
    while value or mask:
        if value & 1:
            total = add(total, b)
        elif mask & 1:
            total = join(total, add(total, b))
        value >>= 1
        mask >>= 1
        b = (b[0] << 1 & U64, b[1] << 1 & U64)
    return total


def mul_by_masks(a: Tnum, b: Tnum) -> Tnum:
    """Multiplication as Linux before 6.18 has it: known and unknown parts are summed apart."""
    known = a[0] * b[0] & U64
    value, mask = a
    rest: Tnum = (0, 0)
    while value or mask:
        if value & 1:
            rest = add(rest, (0, b[1]))
        elif mask & 1:
            rest = add(rest, (0, b[0] | b[1]))
        value >>= 1
        mask >>= 1
        b = (b[0] << 1 & U64, b[1] << 1 & U64)
    return add((known, 0), rest)


def lsh(a: Tnum, by: int) -> Tnum:
    return a[0] << by & U64, a[1] << by & U64


def rsh(a: Tnum, by: int) -> Tnum:
    return a[0] >> by, a[1] >> by


def arsh(a: Tnum, by: int, bits: int) -> Tnum:
    """Arithmetic shift of `bits`-bit numbers; an unknown sign bit spreads as unknown bits."""
    sign, all_ones = 1 << bits - 1, (1 << bits) - 1
    value, mask = a[0] & all_ones, a[1] & all_ones
    return ((value ^ sign) - sign) >> by & all_ones, ((mask ^ sign) - sign) >> by & all_ones


def swap(a: Tnum, size: int) -> Tnum:
    """The low `size` bytes in the other order."""
    ones = (1 << size * 8) - 1
    value, mask = (int.from_bytes((part & ones).to_bytes(size, "little"), "big") for part in a)
    return value, mask


def overlap(a: Tnum, b: Tnum) -> bool:
    """Whether some number is in both."""
    known = ~a[1] & ~b[1]
    return a[0] & known == b[0] & known


def intersect(a: Tnum, b: Tnum) -> Tnum:
    """Every number that is in both (a bit on which they disagree comes out as 1)."""
    mask = a[1] & b[1]
    return (a[0] | b[0]) & ~mask, mask


def contains(outer: Tnum, inner: Tnum) -> bool:
    """Whether all members of `inner` are in `outer`."""
    return not inner[1] & ~outer[1] and outer[0] == inner[0] & ~outer[1]


def is_aligned(a: Tnum, size: int) -> bool:
    return not size or not (a[0] | a[1]) & size - 1
