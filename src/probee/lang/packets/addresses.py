"""Addresses in programs: constants made of text, and comparison of arrays of bytes."""

from __future__ import annotations

import ast

from .. import ir
from ..convert import far
from ..items import Item, Py, Ref
from ..types import BOOL, U8, U16, U32, U64, Array, Int, NetInt, Ptr, Space
from .address import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..scope import Fn

_LONGEST = 32  # bytes that are compared word by word


def call(f: Fn, of: Address, node: ast.Call) -> Item:
    """`ipv4("10.0.0.1")`: a constant."""
    from ..calls import arguments

    (item,) = arguments(f, node, f"{of.name}(text)", 1, 1)
    if not isinstance(item, Py) or not isinstance(item.obj, str):
        f.fail(node, f"{of.name}() takes a literal text", f"make it outside: ADDRESS = bp.{of.name}(…)")
    try:
        return Py(of.make(item.obj))
    except ValueError as error:
        f.fail(node, str(error))


def _size(item: Item) -> int:
    """Bytes of an item that can be compared as memory; 0 for others."""
    if isinstance(item, Py) and isinstance(item.obj, bytes):
        return len(item.obj)
    if not isinstance(item, Ref) or item.maybe or not isinstance(item.type, Array) or far(item.ptr.type):
        return 0
    elem = item.type.elem
    return item.type.size if elem == U8 or isinstance(elem, NetInt) else 0


def equal(f: Fn, left: Item, right: Item, node: ast.AST) -> ir.Value | None:
    """Are two arrays of bytes, or of numbers in network byte order, the same? None: they are no such."""
    if not (isinstance(left, Ref) or isinstance(right, Ref)):
        return None
    here, there = _size(left), _size(right)
    if not here or not there:
        return None
    if here != there:
        f.fail(node, f"{here} bytes can't be compared with {there}")
    if here > _LONGEST:
        f.fail(node, f"{here} bytes are many to compare", "compare them in a loop")
    for side in (left, right):
        f.escape(side)
    b = f.b
    different: ir.Value = b.const(0, U64)
    at = 0
    while at < here:
        width = next(w for w in _widths(left, right) if at % w == 0 and here - at >= w)
        kind = {1: U8, 2: U16, 4: U32}[width]
        x, y = (_word(f, side, at, kind) for side in (left, right))
        different = b.arith("|", different, b.arith("^", x, y))
        at += width
    same: ir.Value = b.compare("==", different, b.const(0, U64))
    return b.cast(same, BOOL)


def _widths(*sides: Item) -> tuple[int, ...]:
    """What words may be read: those of the stack and of maps lie as their type says."""
    for side in sides:
        if isinstance(side, Ref) and isinstance(side.ptr.type, Ptr) and isinstance(side.type, Array):
            packet = side.ptr.type.space in (Space.PACKET, Space.PACKET_READ)
            if not packet and side.type.elem.size < 4:
                return (1,)
    return (4, 2, 1)


def _word(f: Fn, side: Item, at: int, kind: Int) -> ir.Value:
    b = f.b
    if isinstance(side, Py):
        return b.const(int.from_bytes(side.obj[at : at + kind.size], "little"), U64)
    assert isinstance(side, Ref)
    where = side.ptr.type
    assert isinstance(where, Ptr)
    if where.space is Space.CONTEXT:
        # word by word as fields, at fixed places
        place = b.recast(b.index(side.ptr, at // 4), Ptr(kind, where.space))
    else:
        place = b.offset(side.ptr, at, Ptr(kind, where.space))
    return b.cast(b.read(place), U64)
