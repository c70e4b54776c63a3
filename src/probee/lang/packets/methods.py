"""What programs do with their packet, by the name of the method."""

from __future__ import annotations

import ast

from .. import decl, ir
from ..convert import describe, number
from ..items import Item, Num, Opt, Py, Ref
from ..kinds.network import packet_end
from ..kinds.table import COPY, NetKind
from ..scope import Fn, OptVar, PtrVar, Site
from ..types import BOOL, I64, U8, U32, U64, NetInt, Ptr, Space, Struct
from .read import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..kinds.network import Packet

    Method = Callable[[Fn, Packet, ast.Call], Item]


def names(kind: NetKind) -> frozenset[str]:
    """The methods of a kind of program."""
    return frozenset(_methods(kind))


def call(f: Fn, c: Packet, name: str, node: ast.Call) -> Item:
    return _methods(c.kind)[name](f, c, node)


_made: dict[tuple[str, str], dict[str, Method]] = {}


def _methods(kind: NetKind) -> dict[str, Method]:
    key = (kind.context, kind.word)
    if key not in _made:
        _made[key] = _make(kind)
    return _made[key]


def _make(kind: NetKind) -> dict[str, Method]:
    out: dict[str, Method] = {"read": read, "rewind": _rewind, "skip": _skip}
    if kind.context == "xdp_md":
        out |= {
            "load": _load("xdp_load_bytes"),
            "store": _store("xdp_store_bytes"),
            "meta": _meta,
            "adjust_head": _helper("xdp_adjust_head", 1, moves=True),
            "adjust_tail": _helper("xdp_adjust_tail", 1, moves=True),
            "adjust_meta": _helper("xdp_adjust_meta", 1, moves=True),
            "redirect": _redirect,
            "buffer_length": _helper("xdp_get_buff_len", 0),
        }
    elif kind.context == "__sk_buff":
        out["load"] = _load("skb_load_bytes")
        if kind.word in ("tc", "tcx", "netkit", "classifier", "action"):
            out |= _TC
        elif kind.word == "lwt_xmit":
            out |= {
                name: _TC[name] for name in ("pull", "change_head", "change_tail", "adjust_tail", "store")
            }
        elif kind.word == "sk_skb":
            out |= {
                name: _TC[name] for name in ("pull", "change_head", "change_tail", "adjust_tail", "store")
            }
            out["redirect"] = _socket_redirect("sk_redirect")
    elif kind.context == "sk_msg_md":
        out |= {
            "redirect": _socket_redirect("msg_redirect"),
            "apply": _helper("msg_apply_bytes", 1),
            "cork": _helper("msg_cork_bytes", 1),
            "pull": _helper("msg_pull_data", 3, (0, 0), moves=True),
            "push": _helper("msg_push_data", 3, (0,), moves=True),
            "pop": _helper("msg_pop_data", 3, (0,), moves=True),
        }
    elif kind.context == "sk_reuseport_md":
        out |= {"load": _load("skb_load_bytes"), "select": _select}
    return out


# ---- places in the packet ----


def _plain_arguments(f: Fn, node: ast.Call, form: str, low: int, high: int) -> list[Item]:
    from ..calls import arguments

    return arguments(f, node, form, low, high)


def _rewind(f: Fn, c: Packet, node: ast.Call) -> Item:
    """Read from the packet's start again."""
    _plain_arguments(f, node, "rewind()", 0, 0)
    _to_start(f, c)
    return Py(None)


def _to_start(f: Fn, c: Packet) -> None:
    assert c.cursor is not None
    f.b.store(c.cursor, f.b.const(0, U64) if c.kind.packet == COPY else packet_end(f.b, c.kind, c.ctx, 0))


def _skip(f: Fn, c: Packet, node: ast.Call) -> Item:
    """Go on reading some bytes further on."""
    b = f.b
    (item,) = _plain_arguments(f, node, "skip(bytes)", 1, 1)
    by = b.cast(b.widen(number(f, item, node)), U64)
    if not isinstance(by, ir.Const):
        # Without a limit the verifier takes the sum for any address.
        by = b.arith("&", by, b.const(0x3FFF, U64))
    elif not 0 <= by.value <= 0x3FFF:
        f.fail(node.args[0], f"skip({by.value}): a packet is shorter", "skip 0 to 16383 bytes")
    assert c.cursor is not None
    at = b.load(c.cursor)
    b.store(c.cursor, b.arith("+", at, by) if c.kind.packet == COPY else b.offset(at, by))
    return Py(None)


def length(f: Fn, c: Packet) -> Item:
    """`len(pkt)`: bytes of the packet, in XDP of its first part."""
    b = f.b
    kind = c.kind.context
    if kind in ("__sk_buff", "sk_reuseport_md"):
        at = b.field(c.ctx, "len")
    elif kind == "sk_msg_md":
        at = b.field(c.ctx, "size")
    elif kind == "bpf_nf_ctx":
        skb = c.attr(b, "skb")
        at = b.field(skb, "len")
    else:
        start, end = (b.recast(packet_end(b, c.kind, c.ctx, i), U64) for i in (0, 1))
        return Num(b.arith("-", end, start))
    assert at is not None
    return Num(b.read(at))


def moved(f: Fn, c: Packet, what: str) -> None:
    """The packet is elsewhere now: what was read of it is gone, and reading starts anew."""
    for name, var in f.vars.items():
        inner = var.inner if isinstance(var, OptVar) else var
        if not isinstance(inner, PtrVar) or name not in f.live.set:
            continue
        slot = inner.slot.type
        held = slot.to if isinstance(slot, Ptr) else None
        if isinstance(held, Ptr) and held.space in (Space.PACKET, Space.PACKET_READ):
            f.live.set.discard(name)
            f.notes[name] = (f"{name} was read before {what}(), which may move the packet", "read it again")
    _to_start(f, c)


# ---- copies ----


def _type_of(f: Fn, node: ast.expr, form: str) -> decl.StructType | decl.ScalarType:
    item = f.expr(node)
    if isinstance(item, Py) and isinstance(item.obj, (decl.StructType, decl.ScalarType)):
        return item.obj
    f.fail(node, f"a header or an integer type is needed here, not {describe(item)}", f"write {form}")


def _load(helper: str) -> Method:
    """`load(offset, type)`: a copy of what is in the packet there, None where it ends before."""

    def method(f: Fn, c: Packet, node: ast.Call) -> Item:
        b = f.b
        form = "load(offset, type)"
        if len(node.args) != 2 or node.keywords:
            f.fail(node, f"{form} takes an offset in bytes and a type", "write pkt.load(12, u16)")
        offset = number(f, f.expr(node.args[0]), node.args[0])
        of = _type_of(f, node.args[1], "pkt.load(12, u16)")
        kind = of._ir_()
        if isinstance(of, decl.ScalarType) and of.bits > 8:
            kind = NetInt(of.bits)
        slot = b.local("loaded", kind)
        result = b.helper(helper, c.ctx, offset, slot, b.const(kind.size))
        present = b.compare("==", result, b.const(0))
        if isinstance(kind, Struct):
            item: Item = Ref(slot, origin=frozenset((Site(kind.name, f.loops),)))
            return Opt(present, item, ast.unparse(node))
        value, there = b.local("value", U64), b.local("there", BOOL)
        yes, end = b.new_block("loaded"), b.new_block("load")
        b.store(value, b.const(0, U64))
        b.store(there, present)
        b.branch(present, yes, end)
        b.at(yes)
        b.store(value, b.cast(b.read(slot), U64))
        b.jump(end)
        b.at(end)
        return Opt(b.load(there), Num(b.load(value)), ast.unparse(node))

    return method


def _store(helper: str) -> Method:
    """`store(offset, value)`: write a header, or bytes, into the packet. Gives 0 or a negative error."""

    def method(f: Fn, c: Packet, node: ast.Call) -> Item:
        b = f.b
        items = _plain_arguments(f, node, "store(offset, header)", 2, 2)
        offset = number(f, items[0], node.args[0])
        value = items[1]
        if isinstance(value, Py) and isinstance(value.obj, bytes):
            place: ir.Value = b.bytes(value.obj)
            size = len(value.obj)
        elif isinstance(value, Ref) and not value.maybe and isinstance(value.type, Struct):
            f.escape(value)
            place, size = value.ptr, value.type.size
        else:
            f.fail(node.args[1], f"store() writes a header or bytes, not {describe(value)}")
        more = [b.const(0)] if helper == "skb_store_bytes" else []
        result = b.helper(helper, c.ctx, offset, place, b.const(size), *more)
        if helper == "skb_store_bytes":
            moved(f, c, "store")
        return Num(result)

    return method


def _meta(f: Fn, c: Packet, node: ast.Call) -> Item:
    """`meta(Type)`: what stands before the packet; None if `adjust_meta` has not made room for it."""
    b = f.b
    if len(node.args) != 1 or node.keywords:
        f.fail(node, "meta() takes a Struct", "write pkt.meta(Mark)")
    of = _type_of(f, node.args[0], "pkt.meta(Mark)")
    start = packet_end(b, c.kind, c.ctx, "data_meta")
    behind = b.offset(start, of._ir_().size)
    present = b.emit(ir.Compare("ule", behind, packet_end(b, c.kind, c.ctx, 0)))
    return Opt(present, Ref(b.recast(start, Ptr(of._ir_(), Space.PACKET))), ast.unparse(node))


# ---- helpers ----


def _helper(name: str, most: int, defaults: tuple[int, ...] = (), *, moves: bool = False) -> Method:
    """A helper that takes the context and numbers; the last of them may be left out."""

    def method(f: Fn, c: Packet, node: ast.Call) -> Item:
        b = f.b
        word = node.func.attr if isinstance(node.func, ast.Attribute) else name
        items = _plain_arguments(f, node, f"{word}(…)", most - len(defaults), most)
        values = [number(f, item, arg) for item, arg in zip(items, node.args, strict=True)]
        values += [b.const(v) for v in defaults[len(values) - most :]] if len(values) < most else []
        result = b.helper(name, c.ctx, *values)
        if moves:
            moved(f, c, word)
        return Num(result)

    return method


def _adjust_tail(f: Fn, c: Packet, node: ast.Call) -> Item:
    """As in XDP: `adjust_tail(-4)` cuts four bytes off."""
    b = f.b
    (item,) = _plain_arguments(f, node, "adjust_tail(bytes)", 1, 1)
    size = length(f, c)
    assert isinstance(size, Num)
    wanted = b.arith("+", b.cast(size.v, I64), number(f, item, node))
    result = b.helper("skb_change_tail", c.ctx, b.cast(wanted, U32), b.const(0))
    moved(f, c, "adjust_tail")
    return Num(result)


_REDIRECT_MAPS = {14: "DevMap", 25: "DevMapHash", 16: "CpuMap", 17: "XskMap"}


def _redirect(f: Fn, c: Packet, node: ast.Call) -> Item:
    """`redirect(ifindex)`, `redirect(map, key)`: the program's result."""
    b = f.b
    items = _plain_arguments(f, node, "redirect(interface) or redirect(map, key[, flags])", 1, 3)
    first = items[0]
    if isinstance(first, Py) and isinstance(first.obj, decl.MapDecl):
        if first.obj.kind not in _REDIRECT_MAPS:
            f.fail(
                node.args[0],
                f"packets can't be redirected by {describe(first)}",
                f"use a {', '.join(_REDIRECT_MAPS.values())}",
            )
        if len(items) < 2:
            f.fail(node, "redirect(map, key) needs the key")
        rest = [number(f, i, a) for i, a in zip(items[1:], node.args[1:], strict=True)]
        flags = rest[1] if len(rest) > 1 else b.const(0)
        return Num(b.helper("redirect_map", ir.MapRef(f.unit.map(first.obj)), rest[0], flags))
    if len(items) > 2:
        f.fail(node, "redirect(interface[, flags]) takes no more")
    values = [number(f, i, a) for i, a in zip(items, node.args, strict=True)]
    return Num(b.helper("redirect", values[0], values[1] if len(values) > 1 else b.const(0)))


def _redirect_peer(f: Fn, c: Packet, node: ast.Call) -> Item:
    items = _plain_arguments(f, node, "redirect_peer(interface[, flags])", 1, 2)
    values = [number(f, i, a) for i, a in zip(items, node.args, strict=True)]
    return Num(f.b.helper("redirect_peer", values[0], values[1] if len(values) > 1 else f.b.const(0)))


def _redirect_neigh(f: Fn, c: Packet, node: ast.Call) -> Item:
    """To an interface, with the link-layer address of the next hop looked up."""
    b = f.b
    (item,) = _plain_arguments(f, node, "redirect_neigh(interface)", 1, 1)
    null = ir.Const(Ptr(U8, Space.STACK), 0)
    return Num(b.helper("redirect_neigh", number(f, item, node), null, b.const(0), b.const(0)))


_TC: dict[str, Method] = {
    "pull": _helper("skb_pull_data", 1, (0,), moves=True),
    "adjust_room": _helper("skb_adjust_room", 3, (0,), moves=True),
    "change_head": _helper("skb_change_head", 2, (0,), moves=True),
    "change_tail": _helper("skb_change_tail", 2, (0,), moves=True),
    "adjust_tail": _adjust_tail,
    "vlan_push": _helper("skb_vlan_push", 2, moves=True),
    "vlan_pop": _helper("skb_vlan_pop", 0, moves=True),
    "store": _store("skb_store_bytes"),
    "redirect": _redirect,
    "redirect_peer": _redirect_peer,
    "redirect_neigh": _redirect_neigh,
    "clone_redirect": _helper("clone_redirect", 2, (0,), moves=True),
    "csum_level": _helper("csum_level", 1),
}


# ---- sockets ----


def _socket_map(f: Fn, item: Item, node: ast.AST, kinds: tuple[int, ...], what: str) -> decl.MapDecl:
    if isinstance(item, Py) and isinstance(item.obj, decl.MapDecl) and item.obj.kind in kinds:
        return item.obj
    f.fail(node, f"{what} is needed here, not {describe(item)}")


def _socket_redirect(helper: str) -> Method:
    """`redirect(map, key, flags=0)`: to a socket of a SockMap or SockHash. The program's result."""

    def method(f: Fn, c: Packet, node: ast.Call) -> Item:
        from .. import mapops

        b = f.b
        items = _plain_arguments(f, node, "redirect(map, key[, flags])", 2, 3)
        m = _socket_map(f, items[0], node.args[0], (15, 18), "a SockMap or SockHash")
        flags = number(f, items[2], node.args[2]) if len(items) > 2 else b.const(0)
        ref = ir.MapRef(f.unit.map(m))
        if m.kind == 15:
            return Num(b.helper(f"{helper}_map", c.ctx, ref, number(f, items[1], node.args[1]), flags))
        place = mapops.key_place(f, m, items[1], node)
        return Num(b.helper(f"{helper}_hash", c.ctx, ref, place, flags))

    return method


def _select(f: Fn, c: Packet, node: ast.Call) -> Item:
    """`select(map, key)`: the socket that gets the packet. 0 or a negative error."""
    b = f.b
    items = _plain_arguments(f, node, "select(map, key)", 2, 2)
    m = _socket_map(f, items[0], node.args[0], (15, 18, 20), "a ReuseportArray, SockMap or SockHash")
    slot = f.temp("key", U32)
    b.write(slot, number(f, items[1], node.args[1]))
    return Num(b.helper("sk_select_reuseport", c.ctx, ir.MapRef(f.unit.map(m)), slot, b.const(0)))
