"""How a C compiler would lay out a struct, and what must be added to its declaration to get BTF's layout.

The rules are those of the Itanium/System V ABIs on 64-bit machines: members at multiples of their alignment,
bitfields packed as long as they do not cross a unit of their declared type.
"""

from __future__ import annotations

from probee.btf.kinds import ARRAY, COMPOSITES, ENUM, ENUM64, FLOAT, INT, PTR, UNION
from probee.btf.parser import MAX_CHAIN, Btf, BtfMember, BtfType
from probee.errors import ObjectError


class Layout:
    """What to write for a struct.

    `gaps[i]` are the bits of padding before member i, from bit `starts[i]` on (the last: behind all members).
    `packed`: whether it is. `aligned`: the alignment to declare it with, 0 for none. `opaque`: no C
    declaration has this layout. `align`: the alignment in bytes the compiler will give the result.
    """

    __slots__ = ("align", "aligned", "gaps", "opaque", "packed", "starts")

    def __init__(self) -> None:
        self.align = 1
        self.aligned = 0
        self.packed = False
        self.opaque = False
        self.gaps: list[int] = []
        self.starts: list[int] = []


def _up(value: int, unit: int) -> int:
    return (value + unit - 1) // unit * unit


def bitfield(btf: Btf, m: BtfMember) -> tuple[int, int]:
    """(bit offset, width) of a member; width 0 if it is no bitfield. Knows old-style bitfields, which were
    integers of odd widths.
    """
    if m.bit_size:
        return m.bit_offset, m.bit_size
    t = btf.type(btf.strip(m.type))
    if t.kind == INT and (t.bits != 8 * t.size or t.offset):
        return m.bit_offset + t.offset, t.bits
    return m.bit_offset, 0


class Layouts:
    """The layouts of the structs and unions of a BTF, each computed once."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._done: dict[int, Layout] = {}
        self._aligns: dict[int, int] = {}

    def align(self, id: int, depth: int = 0) -> int:
        """Alignment in bytes of a type as it is declared."""
        btf = self._btf
        id = btf.strip(id)
        t = btf.type(id)
        for _ in range(MAX_CHAIN):
            if t.kind != ARRAY:
                break
            id = btf.strip(t.array[0])
            t = btf.type(id)
        if t.kind in COMPOSITES:
            return self.of(t, depth + 1).align
        if t.kind in (INT, FLOAT, ENUM, ENUM64):
            return t.size if t.size in (1, 2, 4, 8, 16) else 1
        return btf.ptr_size if t.kind == PTR else 1

    def of(self, t: BtfType, depth: int = 0) -> Layout:
        """The layout of a struct or union."""
        found = self._done.get(t.id)
        if found is None:
            if depth > MAX_CHAIN:
                raise ObjectError(f"broken BTF: {t.kind_name} {t.name!r} (type {t.id}) contains itself")
            found = self._union(t, depth) if t.kind == UNION else self._struct(t, depth)
            self._done[t.id] = found
        return found

    def _union(self, t: BtfType, depth: int) -> Layout:
        out = Layout()
        btf = self._btf
        size = 0
        for m in t.members:
            at, width = bitfield(btf, m)
            if at:
                return _opaque()
            size = max(size, (width + 7) // 8 if width else btf.size_of(m.type))
            out.align = max(out.align, self.align(m.type, depth))
        if size > t.size:
            return _opaque()
        if t.size % out.align:
            out.packed = True
            out.align = 1
        if _up(size, out.align) != t.size:
            for align in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096):
                if align > out.align and _up(size, align) == t.size:
                    out.aligned = out.align = align
                    break
            else:
                return _opaque()
        return out

    def _struct(self, t: BtfType, depth: int) -> Layout:
        btf = self._btf
        items = []
        align = 1
        packed = False
        for m in t.members:
            own = self.align(m.type, depth)
            at, width = bitfield(btf, m)
            unit = 8 * btf.size_of(m.type)
            if width:
                if width > unit:
                    return _opaque()
                packed = packed or at // unit != (at + width - 1) // unit
                items.append((at, width, unit, 0))
            else:
                packed = packed or at % (8 * own) != 0
                items.append((at, unit, 0, own))
            align = max(align, own)
        packed = packed or t.size % align != 0
        for attempt in (packed, True):
            out = _place(items, t.size, align, attempt)
            if out is not None:
                return out
        return _opaque()


def _opaque() -> Layout:
    out = Layout()
    out.opaque = True
    return out


def _place(items: list[tuple[int, int, int, int]], size: int, align: int, packed: bool) -> Layout | None:
    """Place members one by one; None if it cannot be done so.

    A member: bit offset, bits, unit of a bitfield in bits or 0, alignment in bytes.
    """
    out = Layout()
    out.packed = packed
    out.align = 1 if packed else align
    pos = 0
    for at, bits, unit, own in items:
        if at < pos or (not unit and at % 8):
            return None
        if not unit:
            natural = _up(pos, 8 if packed else 8 * own)
        elif packed or pos // unit == (pos + bits - 1) // unit:
            natural = pos
        else:
            natural = _up(pos, unit)
        if natural > at:
            return None
        out.starts.append(pos)
        out.gaps.append(at - pos if natural < at else 0)
        pos = at + bits
    end = _up(pos, 8 * out.align)
    if end > 8 * size:
        return None
    out.starts.append(pos)
    out.gaps.append(8 * size - pos if end < 8 * size else 0)
    return out


__all__ = ["Layout", "Layouts", "bitfield"]
