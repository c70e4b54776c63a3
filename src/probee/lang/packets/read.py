"""`pkt.read(Header)`: bounds checks, the cursor, headers of variable length."""

from __future__ import annotations

import ast

from .. import decl, ir
from ..convert import describe
from ..items import Group, Item, Opt, Py, Ref
from ..kinds.network import packet_end
from ..kinds.table import COPY
from ..scope import Site
from ..types import BOOL, U64, Int, Ptr
from .header import HeaderType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..kinds.network import Packet
    from ..scope import Fn


def read(f: Fn, c: Packet, node: ast.Call) -> Item:
    """The header at the cursor, which moves behind it; None, and it stays, if the packet ends before."""
    short: ast.expr | None = None
    for kw in node.keywords:
        if kw.arg != "short":
            f.fail(
                kw.value, "read() takes headers, and `short=` what to return from a packet that is too short"
            )
        short = kw.value
    classes = [_class(f, arg) for arg in node.args]
    if not classes:
        f.fail(node, "read() takes a header", "write for example pkt.read(bp.Ethernet)")
    if short is None:
        if len(classes) > 1:
            f.fail(
                node,
                "several headers at once are all there or none is",
                f"say what to return if not: pkt.read({', '.join(c.__name__ for c in classes)}, short=…)",
            )
        return _optional(f, c, classes[0], node)
    fail = f.b.new_block("short")
    found = [place for part in _parts(classes) for place in _checked(f, c, part, fail, node)]
    _leave(f, fail, short, node)
    refs: list[Item] = list(found)
    return refs[0] if len(refs) == 1 else Group(refs)


def _class(f: Fn, node: ast.expr) -> decl.StructType:
    item = f.expr(node)
    if isinstance(item, Py) and isinstance(item.obj, decl.StructType) and item.obj._fields_:
        return item.obj
    f.fail(node, f"read() takes a header, not {describe(item)}", "write for example pkt.read(bp.Ethernet)")


def _length(cls: decl.StructType) -> str:
    return cls._length_ if isinstance(cls, HeaderType) else ""


def _parts(classes: list[decl.StructType]) -> list[list[decl.StructType]]:
    """Headers that one check is enough for: up to one of variable length."""
    out: list[list[decl.StructType]] = [[]]
    for cls in classes:
        out[-1].append(cls)
        if _length(cls):
            out.append([])
    return [part for part in out if part]


def _checked(f: Fn, c: Packet, part: list[decl.StructType], fail: ir.Block, node: ast.Call) -> list[Ref]:
    """References to headers one behind the other; jumps to `fail` if they are not all there."""
    b = f.b
    assert c.cursor is not None
    size = sum(cls._size_ for cls in part)
    there = b.new_block("there")
    refs: list[Ref] = []
    at = b.load(c.cursor)
    if c.kind.packet == COPY:
        kinds = [cls._ir_() for cls in part]
        slots = [b.local(cls.__name__, kind) for cls, kind in zip(part, kinds, strict=True)]
        offset = at
        load = c.loader(f, node)
        for cls, slot in zip(part, slots, strict=True):
            result = load(offset, slot, cls._size_)
            good = b.new_block("loaded")
            b.branch(b.compare("==", result, b.const(0)), good, fail)
            b.at(good)
            refs.append(Ref(slot, origin=frozenset((Site(cls.__name__, f.loops),))))
            offset = b.arith("+", offset, b.const(cls._size_, U64))
        b.jump(there)
        behind = offset
    else:
        behind = b.offset(at, size)
        b.branch(b.emit(ir.Compare("ule", behind, packet_end(b, c.kind, c.ctx, 1))), there, fail)
        assert isinstance(at.type, Ptr)
        space, offset_of = at.type.space, 0
        b.at(there)
        for cls in part:
            place = b.offset(at, offset_of, Ptr(cls._ir_(), space)) if offset_of else None
            refs.append(Ref(place if place is not None else b.recast(at, Ptr(cls._ir_(), space))))
            offset_of += cls._size_
    b.at(there)
    last = part[-1]
    if _length(last):
        length, least = _Length(f, refs[-1], last).value()
        if least < last._size_:
            whole = b.new_block("whole")
            b.branch(b.compare(">=", length, b.const(last._size_, U64)), whole, fail)
            b.at(whole)
        if c.kind.packet == COPY:
            start = b.arith("-", behind, b.const(last._size_, U64))
            behind = b.arith("+", start, length)
        else:
            behind = b.offset(b.recast(refs[-1].ptr, at.type), length)
    b.store(c.cursor, behind)
    return refs


def _optional(f: Fn, c: Packet, cls: decl.StructType, node: ast.Call) -> Item:
    b = f.b
    present = b.local("there", BOOL)
    b.store(present, b.const(0, BOOL))
    end = b.new_block("read")
    (ref,) = _checked(f, c, [cls], end, node)
    b.store(present, b.const(1, BOOL))
    slot = b.local("header", ref.ptr.type)
    b.store(slot, ref.ptr)
    b.jump(end)
    b.at(end)
    return Opt(b.load(present), Ref(b.load(slot), origin=ref.origin), ast.unparse(node))


def _leave(f: Fn, fail: ir.Block, value: ast.expr, node: ast.Call) -> None:
    """Return from the program or function where `fail` is reached; go on where the compiler stands."""
    here, flow = f.b.block, f.live
    f.enter(fail, flow.copy())
    item: Item = f.returned(f.expr(value), value)
    f.leave()
    f.returns.append((f.b.block, item, node))
    f.enter(here, flow)


class _Length:
    """The length that a header says it has, and the least that it can say."""

    def __init__(self, f: Fn, ref: Ref, cls: decl.StructType) -> None:
        self.f = f
        self.ref = ref
        self.cls = cls

    def value(self) -> tuple[ir.Value, int]:
        text = _length(self.cls)
        return self._of(ast.parse(text, mode="eval").body, text)

    def _of(self, node: ast.expr, text: str) -> tuple[ir.Value, int]:
        b = self.f.b
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return b.const(node.value, U64), node.value
        if isinstance(node, ast.Name):
            place = b.field(self.ref.ptr, node.id)
            if place is not None and isinstance(place.type, Ptr) and isinstance(place.type.to, Int):
                return b.cast(b.read(place), U64), 0
        if isinstance(node, ast.BinOp):
            (x, low), (y, low2) = self._of(node.left, text), self._of(node.right, text)
            if isinstance(node.op, ast.Add):
                return b.arith("+", x, y), low + low2
            if isinstance(node.op, ast.Mult):
                return b.arith("*", x, y), low * low2
            if isinstance(node.op, ast.Sub):
                return b.arith("-", x, y), 0
        self.f.fail(
            None,
            f"the length of {self.cls.__name__}, {text!r}, can't be computed",
            "it has names of its fields, numbers, +, - and *",
        )
