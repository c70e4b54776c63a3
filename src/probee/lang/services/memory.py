"""Memory that helpers and kernel functions read or write, given as variables, structs, arrays and text."""

from __future__ import annotations

from .. import decl, ir, text
from ..convert import describe, far, in_context, refuse_maybe, resolve
from ..items import Entry, Item, Num, Opt, Pointer, Py, Ref, TextCall
from ..scope import IntVar, is_none
from ..types import Chars, Int

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast

    from ..scope import Fn


class Buffer:
    """Memory of the program: its address, and its size if the type tells it (else 0)."""

    __slots__ = ("place", "size")

    def __init__(self, place: ir.Value, size: int) -> None:
        self.place = place
        self.size = size


def readable(f: Fn, item: Item, node: ast.AST, what: str, *, nul: bool = False) -> Buffer:
    """Memory to read. Numbers and what lies in the kernel are copied first; `nul`: text ends with NUL."""
    if isinstance(item, Py):
        if isinstance(item.obj, (str, bytes)):
            data = text.encode(f, item.obj, node)
            return Buffer(f.b.string(data), len(data) + nul)
        if isinstance(item.obj, decl.Global):
            return variable(f, item.obj)
    item = resolve(f, item, node)
    if isinstance(item, TextCall):
        slot = f.temp(what, Chars(item.size or text.LONGEST))
        text.store(f, slot, item, node)
        return Buffer(slot, slot.of.size)
    if isinstance(item, Num) or (isinstance(item, Py) and isinstance(item.obj, int)):
        from ..convert import number

        declared = _variable(f, item)
        value = number(f, item, node)
        assert isinstance(value.type, Int)
        kind = declared.type if declared is not None else value.type
        slot = f.temp(what, kind)
        f.b.write(slot, value)
        return Buffer(slot, kind.size)
    refuse_maybe(f, item, node)
    if isinstance(item, Ref):
        if not _apart(item.ptr):
            f.escape(item)
            return Buffer(item.ptr, item.type.size)
        if item.type.size:
            slot = f.temp(what, item.type)
            f.b.copy_into(slot, item.ptr)
            return Buffer(slot, item.type.size)
    if isinstance(item, Pointer) and not _apart(item.v):
        return Buffer(item.v, item.to.size)
    f.fail(node, f"{what} is memory to read, and this is {describe(item)}", _advice(item))


def writable(f: Fn, item: Item, node: ast.AST, what: str) -> Buffer:
    """Memory that is written: a local of its own, a struct, an array, text."""
    if isinstance(item, Py) and isinstance(item.obj, decl.Global):
        return variable(f, item.obj)
    if isinstance(item, Num) and (var := _variable(f, item)) is not None:
        assert item.origin is not None
        f.assigned(item.origin[0])
        f.live.known.add(item.origin[0])
        return Buffer(var.slot, var.type.size)
    if isinstance(item, (Num, TextCall)) or (isinstance(item, Py) and not is_none(item)):
        f.fail(
            node,
            f"{what} is memory to write to, and this is {describe(item)}",
            "give it a local: `value = u64(0)` before, or a struct, an array, a Char[n]",
        )
    if isinstance(item, Entry):
        f.fail(
            node,
            f"{what} is memory to write to, and {describe(item)} may not be there",
            f"write `if e := {item.map.name}.get(key):` and give it e, or a part of it",
        )
    refuse_maybe(f, item, node)
    if isinstance(item, Ref) and not _apart(item.ptr):
        f.escape(item)
        return Buffer(item.ptr, item.type.size)
    if isinstance(item, Pointer) and not _apart(item.v):
        return Buffer(item.v, item.to.size)
    f.fail(node, f"{what} is memory to write to, and this is {describe(item)}", _advice(item))


def variable(f: Fn, var: decl.Global) -> Buffer:
    ref = ir.GlobalRef(f.unit.var(var))
    return Buffer(ref, ref.var.type.size)


def _apart(ptr: ir.Value) -> bool:
    """Memory that helpers take no address of: the kernel's, the user's, the context."""
    return far(ptr.type) or in_context(ptr)


def _variable(f: Fn, item: Item) -> IntVar | None:
    """The local that a number was read from just now."""
    if isinstance(item, Num) and item.origin is not None:
        name, version = item.origin
        var = f.vars.get(name)
        if isinstance(var, IntVar) and f.versions.get(name) == version:
            return var
    return None


def _advice(item: Item) -> str:
    if isinstance(item, (Ref, Pointer)):
        return "copy it into a struct or array of the program first"
    if isinstance(item, Opt):
        return "test it with `is None` first"
    return "use a local, a struct, an array such as u8[16], or a Char[n]"
