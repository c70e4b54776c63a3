"""What is known at a point of a function: which locals are set, which can't be None, which bytes are written.

A `Flow` belongs to one point and is copied where ways part; `merge` keeps what holds on all ways that meet.
An unreachable point has no flow (None).
"""

from __future__ import annotations

from collections.abc import Iterable

from . import ir
from .types import I64, Array, Int, Ptr, Struct, Type

Slot = tuple[object, Type]  # ("name", version) or a constant, and the type it is stored as


class Fresh:
    """Zeroed memory whose address only its makers know: a struct on the stack, a reserved record.

    Writing zeroes to bytes that are assigned anyway is waste, so the zeroing is filled in when the function
    is done: at `mark`, for the bytes in `need`, those that some way uses before it writes them. Sets of bytes
    are integers, a bit for a byte. A stack struct is zeroed with its padding (it may be a map key), a record
    without.
    """

    __slots__ = ("align", "all", "base", "block", "mark", "need")

    def __init__(
        self, base: ir.Value, type: Type, block: ir.Block, mark: ir.Op, *, padding: bool, align: int
    ) -> None:
        self.base = base
        self.align = align
        self.block = block
        self.mark = mark
        self.need = 0
        self.all = span(0, type.size) if padding else fields(type)


def span(offset: int, size: int) -> int:
    return ((1 << size) - 1) << offset


def fields(type: Type) -> int:
    """The bytes of a type that are not padding."""
    if isinstance(type, Struct):
        out = 0
        for m in type.members:
            at = m.bit_offset // 8
            out |= span(at, (m.bit_offset % 8 + m.bit_size + 7) // 8) if m.bit_size else fields(m.type) << at
        return out
    if isinstance(type, Array):
        one = fields(type.elem)
        out = 0
        for i in range(type.n):
            out |= one << (i * type.elem.size)
        return out
    return span(0, type.size)


class Flow:
    __slots__ = ("bound", "known", "made", "ranges", "set", "slots")

    def __init__(self) -> None:
        self.set: set[str] = set()  # locals that have a value
        self.known: set[str] = set()  # those of them that are not None
        self.slots: dict[Slot, ir.Local] = {}  # key slots and what they hold now
        self.made: dict[Fresh, int] = {}  # bytes written, of memory whose address has not got out
        self.bound: dict[str, Fresh] = {}  # locals that are such memory
        self.ranges: dict[str, tuple[int, int]] = {}  # locals that are numbers between these

    def copy(self) -> Flow:
        new = Flow()
        new.set = set(self.set)
        new.known = set(self.known)
        new.slots = dict(self.slots)
        new.made = dict(self.made)
        new.bound = dict(self.bound)
        new.ranges = dict(self.ranges)
        return new

    def use(self, fresh: Fresh | None, offset: int, size: int) -> None:
        """The bytes are read, or their address gets out."""
        if fresh is not None and fresh in self.made:
            fresh.need |= span(offset, size) & fresh.all & ~self.made[fresh]

    def wrote(self, fresh: Fresh | None, offset: int, size: int) -> None:
        if fresh is not None and fresh in self.made:
            self.made[fresh] |= span(offset, size)

    def unbind(self, name: str) -> None:
        """The local is no longer that memory, though something else may be."""
        fresh = self.bound.pop(name, None)
        if fresh is not None and fresh not in self.bound.values():
            self.finish(fresh)

    def finish(self, fresh: Fresh) -> None:
        """All of it may be read from here on."""
        if fresh in self.made:
            fresh.need |= fresh.all & ~self.made[fresh]

    def forget(self, names: Iterable[str]) -> None:
        """Before a loop: what is known of locals that the loop assigns holds in its first round only."""
        for name in names:
            self.unbind(name)
            self.drop_slots(name)
            self.ranges.pop(name, None)

    def drop_slots(self, name: str) -> None:
        for slot in [s for s in self.slots if isinstance(s[0], tuple) and s[0][0] == name]:
            del self.slots[slot]


def merge(flows: Iterable[Flow | None]) -> Flow | None:
    """What holds where several ways meet."""
    live = [f for f in flows if f is not None]
    if not live:
        return None
    out, rest = live[0].copy(), live[1:]
    for other in rest:
        out.set &= other.set
        out.known &= other.known
        out.slots = {k: v for k, v in out.slots.items() if other.slots.get(k) is v}
        out.ranges = {
            name: (min(low, other.ranges[name][0]), max(high, other.ranges[name][1]))
            for name, (low, high) in out.ranges.items()
            if name in other.ranges
        }
        for name in {*out.bound, *other.bound}:
            if out.bound.get(name) is not other.bound.get(name):
                for flow in (out, other):
                    flow.unbind(name)
        out.made = {k: v & other.made[k] for k, v in out.made.items() if k in other.made}
    return out


def zeroing(fresh: Fresh, loc: ir.Loc) -> list[ir.Op]:
    """The ops that zero the bytes in `fresh.need`, by whole aligned words where that takes fewer."""
    where = fresh.base.type
    assert isinstance(where, Ptr)
    size = where.to.size
    ops: list[ir.Op] = []

    def emit(op: ir.Op) -> ir.Op:
        op.loc = loc
        ops.append(op)
        return op

    def place(offset: int, type: Type) -> ir.Value:
        return emit(ir.Offset(fresh.base, ir.Const(I64, offset), Ptr(type, where.space)))

    def zero(offset: int, width: int) -> None:
        word = Int(width * 8, False)
        emit(ir.Store(place(offset, word), ir.Const(word, 0)))

    wide = fresh.align
    at = 0
    while at < size:
        end = at
        while end + wide <= size and fresh.need >> end & ((1 << wide) - 1):
            end += wide
        if end - at > wide:
            emit(ir.Zero(place(at, Array(Int(wide * 8, False), (end - at) // wide)), end - at))
            at = end
            continue
        for offset, width in _pieces(fresh.need >> at & ((1 << wide) - 1), min(wide, size - at)):
            zero(at + offset, width)
        at += wide
    return ops


def _pieces(need: int, size: int) -> list[tuple[int, int]]:
    """Aligned stores, as (offset, width), that cover the needed bytes of one word of `size` bytes."""
    if not need:
        return []
    width = 1
    while width * 2 <= size:
        width *= 2
    if width > 1 and need & ((1 << width) - 1):
        low, high = need & ((1 << width // 2) - 1), need >> (width // 2) & ((1 << width // 2) - 1)
        if low and high:  # one wide store instead of two or more
            return [(0, width), *((width + o, w) for o, w in _pieces(need >> width, size - width))]
        half = _pieces(low, width // 2) or [(width // 2 + o, w) for o, w in _pieces(high, width // 2)]
        return [*half, *((width + o, w) for o, w in _pieces(need >> width, size - width))]
    if width == 1:
        return [(0, 1), *((1 + o, w) for o, w in _pieces(need >> 1, size - 1))] if need & 1 else []
    return [(width + o, w) for o, w in _pieces(need >> width, size - width)]
