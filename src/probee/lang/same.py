"""Are two structs or arrays the same? Compared by words, padding left out."""

from __future__ import annotations

import ast

from . import ir, text
from .convert import describe, far, memory, wanted
from .flow import fields
from .items import Group, Item, Py, Ref
from .scope import Fn
from .types import BOOL, I64, U64, Array, Int, Ptr, Struct, Type

UNROLLED = 32  # words that are compared one by one; more takes a loop


def comparable(item: Item) -> bool:
    """A struct or array of the program."""
    if not isinstance(item, Ref) or item.maybe:
        return False
    return isinstance(item.type, Array) or (isinstance(item.type, Struct) and not item.type.core)


def equal(f: Fn, left: Item, right: Item, node: ast.AST) -> ir.Value:
    """`left == right`, where one of them is `comparable`."""
    if not comparable(left):
        left, right = right, left
    assert isinstance(left, Ref)
    if isinstance(right, Group) or (isinstance(right, Py) and isinstance(right.obj, (tuple, list))):
        return _with_values(f, left, right, node)
    if not isinstance(right, Ref) or right.maybe or right.type != left.type:
        f.fail(
            node,
            f"{describe(left)} can't be compared with {describe(right)}",
            wanted(left.type) or "both sides are of one type",
        )
    return _memory(f, _near(f, left, node, "one side"), _near(f, right, node, "other side"), left.type)


def _near(f: Fn, item: Ref, node: ast.AST, role: str) -> ir.Value:
    f.escape(item)
    return memory(f, item, item.type, node, role) if far(item.ptr.type) else item.ptr


def _with_values(f: Fn, left: Ref, right: Item, node: ast.AST) -> ir.Value:
    """An array and a tuple."""
    from .expr import compare

    items = right.items if isinstance(right, Group) else [Py(v) for v in right.obj]  # type: ignore[attr-defined]
    if not isinstance(left.type, Array) or len(items) != left.type.n:
        f.fail(node, f"{left.type!r} is never equal to a tuple of {len(items)}", wanted(left.type))
    f.escape(left)
    out: ir.Value = f.b.const(1, BOOL)
    from .expr import read_place

    for i, item in enumerate(items):
        same = compare(f, "==", read_place(f, Ref(f.b.index(left.ptr, i))), item, node)
        out = same if not i else f.b.arith("&", out, same)
    return out


def _words(mask: int, size: int, step: int) -> list[tuple[int, int]]:
    """(offset, width) of aligned words that cover the bytes of the mask and no others."""
    out, at = [], 0
    while at < size:
        if not mask >> at & 1:
            at += 1
            continue
        width = step
        while at % width or at + width > size or (mask >> at & ((1 << width) - 1)) != (1 << width) - 1:
            width //= 2
        out.append((at, width))
        at += width
    return out


def _memory(f: Fn, left: ir.Value, right: ir.Value, type: Type) -> ir.Value:
    b = f.b
    step = min(text.alignment(left), text.alignment(right), 8)
    words = _words(fields(type), type.size, step)
    if (
        len(words) > UNROLLED
        and len({w for _, w in words}) == 1
        and words[-1][0] == (len(words) - 1) * words[0][1]
    ):
        return _loop(f, left, right, words[0][1], len(words))
    differs: ir.Value = b.const(0, U64)
    for at, width in words:
        x, y = (_load(f, p, b.const(at), width) for p in (left, right))
        here = b.binary("xor", x, y)
        differs = here if isinstance(differs, ir.Const) else b.binary("or", differs, here)
    return b.not_(differs)


def _load(f: Fn, base: ir.Value, at: ir.Value, width: int) -> ir.Value:
    assert isinstance(base.type, Ptr)
    word = Ptr(Int(width * 8, False), base.type.space)
    return f.b.cast(f.b.load(f.b.offset(base, at, word)), U64)


def _loop(f: Fn, left: ir.Value, right: ir.Value, width: int, n: int) -> ir.Value:
    b = f.b
    i, result = b.local("i", I64), b.local("same", BOOL)
    loop, differ, more, end = (b.new_block(x) for x in ("same", "differ", "more", "end"))
    b.store(i, b.const(0))
    b.store(result, b.const(1, BOOL))
    left, right = b.opaque(left), b.opaque(right)
    b.jump(loop)
    b.at(loop)
    at = b.load(i)
    place = b.arith("*", at, b.const(width))
    b.branch(b.compare("==", _load(f, left, place, width), _load(f, right, place, width)), more, differ)
    b.at(differ)
    b.store(result, b.const(0, BOOL))
    b.jump(end)
    b.at(more)
    b.store(i, b.arith("+", at, b.const(1)))
    b.branch(b.compare("<", b.load(i), b.const(n)), loop, end)
    b.at(end)
    return b.load(result)
