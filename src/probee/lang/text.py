"""Text: `Char[n]` fields and locals, strings of the kernel and of user memory, literals.

Every byte of a `Char[n]` is defined: behind the NUL there are zeroes. So texts are fit to be map keys.
"""

from __future__ import annotations

import ast

from . import decl, ir
from .convert import describe, far, number, refuse_maybe, resolve
from .items import Entry, Item, Num, Pointer, Py, Ref, TextCall
from .scope import Fn
from .types import BOOL, I64, U8, Array, Chars, Int, Ptr, Space, Struct, Type

LONGEST = 256  # bytes of a string whose size nothing else says


def is_text(item: Item) -> bool:
    if isinstance(item, TextCall):
        return True
    if isinstance(item, Py):
        if isinstance(item.obj, decl.Const):
            return isinstance(item.obj.type, decl.CharType)
        return isinstance(item.obj, (str, bytes))
    if isinstance(item, Ref):
        return not item.maybe and isinstance(item.type, Chars)
    if isinstance(item, Pointer):
        return isinstance(item.to, Chars) or (isinstance(item.to, Int) and item.to.bits == 8)
    return isinstance(item, Entry) and isinstance(item.type, Chars)


def encode(f: Fn, value: str | bytes, node: ast.AST) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    if b"\0" in data:
        f.fail(node, "text ends at its first NUL, and this literal has one inside")
    return data


def store(f: Fn, dst: ir.Value, item: Item, node: ast.AST) -> None:
    """Write text to a `Chars`: cut to its size, zeroes behind."""
    b = f.b
    assert isinstance(dst.type, Ptr)
    to = dst.type.to
    assert isinstance(to, Chars)
    item = resolve(f, item, node)
    refuse_maybe(f, item, node)
    if dst.type.space is Space.ARENA and (isinstance(item, TextCall) or not _direct(item)):
        slot = f.temp("text for the arena", to)  # helpers don't write there
        store(f, slot, item, node)
        b.copy(dst, slot, to.n)
    elif isinstance(item, TextCall):
        item.fill(dst)
    elif isinstance(item, Py) and isinstance(item.obj, (str, bytes)):
        data = encode(f, item.obj, node)
        if len(data) > to.n:
            f.fail(node, f"{item.obj!r} has {len(data)} bytes and does not fit into {to!r}")
        _store_bytes(f, dst, data, to.n)
    elif isinstance(item, Ref) and isinstance(item.type, (Chars, Array)) and is_bytes(item.type):
        f.escape(item)
        if far(item.ptr.type) or isinstance(item.type, Array):
            b.copy_into(dst, item.ptr)
        elif item.type.size > to.n:
            b.copy(dst, item.ptr, to.n)
        else:
            b.copy_into(dst, item.ptr)
    elif isinstance(item, Pointer) and (is_text(item) or is_bytes(item.to)):
        b.copy_into(dst, item.v)
    else:
        advice = ""
        if isinstance(item, Num):
            advice = "if it is the address of a string, write bp.user_str(address) or bp.kernel_str(address)"
        elif isinstance(item, Pointer):
            advice = "if it points to a string, write bp.kernel_str(p) or bp.user_str(p)"
        f.fail(node, f"text is needed here, and this is {describe(item)}", advice)


def _direct(item: Item) -> bool:
    """Can the program itself copy it?"""
    if isinstance(item, (Ref, Pointer)):
        ptr = item.ptr if isinstance(item, Ref) else item.v
        assert isinstance(ptr.type, Ptr)
        return not far(ptr.type) or ptr.type.space is Space.ARENA
    return isinstance(item, Py)


def _store_bytes(f: Fn, dst: ir.Value, data: bytes, size: int) -> None:
    """Write known bytes and zeroes behind them, by words as wide as the place allows."""
    b = f.b
    assert isinstance(dst.type, Ptr)
    step, at = alignment(dst), 0
    while at < len(data):
        width = step
        while at + width > size:
            width //= 2
        word = Int(width * 8, False)
        value = int.from_bytes(data[at : at + width].ljust(width, b"\0"), "little")
        b.store(b.offset(dst, at, Ptr(word, dst.type.space)), b.const(value, word))
        at += width
    if at < size:
        b.zero(b.offset(dst, at), size - at)


def is_bytes(t: Type) -> bool:
    return isinstance(t, Chars) or (isinstance(t, Array) and isinstance(t.elem, Int) and t.elem.bits == 8)


def direct(f: Fn, item: Item, node: ast.AST, role: str) -> Ref:
    """The text in memory that the program may read byte by byte."""
    item = resolve(f, item, node)
    refuse_maybe(f, item, node)
    if isinstance(item, Ref) and isinstance(item.type, Chars) and not far(item.ptr.type):
        return item
    if isinstance(item, Py) and isinstance(item.obj, (str, bytes)):
        return Ref(f.b.string(encode(f, item.obj, node)))
    size = 0
    if isinstance(item, TextCall):
        size = item.size
    elif isinstance(item, Ref):
        size = item.type.size
    elif isinstance(item, Pointer):
        size = item.to.size if is_bytes(item.to) else 0
    slot = f.temp(role, Chars(size or LONGEST))
    store(f, slot, item, node)
    return Ref(slot)


def nonempty(f: Fn, item: Item, node: ast.AST) -> ir.Value:
    """Is there a first character?"""
    text = direct(f, item, node, "text")
    f.live.use(text.fresh, text.offset, 1)
    return f.b.truth(f.b.read(f.b.index(text.ptr, 0)))


def equal(f: Fn, left: Item, right: Item, node: ast.AST) -> ir.Value:
    """Are the texts the same up to their ends? A BOOL."""
    if isinstance(left, Py) and isinstance(left.obj, (str, bytes)):
        left, right = right, left
    if isinstance(left, Py) and isinstance(left.obj, (str, bytes)):
        assert isinstance(right, Py)
        return f.b.const(int(encode(f, left.obj, node) == encode(f, right.obj, node)), BOOL)
    a = direct(f, left, node, "text")
    if isinstance(right, Py) and isinstance(right.obj, (str, bytes)):
        return starts_with(f, a, encode(f, right.obj, node), whole=True)
    b = direct(f, right, node, "other text")
    f.escape(a)
    f.escape(b)
    return _equal_bytes(f, a.ptr, b.ptr)


def starts_with(f: Fn, text: Ref, data: bytes, *, whole: bool) -> ir.Value:
    """Does the text begin with the bytes (and end there, if `whole`)? Compared by words."""
    b = f.b
    assert isinstance(text.type, Chars)
    n = text.type.n
    if len(data) > n:
        return b.const(0, BOOL)
    if whole and len(data) < n:
        data += b"\0"
    if not data:
        return b.const(1, BOOL)
    f.live.use(text.fresh, text.offset, len(data))
    step = alignment(text.ptr)
    at = 0
    differs: ir.Value | None = None
    while at < len(data):
        width = 8
        while width > len(data) - at or at % width or width > step:
            width //= 2
        word = Int(width * 8, False)
        assert isinstance(text.ptr.type, Ptr)
        place = b.offset(text.ptr, at, Ptr(word, text.ptr.type.space))
        want = int.from_bytes(data[at : at + width], "little")
        loaded = b.widen(b.load(place))
        assert isinstance(loaded.type, Int)
        here = b.binary("xor", loaded, b.const(want, loaded.type))
        differs = here if differs is None else b.binary("or", differs, here)
        at += width
    assert differs is not None
    return b.not_(differs)


def _equal_bytes(f: Fn, left: ir.Value, right: ir.Value) -> ir.Value:
    """A loop over the bytes of two texts, up to the first NUL."""
    b = f.b
    assert isinstance(left.type, Ptr)
    assert isinstance(right.type, Ptr)
    if left.type.to.size > right.type.to.size:
        left, right = right, left
    assert isinstance(left.type, Ptr)
    assert isinstance(right.type, Ptr)
    shorter, longer = left.type.to.size, right.type.to.size
    i, result = b.local("i", I64), b.local("same", BOOL)
    loop, more, follow, end = (b.new_block(n) for n in ("texts", "texts equal", "texts next", "texts end"))
    b.store(i, b.const(0))
    b.store(result, b.const(1, BOOL))
    b.jump(loop)
    b.at(loop)
    at = b.load(i)
    x = b.load(b.index(left, at))
    y = b.load(b.index(right, at))
    unequal = b.new_block("texts differ")
    b.branch(b.compare("==", x, y), more, unequal)
    b.at(unequal)
    b.store(result, b.const(0, BOOL))
    b.jump(end)
    b.at(more)
    b.branch(b.truth(x), follow, end)
    b.at(follow)
    b.store(i, b.arith("+", at, b.const(1)))
    last = b.new_block("texts cut") if longer > shorter else end
    b.branch(b.compare("<", b.load(i), b.const(shorter)), loop, last)
    if longer > shorter:
        b.at(last)
        b.store(result, b.not_(b.load(b.index(right, shorter))))
        b.jump(end)
    b.at(end)
    return b.load(result)


def length(f: Fn, item: Item, node: ast.AST) -> ir.Value:
    """len(text): bytes before the NUL."""
    b = f.b
    text = direct(f, item, node, "text")
    f.escape(text)
    size = text.type.size
    n = b.local("length", I64)
    loop, follow, end = (b.new_block(x) for x in ("len", "len next", "len end"))
    b.store(n, b.const(0))
    b.jump(loop)
    b.at(loop)
    at = b.load(n)
    b.branch(b.truth(b.load(b.index(text.ptr, at))), follow, end)
    b.at(follow)
    b.store(n, b.arith("+", at, b.const(1)))
    b.branch(b.compare("<", b.load(n), b.const(size)), loop, end)
    b.at(end)
    return b.load(n)


def alignment(v: ir.Value) -> int:
    """What an address is surely a multiple of: 1, 2, 4 or 8."""
    from .scope import natural

    if isinstance(v, ir.Local):
        return 8 if v.of.size >= 8 else natural(v.of)
    if isinstance(v, ir.GlobalRef):
        return 8 if v.var.type.size >= 8 else natural(v.var.type)
    if isinstance(v, ir.FieldAddr) and not v.struct.core:
        offset = v.struct.members[v.index].bit_offset // 8
        return _gcd(alignment(v.base), offset)
    if isinstance(v, ir.ElemAddr):
        assert isinstance(v.type, Ptr)
        step = v.type.to.size * (v.index.value if isinstance(v.index, ir.Const) else 1)
        return _gcd(alignment(v.base), step)
    if isinstance(v, ir.Recast) and isinstance(v.value.type, Ptr):
        return alignment(v.value)
    assert isinstance(v.type, Ptr)
    if isinstance(v, ir.Helper) and v.type.space in (Space.MAP, Space.RECORD):
        return 8
    return natural(v.type.to) if not isinstance(v.type.to, Struct) or not v.type.to.core else 1


def _gcd(a: int, offset: int) -> int:
    while offset % a:
        a //= 2
    return a


def from_address(f: Fn, item: Item, node: ast.AST, space: Space, name: str) -> TextCall:
    """`user_str(p)`, `kernel_str(p)`: `p` is an address or a pointer."""
    b = f.b
    if isinstance(item, (Pointer, Ref)):
        refuse_maybe(f, item, node)
        ptr = item.v if isinstance(item, Pointer) else item.ptr
        size = item.type.size if isinstance(item, Ref) else 0
    else:
        ptr, size = number(f, item, node), 0
    ptr = b.recast(ptr, Ptr(U8, space))

    def fill(dst: ir.Value) -> None:
        b.copy_into(dst, ptr)

    return TextCall(name, size, fill)


def comm(f: Fn) -> TextCall:
    """The helper pads with zeroes to the size it is given."""

    def fill(dst: ir.Value) -> None:
        assert isinstance(dst.type, Ptr)
        f.b.helper("get_current_comm", dst, f.b.const(dst.type.to.size))

    return TextCall("comm()", 16, fill)
