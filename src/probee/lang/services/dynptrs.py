"""Dynptrs: views of memory, records and packets whose size is known at run time only."""

from __future__ import annotations

import ast

from .. import decl, mapops, subprograms
from ..convert import constant, describe, number
from ..items import Context, Item, Num, Opt, Py, Ref
from ..scope import Fn
from ..types import BOOL, U32, U64, VOID, Array, Int, Member, Ptr, Space, Special, Type
from ..with_ import Held
from . import memory as buffers
from .rules import check_helper, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DYNPTR = Special("bpf_dynptr", 16, (Member("__opaque", Array(U64, 2), 0),))


def _check(f: Fn, name: str, node: ast.AST) -> None:
    from ...isa.helpers import PROTOTYPES

    check_helper(f, PROTOTYPES[name], node)


def make(f: Fn, node: ast.Call) -> Item:
    """`bp.dynptr(memory)`, `bp.dynptr(pkt)`."""
    from ..calls import arguments

    (item,) = arguments(f, node, "dynptr(memory or packet)", 1, 1)
    slot = f.b.local("dynptr", DYNPTR)
    if isinstance(item, Context):
        kind = kind_of(f.program).prog_type
        name = "bpf_dynptr_from_xdp" if kind == "xdp" else "bpf_dynptr_from_skb"
        ctx = subprograms.context(f, node, "dynptr")
        f.kfunc(node, "6.4", name, ctx, f.b.const(0), slot)
        return Ref(slot)
    buffer = buffers.writable(f, item, node.args[0], "what a dynptr views")
    space = buffer.place.type
    if not isinstance(space, Ptr) or space.space not in (Space.MAP, Space.GLOBAL):
        f.fail(
            node.args[0],
            "a dynptr views memory of a map's value, and this is not in a map",
            "take `m.get(key)`, or a Global",
        )
    _check(f, "dynptr_from_mem", node)
    f.b.helper("dynptr_from_mem", buffer.place, f.b.const(buffer.size), f.b.const(0), slot)
    return Ref(slot)


def reserve(f: Fn, of: Item, node: ast.Call) -> Held:
    """`with events.reserve_dynptr(size) as d:`: a record whose size is known at run time."""
    from ..calls import arguments

    if not isinstance(of, Py) or not isinstance(of.obj, decl.RingBuf):
        f.fail(node, f"{describe(of)} has no records to reserve", "it is for ring buffers")
    (size,) = arguments(f, node, "reserve_dynptr(size)", 1, 1)
    _check(f, "ringbuf_reserve_dynptr", node)
    b = f.b
    slot = b.local("dynptr", DYNPTR)
    amount = number(f, size, node.args[0])
    failed = b.helper("ringbuf_reserve_dynptr", mapops.handle(f, of.obj), amount, b.const(0), slot)
    unwanted = b.local("discard", BOOL)
    b.store(unwanted, b.compare("!=", failed, b.const(0)))
    f.records.append((of.obj, unwanted))
    full, end = b.new_block("full"), b.new_block("record")
    b.branch(b.load(unwanted), full, end)
    b.at(full)
    mapops.count_drop(f, of.obj)
    b.jump(end)
    b.at(end)

    def release() -> None:
        drop, keep, done = (b.new_block(n) for n in ("discard", "submit", "end"))
        b.branch(b.load(unwanted), drop, keep)
        b.at(drop)
        b.helper("ringbuf_discard_dynptr", slot, b.const(0), type=VOID)
        b.jump(done)
        b.at(keep)
        b.helper("ringbuf_submit_dynptr", slot, b.const(0), type=VOID)
        b.jump(done)
        b.at(done)

    return Held(
        release,
        Ref(slot),
        need_name="the record needs a name",
        ended=("{} is the record of a `with` that has ended", "use it inside the `with`"),
    )


def _read(f: Fn, of: Ref, node: ast.Call) -> Item:
    from ..calls import arguments

    items = arguments(f, node, "read(memory[, offset])", 1, 2)
    _check(f, "dynptr_read", node)
    offset = number(f, items[1], node.args[1]) if len(items) > 1 else f.b.const(0)
    buffer = buffers.writable(f, items[0], node.args[0], "what read() fills")
    return Num(f.b.helper("dynptr_read", buffer.place, f.b.const(buffer.size), of.ptr, offset, f.b.const(0)))


def _write(f: Fn, of: Ref, node: ast.Call) -> Item:
    from ..calls import arguments

    items = arguments(f, node, "write(value[, offset[, flags]])", 1, 3)
    _check(f, "dynptr_write", node)
    rest = [number(f, i, n) for i, n in zip(items[1:], node.args[1:], strict=True)]
    offset = rest[0] if rest else f.b.const(0)
    flags = rest[1] if len(rest) > 1 else f.b.const(0)
    buffer = buffers.readable(f, items[0], node.args[0], "what write() writes")
    return Num(f.b.helper("dynptr_write", of.ptr, offset, buffer.place, f.b.const(buffer.size), flags))


def _type(f: Fn, item: Item, node: ast.AST, form: str) -> Type:
    if isinstance(item, Py) and hasattr(item.obj, "_ir_"):
        return decl.ir_type(item.obj)
    f.fail(node, f"{form} takes a type, and this is {describe(item)}", "a struct, u32, u8[16]…")


def _load(f: Fn, of: Ref, node: ast.Call) -> Item:
    """`d.load(offset, T)`: a copy, None behind the end."""
    from ..calls import arguments

    items = arguments(f, node, "load(offset, type)", 2, 2)
    _check(f, "dynptr_read", node)
    kind = _type(f, items[1], node.args[1], "load()")
    b = f.b
    slot = b.local("copy", kind)
    b.zero(slot)
    offset = number(f, items[0], node.args[0])
    failed = b.helper("dynptr_read", slot, b.const(kind.size), of.ptr, offset, b.const(0))
    item: Item = Num(b.read(slot)) if isinstance(kind, Int) else Ref(slot)
    return Opt(b.compare("==", failed, b.const(0)), item, "load(…)")


def _data(f: Fn, of: Ref, node: ast.Call) -> Item:
    """`d.data(offset, T)`: the memory itself, None behind the end."""
    from ..calls import arguments

    items = arguments(f, node, "data(offset, type)", 2, 2)
    _check(f, "dynptr_data", node)
    kind = _sized(f, items[1], node.args[1], "data()")
    value = f.b.helper(
        "dynptr_data",
        of.ptr,
        number(f, items[0], node.args[0]),
        f.b.const(kind.size),
        type=Ptr(kind, Space.MAP, True),
    )
    return Ref(value, maybe="data(…)")


def _sized(f: Fn, item: Item, node: ast.AST, form: str) -> Type:
    exact = constant(item)
    if exact is not None and exact > 0:
        return Array(Int(8, False), int(exact))
    return _type(f, item, node, form)


def _slice(f: Fn, of: Ref, node: ast.Call) -> Item:
    """`d.slice(offset, T)`: to read; where the packet has it in pieces, a copy."""
    from ..calls import arguments

    items = arguments(f, node, "slice(offset, type)", 2, 2)
    kind = _sized(f, items[1], node.args[1], "slice()")
    room = f.b.local("piece", kind)
    f.b.zero(room)
    value = f.kfunc(
        node,
        "6.4",
        "bpf_dynptr_slice",
        of.ptr,
        f.b.cast(number(f, items[0], node.args[0]), U32),
        room,
        f.b.const(kind.size, U32),
        type=Ptr(kind, Space.PACKET_READ, True),
    )
    return Ref(value, maybe="slice(…)")


def _edit(f: Fn, of: Ref, node: ast.Call) -> Held:
    """`with d.edit(offset, T) as part:`: to change; where the packet has it in pieces, a copy that is written
    back at the end."""
    from ..calls import arguments

    items = arguments(f, node, "edit(offset, type)", 2, 2)
    kind = _sized(f, items[1], node.args[1], "edit()")
    b = f.b
    room = b.local("piece", kind)
    b.zero(room)
    offset = b.local("offset", U64)
    b.write(offset, number(f, items[0], node.args[0]))
    value = f.kfunc(
        node,
        "6.4",
        "bpf_dynptr_slice_rdwr",
        of.ptr,
        b.load(offset),
        room,
        b.const(kind.size, U32),
        type=Ptr(kind, Space.PACKET, True),
    )
    slot = b.local("part", value.type)
    b.store(slot, value)
    body, none = b.new_block("part"), b.new_block("none")
    without = f.live.copy()
    b.branch(b.truth(value), body, none)
    b.at(body)

    def release() -> None:
        back, end = b.new_block("write back"), b.new_block("written")
        b.branch(b.compare("==", b.recast(b.load(slot), U64), b.recast(room, U64)), back, end)
        b.at(back)
        b.helper("dynptr_write", of.ptr, b.load(offset), room, b.const(kind.size), b.const(0))
        b.jump(end)
        b.at(end)

    return Held(
        release,
        Ref(value),
        need_name="the part needs a name",
        ended=("{} is the part of a `with` that has ended", "use it inside the `with`"),
        failed=(none, without),
    )


def _memset(f: Fn, of: Ref, node: ast.Call) -> Item:
    from ..calls import arguments

    items = arguments(f, node, "memset(byte, offset, size)", 3, 3)
    byte, offset, size = (number(f, i, n) for i, n in zip(items, node.args, strict=True))
    return Num(f.b.widen(f.kfunc(node, "6.17", "bpf_dynptr_memset", of.ptr, offset, size, byte)))


def _copy(f: Fn, of: Ref, node: ast.Call) -> Item:
    """`d.copy(source, size[, offset[, from]])`."""
    from ..calls import arguments

    items = arguments(f, node, "copy(source, size[, offset[, source_offset]])", 2, 4)
    source = items[0]
    if not isinstance(source, Ref) or source.type is not DYNPTR:
        f.fail(node.args[0], f"copy() takes another dynptr, and this is {describe(source)}")
    size, *rest = (number(f, i, n) for i, n in zip(items[1:], node.args[1:], strict=True))
    to, at = (*rest, f.b.const(0), f.b.const(0))[:2]
    return Num(f.b.widen(f.kfunc(node, "6.15", "bpf_dynptr_copy", of.ptr, to, source.ptr, at, size)))


def _fact(name: str, since: str) -> Callable[[Fn, Ref, ast.Call], Item]:
    def handler(f: Fn, of: Ref, node: ast.Call) -> Item:
        from ..calls import arguments

        arguments(f, node, f"{name}()", 0, 0)
        return Num(f.b.widen(f.kfunc(node, since, f"bpf_dynptr_{name}", of.ptr)))

    return handler


def _adjust(f: Fn, of: Ref, node: ast.Call) -> Item:
    from ..calls import arguments

    start, end = arguments(f, node, "adjust(start, end)", 2, 2)
    low = f.b.cast(number(f, start, node.args[0]), U32)
    high = f.b.cast(number(f, end, node.args[1]), U32)
    return Num(f.b.widen(f.kfunc(node, "6.5", "bpf_dynptr_adjust", of.ptr, low, high)))


def _clone(f: Fn, of: Ref, node: ast.Call) -> Item:
    from ..calls import arguments

    arguments(f, node, "clone()", 0, 0)
    slot = f.b.local("dynptr", DYNPTR)
    f.kfunc(node, "6.5", "bpf_dynptr_clone", of.ptr, slot)
    return Ref(slot)


METHODS: dict[str, Callable[[Fn, Ref, ast.Call], Item]] = {
    "read": _read,
    "write": _write,
    "load": _load,
    "data": _data,
    "slice": _slice,
    "size": _fact("size", "6.5"),
    "is_null": _fact("is_null", "6.5"),
    "is_rdonly": _fact("is_rdonly", "6.5"),
    "adjust": _adjust,
    "clone": _clone,
    "memset": _memset,
    "copy": _copy,
}
HELD: dict[str, Callable[[Fn, Ref, ast.Call], Held]] = {"edit": _edit}
