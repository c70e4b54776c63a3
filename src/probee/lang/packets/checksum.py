"""Internet checksums of headers (RFC 1071), and their change with a field (RFC 1624).

Sums are of words as they are in memory: the checksum does not mind the order of bytes.
"""

from __future__ import annotations

import ast

from .. import ir
from ..convert import describe, number
from ..items import Item, Num, Py, Ref
from ..types import U16, U32, U64, Array, Int, Ptr
from .wire import HeaderStruct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..scope import Fn

_FIELD = "checksum"
_PSEUDO, _ZERO_IS_NONE = 0x10, 0x20  # BPF_F_PSEUDO_HDR, BPF_F_MARK_MANGLED_0
_ADDRESSES = ("src", "dst")


def call(f: Fn, header: Ref, name: str, node: ast.Call) -> Item:
    """A method of a header."""
    return update(f, header, node) if name == "update" else compute(f, header, node)


def _struct(header: Ref) -> HeaderStruct:
    assert isinstance(header.type, HeaderStruct)
    return header.type


def _place(f: Fn, header: Ref, offset: int, type: Int) -> ir.Value:
    where = header.ptr.type
    assert isinstance(where, Ptr)
    return f.b.offset(header.ptr, offset, Ptr(type, where.space))


def _words(start: int, end: int) -> list[tuple[int, Int]]:
    """Words of 32 and 16 bits that hold the bytes, each at a multiple of its size."""
    at, end = start & ~1, (end + 1) & ~1
    out = []
    while at < end:
        wide = at % 4 == 0 and end - at >= 4
        out.append((at, U32 if wide else U16))
        at += 4 if wide else 2
    return out


def _sum(f: Fn, header: Ref, words: list[tuple[int, Int]], *, inverted: bool) -> ir.Value:
    b = f.b
    out: ir.Value = b.const(0, U64)
    for offset, kind in words:
        word = b.cast(b.read(_place(f, header, offset, kind)), U64)
        if inverted:
            word = b.arith("^", word, b.const((1 << kind.bits) - 1, U64))
        out = b.arith("+", out, word)
    return out


def _fold(f: Fn, value: ir.Value, times: int = 3) -> ir.Value:
    """A sum of up to 48 bits as one of 16."""
    b = f.b
    for _ in range(times):
        low = b.arith("&", value, b.const(0xFFFF, U64))
        value = b.arith("+", low, b.arith(">>", value, b.const(16, U64)))
    return value


def _span(header: HeaderStruct, name: str) -> tuple[int, int]:
    path = header.find(name)
    assert path is not None
    member = header.members[path[0]]
    return member.bit_offset // 8, member.bit_offset // 8 + member.type.size


def compute(f: Fn, header: Ref, node: ast.Call) -> Item:
    """`compute_checksum()`: the sum over the header's fixed part, its own field taken as 0."""
    from ..calls import arguments

    arguments(f, node, "compute_checksum()", 0, 0)
    struct, b = _struct(header), f.b
    start, end = _span(struct, _FIELD) if struct.find(_FIELD) else (struct.size, struct.size)
    f.escape(header)
    words = [*_words(0, start), *_words(end, struct.size)]
    total = _fold(f, _sum(f, header, words, inverted=False))
    return Num(b.widen(b.swap(b.arith("^", total, b.const(0xFFFF, U64)), 16)))


def update(f: Fn, header: Ref, node: ast.Call) -> Item:
    """`update(field=value, …)`: the fields change, and the checksum with them.

    With `transport=`, the header behind an IP header, a change of an address goes into its checksum, too.
    """
    from ..assign import MemoryPlace, _writable

    struct, b = _struct(header), f.b
    if node.args:
        f.fail(node.args[0], "update() takes fields by name", "write ip.update(ttl=ip.ttl - 1)")
    transport: Ref | None = None
    values: list[tuple[str, Item, ast.expr]] = []
    for kw in node.keywords:
        item = f.expr(kw.value)
        if kw.arg == "transport":
            if not isinstance(item, Ref) or item.maybe or not isinstance(item.type, HeaderStruct):
                f.fail(kw.value, f"transport= is a header that was read, not {describe(item)}")
            transport = item
            continue
        if kw.arg is None or struct.find(kw.arg) is None:
            f.fail(kw.value, f"{struct.name} has no field {kw.arg}", f"it has {', '.join(struct.names())}")
        if kw.arg == _FIELD:
            f.fail(kw.value, "the checksum follows by itself", "drop it")
        values.append((kw.arg, item, kw.value))
    own = struct.find(_FIELD) is not None
    if not own and transport is None:
        f.fail(
            node, f"{struct.name} has no checksum", "assign the fields, or give transport= the header behind"
        )
    spans = [_span(struct, name) for name, _, _ in values]
    outer = [_span(struct, name) for name, _, _ in values if name in _ADDRESSES]
    if transport is not None and not outer:
        f.fail(node, "the transport's checksum depends on the addresses only", "drop transport=")
    words = sorted({w for start, end in spans for w in _words(start, end)}, key=lambda w: w[0])
    address_words = [w for start, end in outer for w in _words(start, end)]
    settled = [(name, _settled(f, struct, name, item, where), where) for name, item, where in values]
    before = _sum(f, header, words, inverted=True)
    outer_before = _sum(f, header, address_words, inverted=True)
    for name, item, where in settled:
        place = b.field(header.ptr, name)
        assert place is not None
        ref = Ref(place)
        _writable(f, ref, where)
        MemoryPlace(ref).write(f, item, where)
    if own:
        change = b.arith("+", before, _sum(f, header, words, inverted=False))
        _apply(f, header, change, node, pseudo=False)
    if transport is not None and transport.type.find(_FIELD):  # type: ignore[attr-defined]
        change = b.arith("+", outer_before, _sum(f, header, address_words, inverted=False))
        _apply(f, transport, change, node, pseudo=True)
    return Py(None)


def _settled(f: Fn, struct: HeaderStruct, name: str, item: Item, node: ast.expr) -> Item:
    """Numbers are computed before anything is written."""
    path = struct.find(name)
    assert path is not None
    kind = struct.members[path[0]].type
    return item if isinstance(kind, Array) else Num(number(f, item, node))


def _apply(f: Fn, header: Ref, change: ir.Value, node: ast.Call, *, pseudo: bool) -> None:
    """Add a change to a header's checksum."""
    from .protocols import UDP, IPv4

    b, cls = f.b, _struct(header).cls
    optional = issubclass(cls, UDP)
    at, _ = _span(_struct(header), _FIELD)
    if not issubclass(cls, IPv4) and _by_helper(f, header, change, at, optional, pseudo, node):
        return
    place = _place(f, header, at, U16)
    old = b.cast(b.read(place), U64)
    end = b.new_block("summed")
    if optional:
        some = b.new_block("has a sum")
        b.branch(b.compare("!=", old, b.const(0, U64)), some, end)
        b.at(some)
    total = b.arith("+", change, b.arith("^", old, b.const(0xFFFF, U64)))
    new = b.arith("^", _fold(f, total), b.const(0xFFFF, U64))
    if optional:
        new = b.select(b.compare("==", new, b.const(0, U64)), b.const(0xFFFF, U64), new)
    b.write(place, new)
    b.jump(end)
    b.at(end)


def _by_helper(
    f: Fn, header: Ref, change: ir.Value, at: int, optional: bool, pseudo: bool, node: ast.Call
) -> bool:
    """In tc the card may yet have to make the sum, which the kernel's helper knows."""
    from ..items import Context
    from ..kinds.network import NetContext, packet_end
    from ..scope import PyVar
    from .methods import moved

    contexts = [v.item.obj for v in f.vars.values() if isinstance(v, PyVar) and isinstance(v.item, Context)]
    c = next((c for c in contexts if isinstance(c, NetContext)), None)
    if c is None or c.kind.context != "__sk_buff":
        return False
    b = f.b
    start = packet_end(b, c.kind, c.ctx, 0)
    offset = b.arith("-", b.recast(header.ptr, U64), b.recast(start, U64))
    for _ in range(2):
        low = b.arith("&", change, b.const(0xFFFFFFFF, U64))
        change = b.arith("+", low, b.arith(">>", change, b.const(32, U64)))
    flags = (_PSEUDO if pseudo else 0) | (_ZERO_IS_NONE if optional else 0)
    sum_at = b.arith("+", offset, b.const(at, U64))
    b.helper("l4_csum_replace", c.ctx, sum_at, b.const(0), change, b.const(flags))
    moved(f, c, "update")
    return True
