"""What kernels before 6.17 know of numbers after an operation or a comparison.

Three generations: "6.12" (from 6.8 on) differs from the newest in arithmetic only; "6.1" tracks the 32-bit
bounds apart from the 64-bit ones and learns of a comparison only if one side is a known number; "5.10" has in
addition another product of tristate numbers. The versions meant are the stable ones as they are now.
"""

from __future__ import annotations

from functools import partial

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
    OR,
    RSH,
    SUB,
    XOR,
)
from probee.verifier import arithmetic, branches, tnum
from probee.verifier.scalars import (
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U32,
    U64,
    UNBOUNDED,
    UNKNOWN,
    Fields,
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

    from probee.verifier.branches import Sides
    from probee.verifier.numbers import Numbers

_MANY = 100_000
_HIGH = U64 ^ U32
_UNBOUNDED64 = (S64_MIN, S64_MAX, 0, U64)
_UNBOUNDED32 = (S32_MIN, S32_MAX, 0, U32)
_SHIFTS = (LSH, RSH, ARSH)
Range = tuple[int, int]
Tnum = tuple[int, int]


def fill(numbers: Numbers, generation: str) -> None:
    """Puts the operations of a generation ("6.12", "6.1", "5.10") in place."""
    multiply = _mul_by_parts if generation == "5.10" else tnum.mul_by_masks
    if generation == "6.12":
        numbers.apply = _Remembered(partial(_apply, sync, multiply, _bitwise612, False))
        numbers.add_fields = _sum
        return
    learn = sync510 if generation == "5.10" else sync61
    numbers.sync = learn
    numbers.apply = _Remembered(partial(_apply, learn, multiply, _bitwise61, True))
    numbers.add_fields = _sum
    numbers.taken = _taken
    numbers.sides = partial(_sides, learn)
    numbers.truncate = partial(_truncate, learn)
    numbers.forks = numbers.sane = False


class _Remembered:
    """A function of two numbers whose results are kept."""

    def __init__(self, compute: Callable[[int, bool, Num, Num], Num]) -> None:
        self._compute = compute
        self._results: dict[tuple[int, bool, Num, Num], Num] = {}

    def __call__(self, op: int, is32: bool, a: Num, b: Num) -> Num:
        key = (op, is32, a, b)
        done = self._results.get(key)
        if done is None:
            if len(self._results) > _MANY:
                self._results.clear()
            done = self._results[key] = self._compute(op, is32, a, b)
        return done


# ---- bounds that inform each other (before 6.8)


def sync61(*fields: int) -> Num:
    """Bounds learn from bits, from the other sign, then bits from bounds: each once, each width by itself."""
    return _sync(fields, own_half=False)


def sync510(*fields: int) -> Num:
    """The same; the lower half's bits don't learn from what the whole's just did."""
    return _sync(fields, own_half=True)


def _sync(fields: tuple[int, ...], *, own_half: bool) -> Num:
    value, mask, smin, smax, umin, umax, a, b, c, d = from_bits(*fields)
    a, b, c, d = _deduce(a, b, c, d, 32)
    smin, smax, umin, umax = _deduce(smin, smax, umin, umax, 64)
    whole = tnum.intersect((value, mask), tnum.span(umin, umax))
    half = (value & U32, mask & U32) if own_half else (whole[0] & U32, whole[1] & U32)
    half = tnum.intersect(half, tnum.span(c, d))
    value, mask = whole[0] & _HIGH | half[0] & U32, whole[1] & _HIGH | half[1] & U32
    return raw(*from_bits(value, mask, smin, smax, umin, umax, a, b, c, d))


def _deduce(smin: int, smax: int, umin: int, umax: int, bits: int) -> tuple[int, int, int, int]:
    """Signed and unsigned bounds of one width, where either doesn't cross the sign."""
    ones, sign = (1 << bits) - 1, 1 << bits - 1

    def signed(number: int) -> int:
        return number - (1 << bits) if number & sign else number

    if smin >= 0 or smax < 0:
        umin, umax = max(smin & ones, umin), min(smax & ones, umax)
        return signed(umin), signed(umax), umin, umax
    if not umax & sign:
        umax = min(smax & ones, umax)
        return umin, umax, umin, umax
    if umin & sign:
        umin = max(smin & ones, umin)
        return signed(umin), signed(umax), umin, umax
    return smin, smax, umin, umax


def _truncate(learn: Callable[..., Num], num: Num, size: int) -> Num:
    ones = (1 << size * 8) - 1
    value, mask = num.value & ones, num.mask & ones
    low, high = (num.umin & ones, num.umax & ones) if num.umin & ~ones == num.umax & ~ones else (0, ones)
    if size == 4:
        return raw(value, mask, low, high, low, high, *num.fields[6:])
    return _whole_to_half(learn, (value, mask, low, high, low, high, *_UNBOUNDED32))


def _whole_to_half(learn: Callable[..., Num], fields: tuple[int, ...]) -> Num:
    """The lower half's bounds are made anew from the whole's, where these fit."""
    value, mask, smin, smax, umin, umax, *_ = fields
    low, high = (
        (smin, smax) if S32_MIN <= smin <= S32_MAX and S32_MIN <= smax <= S32_MAX else (S32_MIN, S32_MAX)
    )
    ulow, uhigh = (umin, umax) if umin <= U32 and umax <= U32 else (0, U32)
    return learn(value, mask, smin, smax, umin, umax, low, high, ulow, uhigh)


def _half_to_whole(learn: Callable[..., Num], fields: tuple[int, ...]) -> Num:
    """The whole's bounds are made anew from the lower half's, if the upper half is 0."""
    value, mask, _, _, _, _, a, b, c, d = fields
    if (value | mask) & _HIGH:
        return learn(value, mask, *_UNBOUNDED64, a, b, c, d)
    low, high = (a, b) if a >= 0 and b >= 0 else (0, U32)
    return learn(value, mask, low, high, c, d, a, b, c, d)


# ---- arithmetic


def _apply(
    learn: Callable[..., Num],
    multiply: Callable[[Tnum, Tnum], Tnum],
    bitwise: Callable[[int, Num, Num], Num],
    known_only: bool,
    op: int,
    is32: bool,
    a: Num,
    b: Num,
) -> Num:
    known = b.known32 if is32 else b.known
    if known_only and (_tainted(is32, b) or (not known and op not in (ADD, SUB, AND))):
        return UNKNOWN
    if op in _SHIFTS:
        if not known or b.umax >= (32 if is32 else 64):
            return UNKNOWN
        out = arithmetic.shift(op, is32, a, b.u32min if is32 else b.umin)
    elif op == ADD:
        out = raw(*_sum(a, b))
    elif op == SUB:
        out = _difference(a, b)
    elif op == MUL:
        out = raw(
            *multiply((a.value, a.mask), (b.value, b.mask)),
            *_product(a.fields[2:6], b.fields[2:6], 64),
            *_product(a.fields[6:10], b.fields[6:10], 32),
        )
    elif op in (AND, OR, XOR):
        out = bitwise(op, a, b)
    else:
        return UNKNOWN
    if is32:
        out = zero_extend32(out)
    return learn(*out.fields)


def _tainted(is32: bool, b: Num) -> bool:
    """Bounds that contradict each other, from branches that can't be taken."""
    low, high, ulow, uhigh = b.fields[6:10] if is32 else b.fields[2:6]
    known = b.known32 if is32 else b.known
    return (known and (low != high or ulow != uhigh)) or low > high or ulow > uhigh


def _signed(low: int, high: int, bits: int) -> Range:
    edge = 1 << bits - 1
    return (low, high) if -edge <= low and high < edge and low < edge and high >= -edge else (-edge, edge - 1)


def _unsigned(low: int, high: int, bits: int) -> Range:
    top = (1 << bits) - 1
    return (low, high) if 0 <= low <= top and 0 <= high <= top else (0, top)


def _sum(a: Num, b: Num) -> tuple[int, ...]:
    return (
        *tnum.add((a.value, a.mask), (b.value, b.mask)),
        *_signed(a.smin + b.smin, a.smax + b.smax, 64),
        *_unsigned(a.umin + b.umin, a.umax + b.umax, 64),
        *_signed(a.s32min + b.s32min, a.s32max + b.s32max, 32),
        *_unsigned(a.u32min + b.u32min, a.u32max + b.u32max, 32),
    )


def _difference(a: Num, b: Num) -> Num:
    return raw(
        *tnum.sub((a.value, a.mask), (b.value, b.mask)),
        *_signed(a.smin - b.smax, a.smax - b.smin, 64),
        *_unsigned(a.umin - b.umax, a.umax - b.umin, 64),
        *_signed(a.s32min - b.s32max, a.s32max - b.s32min, 32),
        *_unsigned(a.u32min - b.u32max, a.u32max - b.u32min, 32),
    )


def _product(a: tuple[int, ...], b: tuple[int, ...], bits: int) -> tuple[int, int, int, int]:
    """(smin, smax, umin, umax): only of numbers that aren't negative and fit in half the width."""
    half, most = (1 << bits // 2) - 1, (1 << bits - 1) - 1
    if a[0] < 0 or b[0] < 0 or a[3] > half or b[3] > half:
        return -most - 1, most, 0, (1 << bits) - 1
    low, high = a[2] * b[2], a[3] * b[3]
    return (low, high, low, high) if high <= most else (-most - 1, most, low, high)


def _mul_by_parts(a: Tnum, b: Tnum) -> Tnum:
    """The product before 5.14: unknown bits of either factor add the other one's bits, shifted."""
    out: Tnum = (a[0] * b[0] & U64, 0)
    for mask, other in ((a[1], b[0] | b[1]), (b[1], a[0])):
        while mask:
            if mask & 1:
                out = tnum.add(out, (0, other))
            mask >>= 1
            other = other << 1 & U64
    return out


def _ends(op: int, a: Num, b: Num, bits: Tnum) -> tuple[int, int, int, int]:
    """(umin, umax) of 64 and of 32 bits after a bitwise operation."""
    value, top = bits[0], bits[0] | bits[1]
    if op == AND:
        return value, min(a.umax, b.umax), value & U32, min(a.u32max, b.u32max)
    if op == OR:
        return max(a.umin, b.umin), top, max(a.u32min, b.u32min), top & U32
    return value, top, value & U32, top & U32


_BITS: dict[int, Callable[[Tnum, Tnum], Tnum]] = {AND: tnum.and_, OR: tnum.or_, XOR: tnum.xor}


def _bitwise612(op: int, a: Num, b: Num) -> Num:
    """As in 6.18."""
    return arithmetic.bitwise(op, a, b)


def _bitwise61(op: int, a: Num, b: Num) -> Num:
    """Signed bounds are those of the unsigned result if no operand may be negative."""
    bits = _BITS[op]((a.value, a.mask), (b.value, b.mask))
    if a.known and b.known:
        return const(bits[0])
    low, high, low32, high32 = _ends(op, a, b, bits)
    wide = (S64_MIN, S64_MAX) if a.smin < 0 or b.smin < 0 else (s64(low), s64(high))
    if a.known32 and b.known32:
        known = bits[0] & U32
        half: tuple[int, ...] = (s32(known), s32(known), known, known)
    elif a.s32min < 0 or b.s32min < 0:
        half = (S32_MIN, S32_MAX, low32, high32)
    else:
        half = (s32(low32), s32(high32), low32, high32)
    return raw(*from_bits(*bits, *wide, low, high, *half))


# ---- comparisons (before 6.8)


def _taken(op: int, is32: bool, a: Num, b: Num) -> int:
    """Only a comparison with a known right side is decided."""
    if not (b.known32 if is32 else b.known):
        return -1
    value = b.value & U32 if is32 else b.value
    if op in (JEQ, JNE):
        # Ranges that lie apart don't count.
        if not (a.known32 if is32 else a.known):
            return -1
        return int(((a.value & U32 if is32 else a.value) == value) == (op == JEQ))
    return branches.taken(op, is32, a, const(s32(value)) if is32 else b)


def _sides(learn: Callable[..., Num], op: int, is32: bool, a: Num, b: Num) -> Sides:
    if b.known or (is32 and b.known32):
        yes, no = _against(learn, op, is32, a, b.value)
        return yes, b, no, b
    if a.known or (is32 and a.known32):
        yes, no = _against(learn, branches.FLIP[op], is32, b, a.value)
        return a, yes, a, no
    if not is32 and op in (JEQ, JNE):
        both = _combined(learn, a, b)
        return (*both, a, b) if op == JEQ else (a, b, *both)
    return a, b, a, b


def _combined(learn: Callable[..., Num], a: Num, b: Num) -> tuple[Num, Num]:
    """Two equal numbers: what is known of the whole of either."""
    bits = tnum.intersect((a.value, a.mask), (b.value, b.mask))
    wide = (max(a.smin, b.smin), min(a.smax, b.smax), max(a.umin, b.umin), min(a.umax, b.umax))
    return learn(*bits, *wide, *a.fields[6:]), learn(*bits, *wide, *b.fields[6:])


# operator -> (which bound of the one that holds, which of the other, whether the end itself counts)
_LOWER = {JGE: True, JGT: True, JSGE: True, JSGT: True}
_STRICT = {JGT, JLT, JSGT, JSLT}
_SIGNED = {JSGE, JSGT, JSLE, JSLT}


def _against(learn: Callable[..., Num], op: int, is32: bool, a: Num, value: int) -> tuple[Num, Num]:
    """`a` where the comparison with a number holds, and where it doesn't."""
    bits = 32 if is32 else 64
    value &= (1 << bits) - 1
    yes: tuple[int, ...] = a.fields
    no: tuple[int, ...] = a.fields
    if op == JEQ:
        yes = _known(yes, is32, value)
    elif op == JNE:
        no = _known(no, is32, value)
    elif op == JSET:
        no = (a.value & ~value, a.mask & ~value, *UNBOUNDED)
        if value and not value & value - 1:
            yes = (a.value | value, a.mask & ~value, *a.fields[2:])
    elif op in (JGE, JGT, JSGE, JSGT, JLE, JLT, JSLE, JSLT):
        signed = op in _SIGNED
        at = (6 if signed else 8) if is32 else (2 if signed else 4)
        wrap = (s32 if is32 else s64) if signed else partial(_modulo, bits)
        end = wrap(value)
        if op in _LOWER:
            least, most = (wrap(end + 1), end) if op in _STRICT else (end, wrap(end - 1))
            yes, no = _raised(yes, at, least), _lowered(no, at + 1, most)
        else:
            most, least = (wrap(end - 1), end) if op in _STRICT else (end, wrap(end + 1))
            yes, no = _lowered(yes, at + 1, most), _raised(no, at, least)
    spread = _half_to_whole if is32 else _whole_to_half
    return spread(learn, yes), spread(learn, no)


def _modulo(bits: int, number: int) -> int:
    return number & (1 << bits) - 1


def _raised(fields: tuple[int, ...], at: int, low: int) -> tuple[int, ...]:
    return (*fields[:at], max(fields[at], low), *fields[at + 1 :])


def _lowered(fields: tuple[int, ...], at: int, high: int) -> tuple[int, ...]:
    return (*fields[:at], min(fields[at], high), *fields[at + 1 :])


def _known(fields: tuple[int, ...], is32: bool, value: int) -> Fields:
    if not is32:
        return const(value).fields
    low = s32(value)
    head = (fields[0] & _HIGH | value, fields[1] & _HIGH)
    return (*head, *fields[2:6], low, low, value, value)  # type: ignore[return-value]


__all__ = ["fill", "sync61", "sync510"]
