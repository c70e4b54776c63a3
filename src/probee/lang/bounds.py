"""How large a number can be, as far as the front end can tell: what it was made of, and what tests said.

Sound, not sharp: an interval holds all values the number can have. It decides how a loop is compiled.
"""

from __future__ import annotations

from . import ir
from .types import BOOL, Int

Interval = tuple[int, int]

_DEPTH = 12


def whole(t: Int) -> Interval:
    """All values of a type."""
    if t == BOOL:
        return 0, 1
    if t.signed:
        return -(1 << (t.bits - 1)), (1 << (t.bits - 1)) - 1
    return 0, (1 << t.bits) - 1


def interval(value: ir.Value, known: dict[ir.Value, Interval], depth: int = _DEPTH) -> Interval:
    """The values that `value` can have; `known` has those of loads, as they were when they were made."""
    t = value.type
    assert isinstance(t, Int)
    all_ = whole(t)
    if isinstance(value, ir.Const):
        return value.value, value.value
    if value in known:
        return known[value]
    if not depth:
        return all_

    def of(v: ir.Value) -> Interval:
        return interval(v, known, depth - 1)

    found: Interval | None = None
    if isinstance(value, ir.Cast) and isinstance(value.value.type, Int):
        found = of(value.value)
    elif isinstance(value, ir.Select):
        found = _select(value, of(value.a), of(value.b))
    elif isinstance(value, ir.Binary):
        found = _binary(value, of(value.a), of(value.b))
    if found is None or found[0] < all_[0] or found[1] > all_[1]:  # cut or wrapped
        return all_
    return found


def _select(value: ir.Select, a: Interval, b: Interval) -> Interval:
    low, high = min(a[0], b[0]), max(a[1], b[1])
    test = value.cond
    if isinstance(test, ir.Compare):
        smaller, larger = _source(test.a), _source(test.b)
        if test.op in ("ugt", "uge", "sgt", "sge"):
            smaller, larger = larger, smaller
        if test.op not in ("eq", "ne"):
            ends = _source(value.a), _source(value.b)
            if ends == (smaller, larger):  # the smaller of the two
                return low, min(a[1], b[1])
            if ends == (larger, smaller):
                return max(a[0], b[0]), high
    return low, high


def _source(value: ir.Value) -> object:
    """What a value was before it became as wide as another; constants by what they are."""
    while isinstance(value, ir.Cast) and isinstance(value.value.type, Int):
        value = value.value
    return value.value if isinstance(value, ir.Const) else value


def _binary(value: ir.Binary, a: Interval, b: Interval) -> Interval | None:
    natural = a[0] >= 0 and b[0] >= 0
    match value.op:
        case "add":
            return a[0] + b[0], a[1] + b[1]
        case "sub":
            return a[0] - b[1], a[1] - b[0]
        case "mul":
            ends = [x * y for x in a for y in b]
            return min(ends), max(ends)
        case "and":
            highs = [x[1] for x in (a, b) if x[0] >= 0]
            return (0, min(highs)) if highs else None
        case "or" | "xor":
            return (0, (1 << max(a[1], b[1]).bit_length()) - 1) if natural else None
        case "udiv":
            return (a[0] // max(1, b[1]), a[1] // max(1, b[0])) if natural else None
        case "urem":
            # x % 0 is x
            return (0, min(a[1], b[1] - 1) if b[0] > 0 else a[1]) if natural else None
        case "lshr" | "ashr":
            if b[0] == b[1] and 0 <= b[0] < 64 and (value.op == "ashr" or a[0] >= 0):
                return a[0] >> b[0], a[1] >> b[0]
        case "shl":
            if b[0] >= 0 and b[1] < 64 and a[0] >= 0:
                return a[0] << b[0], a[1] << b[1]
    return None


def surely(test: ir.Compare, known: dict[ir.Value, Interval]) -> bool:
    """Does the comparison hold for all values that both sides can have?"""
    if not isinstance(test.a.type, Int) or not isinstance(test.b.type, Int):
        return False
    a, b = interval(test.a, known), interval(test.b, known)
    match test.op:
        case "ult" | "slt":
            return a[1] < b[0]
        case "ule" | "sle":
            return a[1] <= b[0]
        case "ugt" | "sgt":
            return a[0] > b[1]
        case "uge" | "sge":
            return a[0] >= b[1]
        case "ne":
            return a[1] < b[0] or b[1] < a[0]
    return a[0] == a[1] == b[0] == b[1]


COMPARED = frozenset(("==", "!=", "<", "<=", ">", ">="))
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def narrowed(mine: Interval, op: str, other: Interval, holds: bool) -> Interval:
    """What is left of an interval where `number op other` holds, or does not. An empty rest is not told."""
    if not holds:
        op = _NEGATED[op]
    low, high = mine
    if op in ("<", "<="):
        high = min(high, other[1] - (op == "<"))
    elif op in (">", ">="):
        low = max(low, other[0] + (op == ">"))
    elif op == "==":
        low, high = max(low, other[0]), min(high, other[1])
    return (low, high) if low <= high else mine


def mirrored(op: str) -> str:
    return _MIRRORED[op]


def visible(value: ir.Value) -> bool:
    """Does the verifier see how large the number is, where the front end does?

    Not where there is a division in it: LLVM multiplies and shifts instead, and leaves out a mask that it
    then knows to be of no use.
    """
    if isinstance(value, ir.Cast):
        return visible(value.value)
    if isinstance(value, ir.Select):
        return visible(value.a) and visible(value.b)
    if isinstance(value, ir.Binary):
        if value.op in ("udiv", "sdiv", "urem", "srem", "mul"):
            return False
        return visible(value.a) and visible(value.b)
    return isinstance(value, (ir.Const, ir.Load, ir.Param))
