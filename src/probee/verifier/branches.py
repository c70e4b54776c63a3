"""What a comparison decides, and what is known of both numbers on either side of it."""

from __future__ import annotations

from probee.isa.insn import JEQ, JGE, JGT, JLE, JLT, JNE, JSET, JSGE, JSGT, JSLE, JSLT
from probee.verifier import tnum
from probee.verifier.scalars import U32, U64, UNBOUNDED, UNKNOWN, Num, broken, raw, s32, s64, sync, unbounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

JCLEAR = JSET | 0x08  # the other side of JSET: no bit of the mask is set
REVERSE = {
    JEQ: JNE,
    JNE: JEQ,
    JSET: JCLEAR,
    JGE: JLT,
    JGT: JLE,
    JLE: JGT,
    JLT: JGE,
    JSGE: JSLT,
    JSGT: JSLE,
    JSLE: JSGT,
    JSLT: JSGE,
}
FLIP = {
    JEQ: JEQ,
    JNE: JNE,
    JSET: JSET,
    JGE: JLE,
    JGT: JLT,
    JLE: JGE,
    JLT: JGT,
    JSGE: JSLE,
    JSGT: JSLT,
    JSLE: JSGE,
    JSLT: JSGT,
}
SIGNED = frozenset((JSGE, JSGT, JSLE, JSLT))
# Comparisons of numbers that are known, of their signed or unsigned 64 or 32 bits.
EXACT: dict[int, Callable[[int, int], int]] = {
    JEQ: lambda a, b: a == b,
    JNE: lambda a, b: a != b,
    JSET: lambda a, b: a & b != 0,
    JGE: lambda a, b: a >= b,
    JGT: lambda a, b: a > b,
    JLE: lambda a, b: a <= b,
    JLT: lambda a, b: a < b,
    JSGE: lambda a, b: a >= b,
    JSGT: lambda a, b: a > b,
    JSLE: lambda a, b: a <= b,
    JSLT: lambda a, b: a < b,
}
_MANY = 100_000
Sides = tuple[Num, Num, Num, Num]
_decided: dict[tuple[int, bool, Num, Num], int] = {}
_sides: dict[tuple[int, bool, Num, Num], Sides] = {}


def taken(op: int, is32: bool, a: Num, b: Num) -> int:
    """1 if `a` op `b` always holds, 0 if never, -1 if it depends."""
    key = (op, is32, a, b)
    done = _decided.get(key)
    if done is None:
        if len(_decided) > _MANY:
            _decided.clear()
        done = _decided[key] = _decide(op, is32, a, b)
    return done


def sides(op: int, is32: bool, a: Num, b: Num) -> Sides:
    """(a, b) where the comparison holds, and (a, b) where it doesn't."""
    key = (op, is32, a, b)
    done = _sides.get(key)
    if done is None:
        if len(_sides) > _MANY:
            _sides.clear()
        yes = _refine(op, is32, a, b)
        no = _refine(REVERSE[op], is32, a, b)
        all4 = [sync(*num.fields) for num in (*yes, *no)]
        done = _sides[key] = tuple(unbounded_if_broken(num) for num in all4)  # type: ignore[assignment]
    return done  # type: ignore[return-value]


def unbounded_if_broken(num: Num) -> Num:
    return unbounded(num) if broken(num) else num


def _decide(op: int, is32: bool, a: Num, b: Num) -> int:
    if is32:
        bits_a, bits_b = (a.value & U32, a.mask & U32), (b.value & U32, b.mask & U32)
        ua, va, ub, vb = a.u32min, a.u32max, b.u32min, b.u32max
        sa, ta, sb, tb = a.s32min, a.s32max, b.s32min, b.s32max
    else:
        bits_a, bits_b = (a.value, a.mask), (b.value, b.mask)
        ua, va, ub, vb = a.umin, a.umax, b.umin, b.umax
        sa, ta, sb, tb = a.smin, a.smax, b.smin, b.smax
    if op in (JEQ, JNE):
        if not bits_a[1] and not bits_b[1]:
            return int((bits_a[0] == bits_b[0]) == (op == JEQ))
        apart = not tnum.overlap(bits_a, bits_b) or ua > vb or va < ub or sa > tb or ta < sb
        if not apart and not is32:
            apart = a.u32min > b.u32max or a.u32max < b.u32min or a.s32min > b.s32max or a.s32max < b.s32min
        return int(op == JNE) if apart else -1
    if op == JSET:
        if bits_b[1]:
            bits_a, bits_b = bits_b, bits_a
        if bits_b[1]:
            return -1
        if bits_a[0] & bits_b[0]:
            return 1
        return -1 if (bits_a[0] | bits_a[1]) & bits_b[0] else 0
    if op in (JSGT, JSLT, JSGE, JSLE):
        ua, va, ub, vb = sa, ta, sb, tb
    if op in (JLT, JSLT, JLE, JSLE):
        ua, va, ub, vb = ub, vb, ua, va  # a < b is b > a
        op = JGT if op in (JLT, JSLT) else JGE
    if op in (JGT, JSGT):
        return 1 if ua > vb else 0 if va <= ub else -1
    return 1 if ua >= vb else 0 if va < ub else -1


def _refine(op: int, is32: bool, a: Num, b: Num) -> tuple[Num, Num]:
    if op in (JGE, JGT, JSGE, JSGT):
        b, a = _refine(FLIP[op], is32, b, a)
        return a, b
    if op == JEQ:
        return _equal(is32, a, b)
    if op in (JNE, JSET, JCLEAR):
        swapped = not (b.known32 if is32 else b.known)
        if swapped:
            a, b = b, a
        if b.known32 if is32 else b.known:
            value = b.value & U32 if is32 else b.value
            a = (_unequal if op == JNE else _bits_set if op == JSET else _bits_clear)(is32, a, value)
        return (b, a) if swapped else (a, b)
    one = 1 if op in (JLT, JSLT) else 0
    at = {(JLE, 0): 4, (JSLE, 0): 2, (JLE, 1): 8, (JSLE, 1): 6}[
        JSLE if op in (JSLT, JSLE) else JLE, int(is32)
    ]
    fa, fb = list(a.fields), list(b.fields)
    # An end at the edge of its type wraps round, as it does in Linux: such a branch is dead anyway.
    wrap = (lambda n: n & U64, s64, lambda n: n & U32, s32)[{4: 0, 2: 1, 8: 2, 6: 3}[at]]
    fa[at + 1] = min(fa[at + 1], wrap(fb[at + 1] - one))
    fb[at] = max(wrap(fa[at] + one), fb[at])
    return raw(*fa), raw(*fb)


def _equal(is32: bool, a: Num, b: Num) -> tuple[Num, Num]:
    fa, fb = list(a.fields), list(b.fields)
    for low in (6, 8) if is32 else (2, 4):
        fa[low] = fb[low] = max(fa[low], fb[low])
        fa[low + 1] = fb[low + 1] = min(fa[low + 1], fb[low + 1])
    if is32:
        value, mask = tnum.intersect((a.value & U32, a.mask & U32), (b.value & U32, b.mask & U32))
        for fields in (fa, fb):
            fields[0], fields[1] = fields[0] & ~U32 | value, fields[1] & ~U32 | mask
    else:
        fa[:2] = fb[:2] = tnum.intersect((a.value, a.mask), (b.value, b.mask))
    return raw(*fa), raw(*fb)


def _unequal(is32: bool, a: Num, value: int) -> Num:
    """Only a value at one end of the range can be taken out of it."""
    fields = list(a.fields)
    ends = ((6, s32(value)), (8, value)) if is32 else ((2, s64(value)), (4, value))
    for low, end in ends:
        if fields[low] == end:
            fields[low] += 1
        if fields[low + 1] == end:
            fields[low + 1] -= 1
    return raw(*fields)


def _bits_set(is32: bool, a: Num, value: int) -> Num:
    """Of several bits it isn't known which one is set."""
    if not value or value & value - 1:
        return a
    return raw(a.value | value, a.mask & ~value, *a.fields[2:])


def _bits_clear(is32: bool, a: Num, value: int) -> Num:
    """The ranges are given up first: on a dead branch they'd contradict the bits."""
    return raw(a.value & ~value, a.mask & ~value, *UNBOUNDED)


__all__ = ["FLIP", "JCLEAR", "REVERSE", "UNKNOWN", "sides", "taken"]
