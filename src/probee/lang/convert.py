"""From what an expression evaluated to, to what its user needs: a number, a truth value, memory of a type."""

from __future__ import annotations

import ast
import enum
import types as python_types

from . import builtins, decl, ir
from .builder import PROBED
from .items import Closure, Context, Entry, Group, Item, Method, Num, Opt, Pointer, Py, Ref, TextCall
from .scope import Fn, is_none
from .types import BOOL, I64, U64, VOID, Array, Chars, Int, Kptr, Ptr, Space, Struct, Type, kernel_part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MIN, MAX, UMAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1


def describe(item: Item) -> str:
    """An item in words, for messages: "a number", "text", "the map runs"."""
    if isinstance(item, Num):
        return "a number"
    if isinstance(item, Pointer):
        return f"a pointer to {item.to!r}"
    if isinstance(item, Ref):
        if isinstance(item.type, Chars):
            return "text"
        kind = f"a reference to {item.type!r}"
        return f"{kind} or None" if item.maybe else kind
    if isinstance(item, Opt):
        return f"{describe(item.item)} or None"
    if isinstance(item, TextCall):
        return "text"
    if isinstance(item, Entry):
        return f"an entry of the map {item.map.name} ({item.type!r})"
    if isinstance(item, Context):
        return "the program's argument"
    if isinstance(item, Group):
        return "a tuple"
    if isinstance(item, Method):
        return f"the method {item.name}"
    if isinstance(item, Closure):
        return "a lambda" if item.name == "<lambda>" else f"the function {item.name}"
    assert isinstance(item, Py)
    return describe_object(item.obj)


def describe_object(obj: Any) -> str:
    if obj is None:
        return "None"
    if isinstance(obj, bool):
        return str(obj)
    if isinstance(obj, enum.Enum):
        return f"the enum member {obj}"
    if isinstance(obj, int):
        return f"the number {obj}"
    if isinstance(obj, float):
        return f"the float {obj!r}"
    if isinstance(obj, bytes):
        return f"{len(obj)} bytes"
    if isinstance(obj, str):
        return f"the text {obj!r}" if len(obj) < 30 else "text"
    if isinstance(obj, decl.RingBuf):
        return f"the ring buffer {obj.name}"
    if isinstance(obj, decl.MapDecl):
        return f"the map {obj.name}"
    if isinstance(obj, decl.Var):
        return f"the {type(obj).__name__} {obj.name}"
    if isinstance(obj, builtins.Builtin):
        return f"bp.{obj.name}"
    if isinstance(obj, decl.ProgramDecl):
        return f"the program {obj.name}"
    if isinstance(obj, python_types.ModuleType):
        return f"the module {obj.__name__}"
    if isinstance(obj, (decl.StructType, decl.ScalarType)):
        return f"the type {obj.__name__}"
    if isinstance(obj, (decl.CharType, decl.ArrayType)):
        return f"the type {obj!r}"
    if isinstance(obj, type):
        return f"the class {obj.__name__}"
    if callable(obj):
        return f"the function {getattr(obj, '__name__', repr(obj))}"
    return f"a Python {type(obj).__name__}"


# -- Python constants


def constant(item: Item) -> Any:
    """The Python number behind an item that is an untyped constant, else None."""
    if isinstance(item, Py) and isinstance(item.obj, int):
        return item.obj
    return None


def literal(f: Fn, value: int, node: ast.AST) -> ir.Const:
    """An untyped constant: `i64` if it fits, else `u64`."""
    if isinstance(value, bool):
        return f.b.const(int(value), BOOL)
    value = int(value)
    if MIN <= value <= MAX:
        return f.b.const(value, I64)
    if value <= UMAX and value > 0:
        return f.b.const(value, U64)
    f.fail(node, f"{value} does not fit into 64 bits", "numbers in programs are 64 bits wide")


# -- run-time values


def wrap(f: Fn, value: ir.Value) -> Item:
    """An item for a value that a hook or the builder gave."""
    if isinstance(value.type, Int):
        return Num(f.b.widen(value))
    assert isinstance(value.type, Ptr)
    if isinstance(value.type.to, (Chars, Array)) and value.type.to.size:
        return Ref(value)
    return Pointer(value)


def global_ref(f: Fn, var: decl.Var) -> ir.Value:
    return ir.GlobalRef(f.unit.var(var))


def refuse_maybe(f: Fn, item: Item, node: ast.AST) -> None:
    """Un-narrowed optionals are errors wherever a value is needed."""
    if isinstance(item, Opt):
        name = item.name
    elif isinstance(item, Ref) and item.maybe:
        name = item.maybe
    else:
        return
    if name.isidentifier():
        f.fail(node, f"{name} may be None here", f"test it first: `if {name} is None: return`")
    advice = "keep it in a local and test that with `is None`"
    if ".get(" in name:
        advice += ", or give a default: `m.get(k, 0)`"
    elif ".read(" in name:
        advice += ", or say what to return: `short=…`"
    f.fail(node, f"{name} may be None", advice)


def resolve(f: Fn, item: Item, node: ast.AST) -> Item:
    """A `Const` or `Global` used as a value becomes its value; a map entry is read."""
    if isinstance(item, Py) and isinstance(item.obj, decl.Var):
        if isinstance(item.obj, decl.Global):
            name = item.obj.name
            f.fail(node, f"{name} is a Global, not its value", f"write {name}.value")
        return var_value(f, item.obj)
    if isinstance(item, Entry):
        from . import mapops

        return mapops.read_entry(f, item, node)
    return item


def var_value(f: Fn, var: decl.Var) -> Item:
    ref = global_ref(f, var)
    assert isinstance(ref.type, Ptr)
    if isinstance(ref.type.to, Int):
        return Num(f.b.read(ref))
    if isinstance(ref.type.to, Ptr) and not isinstance(ref.type.to, Kptr):
        from .expr import known_pointer

        return known_pointer(f, f.b.read(ref))
    return Ref(ref, shared=isinstance(var, decl.Global))


def number(f: Fn, item: Item, node: ast.AST) -> ir.Value:
    """The item as an integer in flight."""
    item = resolve(f, item, node)
    if isinstance(item, Num):
        return item.v
    if isinstance(item, Py):
        obj = item.obj
        if isinstance(obj, int):
            return literal(f, obj, node)
        if isinstance(obj, float):
            f.fail(
                node,
                f"{obj!r} is a float, and the kernel has no floating point",
                "scale to an integer, for example microseconds instead of seconds",
            )
        if isinstance(obj, enum.Enum):
            f.fail(node, f"{obj} is not an integer", f"use {obj}.value, or derive the class from IntEnum")
    refuse_maybe(f, item, node)
    advice = ""
    if isinstance(item, Pointer):
        advice = "its address as a number is `u64(p)`; its fields are read with a dot"
    elif is_text_like(item):
        advice = "text can be assigned, compared, searched, measured with len(), and indexed"
        if isinstance(item, Py) and isinstance(item.obj, str) and item.obj.isdecimal():
            advice = f"write {int(item.obj)} without quotes"
        elif isinstance(item, Py) and isinstance(item.obj, str) and len(item.obj) == 1:
            advice = f"its number is ord({item.obj!r})"
    elif isinstance(item, Ref) and isinstance(item.type, Int):
        advice = "the number is `bp.deref(p)` or `p[0]`; `m.get(key)` and `m[key]` give it as it is"
    elif isinstance(item, Ref):
        advice = "use one of its fields"
    elif isinstance(item, Py) and isinstance(item.obj, builtins.Builtin):
        advice = f"call it: bp.{item.obj.name}()"
    elif isinstance(item, Py) and callable(item.obj) and not isinstance(item.obj, type):
        advice = "call it"
    elif isinstance(item, Py) and isinstance(item.obj, decl.MapDecl):
        advice = f"read an entry: {item.obj.name}[key]"
    f.fail(node, f"a number is needed here, and this is {describe(item)}", advice)


def integer(f: Fn, item: Item, type: Int, node: ast.AST) -> ir.Value:
    """The item as a number to be stored as `type`: 64 bits may keep the address in a pointer for later."""
    item = resolve(f, item, node)
    if isinstance(item, Pointer) and type.bits == 64:
        return f.b.recast(item.v, U64)
    return number(f, item, node)


def is_text_like(item: Item) -> bool:
    from .text import is_text

    return is_text(item)


def truth(f: Fn, item: Item, node: ast.AST) -> ir.Value:
    """Python's truth of the item, a `BOOL`."""
    if isinstance(item, Entry) and isinstance(item.type, (Struct, Array)):
        m = item.map.name
        f.fail(
            node,
            f"{describe(item)} is true even when it is missing: it reads as zeroes then",
            f"test whether the key is there, `if key in {m}`, or take a reference: `if e := {m}.get(key)`",
        )
    item = resolve(f, item, node)
    b = f.b
    if isinstance(item, Num):
        return b.truth(item.v)
    if isinstance(item, Pointer):
        return b.truth(item.v)
    if isinstance(item, Ref):
        if item.maybe:
            return b.truth(item.ptr)
        if isinstance(item.type, Chars):
            from . import text

            return text.nonempty(f, item, node)
        return b.const(1, BOOL)
    if isinstance(item, Opt):
        if isinstance(item.item, Num):
            return b.arith("&", item.present, b.truth(item.item.v))
        return item.present
    if isinstance(item, TextCall):
        from . import text

        return text.nonempty(f, item, node)
    if isinstance(item, Context):
        return b.const(1, BOOL)
    if isinstance(item, Py) and (
        item.obj is None or isinstance(item.obj, (int, str, bytes, tuple, list, dict, set, frozenset, range))
    ):
        return b.const(int(bool(item.obj)), BOOL)
    if isinstance(item, Py) and isinstance(item.obj, float):
        number(f, item, node)
    advice = ""
    if isinstance(item, Py) and callable(item.obj):
        advice = "call it"
    elif isinstance(item, Py) and isinstance(item.obj, decl.MapDecl):
        advice = "whether a key is in it: `if key in m`"
    f.fail(node, f"{describe(item)} has no truth value here", advice)


def address(f: Fn, item: Item) -> ir.Value | None:
    """The pointer behind a pointer or a reference that can't be None."""
    if isinstance(item, Pointer):
        return item.v
    if isinstance(item, Ref) and not item.maybe:
        return item.ptr
    return None


def far(type: Type) -> bool:
    """Memory that a program can't load from or hand to a helper as its own."""
    return isinstance(type, Ptr) and (type.space in PROBED or type.space in (Space.TRUSTED, Space.ARENA))


def arena(ptr: ir.Value) -> bool:
    """A place in an arena: all CPUs and Python see it."""
    return isinstance(ptr.type, Ptr) and ptr.type.space is Space.ARENA


def in_context(ptr: ir.Value) -> bool:
    """A place in the program's context, whose address helpers don't take."""
    return isinstance(ptr.type, Ptr) and ptr.type.space in (Space.CONTEXT, Space.CALLER)


def memory(f: Fn, item: Item, type: Type, node: ast.AST, role: str) -> ir.Value:
    """The address of memory that holds the item as `type`, for a helper to read."""
    b = f.b
    if isinstance(type, Int):
        value = integer(f, item, type, node)
        slot = f.temp(role, type)
        b.write(slot, value)
        return slot
    if isinstance(type, Chars):
        from . import text

        item = resolve(f, item, node)
        if (
            isinstance(item, Ref)
            and not item.maybe
            and item.type == type
            and not (far(item.ptr.type) or in_context(item.ptr))
        ):
            f.escape(item)
            return item.ptr
        slot = f.temp(role, type)
        text.store(f, slot, item, node)
        return slot
    item = resolve(f, item, node)
    refuse_maybe(f, item, node)
    if isinstance(item, Ref) and item.type == type:
        if far(item.ptr.type) or in_context(item.ptr):
            slot = f.temp(role, type)
            b.copy_into(slot, item.ptr)
            return slot
        f.escape(item)
        return item.ptr
    f.fail(node, f"{type!r} is needed here, and this is {describe(item)}", wanted(type))


def wanted(type: Type) -> str:
    if isinstance(type, Struct):
        return f"write {type.name}(…) with its fields, or use a local that holds one"
    return ""


def store(f: Fn, ptr: ir.Value, item: Item, node: ast.AST) -> None:
    """Write the item to memory that a program may write."""
    assert isinstance(ptr.type, Ptr)
    to = ptr.type.to
    if isinstance(to, Int):
        value = integer(f, item, to, node)
        f.b.write(ptr, f.b.truth(value) if to == BOOL else value)
    elif isinstance(to, Chars):
        from . import text

        text.store(f, ptr, resolve(f, item, node), node)
    elif isinstance(to, Kptr):
        from .services import kptrs

        kptrs.put(f, ptr, item, node)
    elif isinstance(to, Ptr):
        f.b.write(ptr, pointer(f, item, to, node))
    else:
        item = resolve(f, item, node)
        refuse_maybe(f, item, node)
        source = address(f, item)
        if isinstance(to, Array) and isinstance(to.elem, Int) and isinstance(item, Group):
            if len(item.items) > to.n:
                f.fail(node, f"{len(item.items)} elements do not fit into {to!r}")
            given = [integer(f, i, to.elem, node) for i in item.items]
            for i in range(to.n):
                f.b.write(f.b.index(ptr, i), given[i] if i < len(given) else f.b.const(0))
            return
        if (
            isinstance(to, Array)
            and isinstance(item, Py)
            and isinstance(item.obj, (tuple, list, bytes))
            and isinstance(to.elem, Int)
        ):
            values = list(item.obj)
            if len(values) > to.n:
                f.fail(node, f"{len(values)} elements do not fit into {to!r}")
            for i in range(to.n):
                value = number(f, Py(values[i] if i < len(values) else 0), node)
                f.b.write(f.b.index(ptr, i), value)
            return
        if source is not None and isinstance(source.type, Ptr):
            here = source.type.to
            same = here == to
            bytes_of = isinstance(to, Array) and isinstance(here, (Array, Chars)) and plain(here) == plain(to)
            if same or (bytes_of and here.size == to.size):
                refuse_kernel_part(f, to, node)
                f.escape(item)
                f.b.copy_into(ptr, f.b.recast(source, Ptr(to, source.type.space)))
                return
            if bytes_of:
                f.fail(node, f"{here!r} has another length than {to!r}")
        f.fail(node, f"{to!r} can't hold {describe(item)}", wanted(to))


def pointer(f: Fn, item: Item, type: Ptr, node: ast.AST) -> ir.Value:
    """The item as an address to be stored: a pointer, a reference to kernel memory, a number, None."""
    item = resolve(f, item, node)
    refuse_maybe(f, item, node)
    if is_none(item):
        return f.b.const(0)
    if type.space is Space.ARENA:
        return _into_arena(f, item, type, node)
    if isinstance(item, (Pointer, Ref)) and (found := address(f, item)) is not None:
        kind = found.type
        if isinstance(kind, Ptr) and kind.space is Space.ARENA:
            f.fail(
                node,
                f"{describe(item)} in the arena is not a pointer of the kernel's",
                "a field for it is written `bp.ArenaPtr[…]`",
            )
    if isinstance(item, Pointer):
        return item.v
    if isinstance(item, Ref):
        if not far(item.ptr.type):
            f.fail(
                node,
                f"{describe(item)} is memory of this program, which is gone when the pointer is used",
                "a Ptr field takes pointers into the kernel; copy the struct into a field of its own",
            )
        return item.ptr
    return number(f, item, node)


def _into_arena(f: Fn, item: Item, type: Ptr, node: ast.AST) -> ir.Value:
    """The item as a pointer into the arena."""
    value = address(f, item)
    kind = value.type if value is not None else None
    if value is None or not isinstance(kind, Ptr) or kind.space is not Space.ARENA:
        f.fail(
            node,
            f"a pointer into the arena is needed here, and this is {describe(item)}",
            "memory of the arena comes from alloc_pages(), or is a Global(…, arena=…); "
            "an address as a number is bp.cast(bp.ArenaPtr[Node], n)",
        )
    if VOID not in (type.to, kind.to) and kind.to != type.to:
        word = type.to.name if isinstance(type.to, Struct) else repr(type.to)
        f.fail(
            node,
            f"this pointer leads to a {type.to!r}, and {describe(item)} is assigned to it",
            f"write bp.cast({word}, p) if it is one",
        )
    return value


def plain(t: Type) -> Type | None:
    """The element type of an array or text."""
    if isinstance(t, Chars):
        return Int(8, False)
    if isinstance(t, Array):
        return Int(t.elem.bits, False) if isinstance(t.elem, Int) else t.elem
    return None


def common(f: Fn, choices: list[tuple[Item, ir.Value, ast.AST]]) -> Int:
    """The type for a choice between numbers: signed if all are, as in arithmetic.

    A negative constant keeps its value: beside it unsigned numbers become signed, and must surely fit.
    """
    unsigned = [v for _, v, _ in choices if isinstance(v.type, Int) and not v.type.signed and v.type != BOOL]
    if not unsigned:
        return I64
    for item, _, node in choices:
        value = constant(item)
        if value is not None and value < 0:
            if all(f.b.fits_signed(v) for v in unsigned):
                return I64
            f.fail(
                node,
                f"this is {value}, and another choice is an unsigned number of 64 bits: "
                "one type can't hold both",
                "write `i64(…)` around the unsigned one, or use a number that is not negative",
            )
    return U64


def refuse_kernel_part(f: Fn, type: Type, node: ast.AST) -> None:
    """A struct with a field that the kernel alone may touch is not copied."""
    if field := kernel_part(type):
        f.fail(
            node,
            f"a {type!r} can't be copied: its field {field} belongs to the kernel",
            "take a reference, `v = m.get(key)`, and use or assign its other fields",
        )


def check_none(f: Fn, item: Item, node: ast.AST) -> ir.Value:
    """`item is None` as a BOOL."""
    b = f.b
    if is_none(item):
        return b.const(1, BOOL)
    if isinstance(item, Opt):
        return b.not_(item.present)
    if isinstance(item, Pointer):
        return b.not_(item.v)
    if isinstance(item, Ref) and item.maybe:
        return b.not_(item.ptr)
    return b.const(0, BOOL)
