"""Numbers as the verifier knows them: tristate bits and four ranges that inform each other.

A `Num` is immutable and unique: two equal ones are the same object, so that comparing them and remembering
what an operation gave is cheap. Bounds: `smin`..`smax` signed and `umin`..`umax` unsigned 64 bits, the same
with `32` for the lower half. `value` and `mask` are the tristate number.
"""

from __future__ import annotations

from probee.verifier.tnum import swap

U64 = (1 << 64) - 1
U32 = (1 << 32) - 1
S64_MIN, S64_MAX = -(1 << 63), (1 << 63) - 1
S32_MIN, S32_MAX = -(1 << 31), (1 << 31) - 1
_SIGN64, _SIGN32 = 1 << 63, 1 << 31
_HIGH = U64 ^ U32
_MANY = 100_000  # remembered numbers and results, before all is forgotten

_new = object.__new__
Fields = tuple[int, int, int, int, int, int, int, int, int, int]


class Num:
    """See the module. `known` when there is one possible value."""

    __slots__ = (
        "fields",
        "known",
        "known32",
        "mask",
        "s32max",
        "s32min",
        "smax",
        "smin",
        "u32max",
        "u32min",
        "umax",
        "umin",
        "value",
    )

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        (
            self.value,
            self.mask,
            self.smin,
            self.smax,
            self.umin,
            self.umax,
            self.s32min,
            self.s32max,
            self.u32min,
            self.u32max,
        ) = fields
        self.known = not self.mask
        self.known32 = not self.mask & U32

    def __repr__(self) -> str:
        if self.known:
            return f"Num({self.smin})"
        return (
            f"Num(u64=[{self.umin}, {self.umax}], s64=[{self.smin}, {self.smax}], "
            f"u32=[{self.u32min}, {self.u32max}], s32=[{self.s32min}, {self.s32max}], "
            f"var_off=({self.value:#x}; {self.mask:#x}))"
        )


_unique: dict[Fields, Num] = {}
_synced: dict[Fields, Num] = {}
_constants: dict[int, Num] = {}


def s64(value: int) -> int:
    value &= U64
    return value - (1 << 64) if value & _SIGN64 else value


def s32(value: int) -> int:
    value &= U32
    return value - (1 << 32) if value & _SIGN32 else value


def raw(*fields: int) -> Num:
    """The number with exactly these fields, in the order of `Num.fields`: nothing is deduced."""
    num = _unique.get(fields)  # type: ignore[arg-type]
    if num is None:
        if not fields[1]:
            known = const(fields[0])
            if known.fields == fields:
                return known
        if len(_unique) > _MANY:
            _unique.clear()
            _unique.update((n.fields, n) for n in (UNKNOWN, UNKNOWN32))
        num = _unique[fields] = Num(fields)  # type: ignore[index, arg-type]
    return num


def const(value: int) -> Num:
    """The number that is `value` (any integer; its low 64 bits count)."""
    value &= U64
    num = _constants.get(value)
    if num is None:
        if len(_constants) > _MANY:
            _forget_constants()
        num = _new(Num)
        low = value & U32
        signed = value - (1 << 64) if value & _SIGN64 else value
        signed_low = low - (1 << 32) if low & _SIGN32 else low
        num.fields = (value, 0, signed, signed, value, value, signed_low, signed_low, low, low)
        num.value = num.umin = num.umax = value
        num.mask = 0
        num.smin = num.smax = signed
        num.s32min = num.s32max = signed_low
        num.u32min = num.u32max = low
        num.known = num.known32 = True
        _constants[value] = num
    return num


def _forget_constants() -> None:
    """Those made at the beginning stay: others hold them as objects."""
    kept = {value: _constants[value] for value in (0, 1, U64) if value in _constants}
    _constants.clear()
    _constants.update(kept)


UNBOUNDED = (S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32)
UNKNOWN = raw(0, U64, *UNBOUNDED)


def sync(
    value: int,
    mask: int,
    smin: int,
    smax: int,
    umin: int,
    umax: int,
    s32min: int,
    s32max: int,
    u32min: int,
    u32max: int,
) -> Num:
    """The number with these bounds after each has learnt from the others, in the order Linux 6.18 does it."""
    fields = (value, mask, smin, smax, umin, umax, s32min, s32max, u32min, u32max)
    done = _synced.get(fields)
    if done is not None:
        return done
    state = from_bits(*fields)
    for _ in range(3):
        before = state
        state = _between_widths(*_between_signs64(*_between_signs32(*state)))
        if state == before:
            break
    state = from_bits(*_to_bits(*state))
    if len(_synced) > _MANY:
        _synced.clear()
    num = _synced[fields] = raw(*state)
    return num


def from_bits(
    value: int, mask: int, smin: int, smax: int, umin: int, umax: int, a: int, b: int, c: int, d: int
) -> Fields:
    """Bounds from known bits: the least member has its unknown bits 0 (a signed one its sign bit 1)."""
    low, low_mask = value & U32, mask & U32
    top = value | mask
    return (
        value,
        mask,
        max(smin, s64(value | mask & _SIGN64)),
        min(smax, s64(value | mask & S64_MAX)),
        max(umin, value),
        min(umax, top),
        max(a, s32(low | low_mask & _SIGN32)),
        min(b, s32(low | low_mask & S32_MAX)),
        max(c, low),
        min(d, low | low_mask),
    )


def _between_signs32(
    value: int, mask: int, smin: int, smax: int, umin: int, umax: int, a: int, b: int, c: int, d: int
) -> Fields:
    """Bounds of the lower half, from those of the whole and from each other."""
    low, high = umin & U32, umax & U32
    signed_low, signed_high = s32(low), s32(high)
    if umin >> 32 == umax >> 32:
        c, d = max(c, low), min(d, high)
        if signed_low <= signed_high:
            a, b = max(a, signed_low), min(b, signed_high)
    if (umin >> 32) + 1 & U32 == umax >> 32 and signed_low < 0 <= signed_high:
        a, b = max(a, signed_low), min(b, signed_high)
    low, high = smin & U32, smax & U32
    signed_low, signed_high = s32(low), s32(high)
    if smin >> 32 == smax >> 32:
        if low <= high:
            c, d = max(c, low), min(d, high)
        if signed_low <= signed_high:
            a, b = max(a, signed_low), min(b, signed_high)
    if (smin >> 32) + 1 & U32 == smax >> 32 & U32 and signed_low < 0 <= signed_high:
        a, b = max(a, signed_low), min(b, signed_high)
    if s32(c) <= s32(d):
        a, b = max(a, s32(c)), min(b, s32(d))
    if a & U32 <= b & U32:
        c, d = max(c, a & U32), min(d, b & U32)
    elif d < a & U32:  # the unsigned range meets only the positive part of a signed one that crosses 0
        a, d = s32(c), min(d, b & U32)
    elif b & U32 < c:
        b, c = s32(d), max(c, a & U32)
    return value, mask, smin, smax, umin, umax, a, b, c, d


def _between_signs64(
    value: int, mask: int, smin: int, smax: int, umin: int, umax: int, a: int, b: int, c: int, d: int
) -> Fields:
    if s64(umin) <= s64(umax):
        smin, smax = max(smin, s64(umin)), min(smax, s64(umax))
    low, high = smin & U64, smax & U64
    if low <= high:
        umin, umax = max(umin, low), min(umax, high)
    elif umax < low:
        smin, umax = s64(umin), min(umax, high)
    elif high < umin:
        smax, umin = s64(umax), max(umin, low)
    return value, mask, smin, smax, umin, umax, a, b, c, d


def _between_widths(
    value: int, mask: int, smin: int, smax: int, umin: int, umax: int, a: int, b: int, c: int, d: int
) -> Fields:
    """64-bit bounds from those of the lower half, put under the upper half of either end."""
    umin, umax = max(umin, umin & _HIGH | c), min(umax, umax & _HIGH | d)
    smin, smax = max(smin, smin & ~U32 | c), min(smax, smax & ~U32 | d)
    low, high = a & U32, b & U32
    if low <= high:
        umin, umax = max(umin, umin & _HIGH | low), min(umax, umax & _HIGH | high)
        smin, smax = max(smin, smin & ~U32 | low), min(smax, smax & ~U32 | high)
    if a >= 0 and smin >= S32_MIN and smax <= S32_MAX:
        # A sign-extended number whose lower half is positive is that half.
        smin, smax, umin, umax = a, b, a, b & U64
        value, mask = _narrow(value, mask, smin & U64, smax & U64)
    return value, mask, smin, smax, umin, umax, a, b, c, d


def _narrow(value: int, mask: int, low: int, high: int) -> tuple[int, int]:
    """The bits of (value, mask) and of the unsigned range at once."""
    bits = (low ^ high).bit_length()
    if bits > 63:
        return value, mask
    free = (1 << bits) - 1
    both = mask & free
    return (value | low & ~free) & ~both & U64, both


def _to_bits(
    value: int, mask: int, smin: int, smax: int, umin: int, umax: int, a: int, b: int, c: int, d: int
) -> Fields:
    value, mask = _narrow(value, mask, umin, umax)
    low, low_mask = _narrow(value & U32, mask & U32, c, d)
    return value & _HIGH | low, mask & _HIGH | low_mask, smin, smax, umin, umax, a, b, c, d


def broken(num: Num) -> bool:
    """Whether the bounds contradict each other, which happens on branches that can't be taken."""
    if num.umin > num.umax or num.smin > num.smax or num.u32min > num.u32max or num.s32min > num.s32max:
        return True
    if num.known and not (num.umin == num.umax == num.value and num.smin == num.smax == s64(num.value)):
        return True
    if num.known32:
        low = num.value & U32
        if not (num.u32min == num.u32max == low and num.s32min == num.s32max == s32(low)):
            return True
    return False


def unbounded(num: Num) -> Num:
    """The known bits of `num` without its ranges."""
    return raw(num.value, num.mask, *UNBOUNDED)


def span(low: int, high: int) -> Num:
    """A number known to be from `low` to `high`, both signed."""
    return sync(0, U64, low, high, 0, U64, S32_MIN, S32_MAX, 0, U32)


def bytes_loaded(size: int) -> Num:
    """What a load of `size` bytes of unknown contents gives."""
    return UNKNOWN if size == 8 else truncate(UNKNOWN, size)


def zero_extend32(num: Num) -> Num:
    """The lower half as a 64-bit number, nothing else deduced yet."""
    if num.s32min >= 0 and num.s32max >= 0:
        smin, smax = num.s32min, num.s32max
    else:
        smin, smax = 0, U32
    return raw(
        num.value & U32,
        num.mask & U32,
        smin,
        smax,
        num.u32min,
        num.u32max,
        num.s32min,
        num.s32max,
        num.u32min,
        num.u32max,
    )


_truncated: dict[tuple[Num, int], Num] = {}


def truncate(num: Num, size: int) -> Num:
    """The low `size` bytes (1, 2, 4) as an unsigned number: a narrow load, or a store and what is read
    back.
    """
    done = _truncated.get((num, size))
    if done is not None:
        return done
    ones = (1 << size * 8) - 1
    if num.umin & ~ones == num.umax & ~ones:
        umin, umax = num.umin & ones, num.umax & ones
    else:
        umin, umax = 0, ones
    halves = (num.s32min, num.s32max, num.u32min, num.u32max) if size == 4 else (S32_MIN, S32_MAX, 0, U32)
    out = sync(num.value & ones, num.mask & ones, umin, umax, umin, umax, *halves)
    if len(_truncated) > _MANY:
        _truncated.clear()
    _truncated[num, size] = out
    return out


def byte_swap(num: Num, size: int, *, swaps: bool) -> Num:
    """The low `size` bytes, in the other order or as they are: the bits are followed, the ranges are lost."""
    bits = swap((num.value, num.mask), size) if swaps else (num.value, num.mask)
    lost = raw(*bits, *UNBOUNDED)
    return sync(*lost.fields) if size == 8 else truncate(lost, size)


def sign_extend(num: Num, size: int) -> Num:
    """The low `size` bytes (1, 2, 4) as a signed 64-bit number."""
    bits = size * 8
    sign = 1 << bits - 1
    if num.known:
        return const(((num.value & (1 << bits) - 1) ^ sign) - sign)
    if num.smax >> bits == num.smin >> bits:
        ends = [((end & (1 << bits) - 1) ^ sign) - sign for end in (num.smax, num.smin)]
        low, high = min(ends), max(ends)
        if (low >= 0) == (high >= 0):
            free = (1 << ((low ^ high) & U64).bit_length()) - 1
            return raw(
                low & U64 & ~free,
                free,
                low,
                high,
                low & U64,
                high & U64,
                s32(low),
                s32(high),
                low & U32,
                high & U32,
            )
    return raw(0, U64, -sign, sign - 1, 0, U64, -sign, sign - 1, 0, U32)


def sign_extend32(num: Num, size: int) -> Num:
    """The low `size` bytes (1, 2) as a signed 32-bit number in the lower half; the upper half is left as
    it is.
    """
    bits = size * 8
    sign = 1 << bits - 1
    upper = num.fields[2:6]
    if num.known:
        low = ((num.value & (1 << bits) - 1) ^ sign) - sign
        return raw(low & U64, 0, *upper, low, low, low & U32, low & U32)
    if (num.s32max & U32) >> bits == (num.s32min & U32) >> bits:
        ends = [((end & (1 << bits) - 1) ^ sign) - sign for end in (num.s32max, num.s32min)]
        low, high = min(ends), max(ends)
        if (low >= 0) == (high >= 0):
            free = (1 << ((low ^ high) & U64).bit_length()) - 1
            return raw(low & U32 & ~free, free & U32, *upper, low, high, low & U32, high & U32)
    return raw(0, U32, *upper, -sign, sign - 1, 0, U32)


UNKNOWN32 = raw(0, U32, 0, U32, 0, U32, S32_MIN, S32_MAX, 0, U32)
