"""Expressions."""

from __future__ import annotations

import ast
import enum
import operator
import types as python_types

from ..errors import CompileError
from . import callbacks, calls, cond, decl, diag, ir, mapkinds, mapops, same, strings, text
from .bounds import surely
from .convert import (
    MIN,
    UMAX,
    arena,
    constant,
    describe,
    describe_object,
    is_text_like,
    number,
    refuse_maybe,
    resolve,
    var_value,
)
from .decl.arenas import ArenaPtr
from .decl.queues import BloomFilter
from .items import Context, Entry, Group, Item, Kept, Method, Num, Pointer, Py, Ref, TextCall
from .packets import addresses
from .packets.wire import METHODS, HeaderStruct
from .scope import Fn, is_none
from .types import BOOL, VOID, Array, Chars, Int, Kptr, Ptr, Space, Special, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

OPS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.Div: "/",
    ast.Pow: "**",
    ast.MatMult: "@",
}
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "**": operator.pow,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
SWAPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

_REFUSED: dict[type[ast.expr], tuple[str, str]] = {
    ast.ListComp: ("there are no lists in the kernel", "write a `for` loop, or keep the values in a map"),
    ast.SetComp: ("there are no sets in the kernel", "write a `for` loop, or keep the values in a Hash map"),
    ast.DictComp: (
        "there are no dicts in the kernel",
        "write a `for` loop, or keep the values in a Hash map",
    ),
    ast.GeneratorExp: ("there are no generators in the kernel", "write a `for` loop"),
    ast.List: (
        "there are no lists in the kernel",
        "use a struct with an array field, or an Array map; a tuple can be assigned to an array field",
    ),
    ast.Set: ("there are no sets in the kernel", "use a Hash map; for a test, `x in (1, 2, 3)`"),
    ast.Dict: ("there are no dicts in the kernel", "use a Hash map declared in the module"),
    ast.Await: ("a program can't await", "it runs to its end when its hook fires"),
    ast.Yield: ("a program can't yield", "send values with a ring buffer: `with rb.reserve() as e:`"),
    ast.YieldFrom: ("a program can't yield", "send values with a ring buffer: `with rb.reserve() as e:`"),
    ast.Starred: ("`*` can't unpack here", "write the values one by one"),
    **dict.fromkeys(
        [getattr(ast, name) for name in ("TemplateStr",) if hasattr(ast, name)],
        ("template strings are not supported", "print() takes an f-string"),
    ),
    ast.Slice: ("a slice stands in brackets only", ""),
}


def evaluate(f: Fn, node: ast.expr) -> Item:
    """The value of an expression; what it emits carries its place."""
    handler = _HANDLERS.get(type(node))
    if handler is None:
        message, advice = _REFUSED.get(
            type(node), (f"{type(node).__name__} expressions are not part of the language", "")
        )
        f.fail(node, message, advice)
    before = f.b.loc
    f.b.loc = f.loc(node)
    try:
        return handler(f, node)
    finally:
        f.b.loc = before


def _constant(f: Fn, node: ast.Constant) -> Item:
    value = node.value
    if isinstance(value, float):
        f.fail(
            node,
            f"{value!r} is a float, and the kernel has no floating point",
            f"write {int(value)}"
            if value.is_integer()
            else "scale to an integer, for example microseconds instead of seconds",
        )
    if isinstance(value, int) and not MIN <= value <= UMAX:
        shown = value if abs(value) < 1 << 80 else "the number"
        f.fail(node, f"{shown} does not fit into 64 bits", "use two numbers, or a u8[n] field")
    if isinstance(value, complex):
        f.fail(node, "there are no complex numbers in the kernel", "use integers")
    if value is ...:
        f.fail(node, "`...` is not a value here", "write `pass` for an empty body")
    return Py(value)


def _name(f: Fn, node: ast.Name) -> Item:
    if node.id in f.local_names or node.id in f.outer_names:
        return f.read_local(node.id, node)
    return Py(f.lookup(node.id, node))


# -- attributes


def _attribute(f: Fn, node: ast.Attribute) -> Item:
    return attribute(f, evaluate(f, node.value), node.attr, node)


def attribute(f: Fn, base: Item, name: str, node: ast.expr) -> Item:
    """`base.name`."""
    base = mapkinds.as_map(f, base, node)
    if isinstance(base, Py):
        return _python_attribute(f, base.obj, name, node)
    if isinstance(base, Context):
        return wrap_context(f, base, name, node)
    if isinstance(base, Entry):
        if isinstance(base.type, Struct):
            type = field_type(f, base.type, name, node)
            entry = Entry(base.map, base.key, type, (*base.path, name))
            return mapops.read_entry(f, entry, node) if isinstance(type, Int) else entry
        if isinstance(base.type, Chars):
            return Method(base, name)
    if isinstance(base, Kept) and name in ("take", "swap"):
        return Method(base, name)
    refuse_maybe(f, base, node)
    if isinstance(base, Ref) and isinstance(base.type, (Chars, Special)):
        return Method(base, name)
    if isinstance(base, TextCall):
        return Method(base, name)
    if isinstance(base, Ref) and isinstance(base.type, HeaderStruct) and name in METHODS:
        return Method(base, name)
    if isinstance(base, (Ref, Pointer)):
        return field(f, base, name, node)
    if isinstance(base, Num):
        f.fail(node, f"a number has no attribute {name}", _NUMBER_METHODS.get(name, ""))
    f.fail(node, f"{describe(base)} has no attribute {name}")


def wrap_context(f: Fn, base: Context, name: str, node: ast.expr) -> Item:
    if name in base.obj.methods:
        return Method(base, name)
    with f.placed(node):
        return base.obj.item(f, name, node)


def field_type(f: Fn, struct: Struct, name: str, node: ast.AST) -> Type:
    path = struct.find(name)
    if path is None:
        names = struct.names()
        advice = diag.nearest(name, names)
        if not advice and names:
            advice = f"it has {', '.join(names[:8])}{'…' if len(names) > 8 else ''}"
        f.fail(node, f"{struct!r} has no field {name!r}", advice)
    type: Type = struct
    for index in path:
        assert isinstance(type, Struct)
        type = type.members[index].type
    return type


def field_offset(struct: Struct, name: str) -> int:
    offset = 0
    type: Type = struct
    for index in struct.find(name) or ():
        assert isinstance(type, Struct)
        member = type.members[index]
        offset += member.bit_offset // 8
        type = member.type
    return offset


def field_place(f: Fn, base: Ref | Pointer, name: str, node: ast.AST) -> Ref:
    """The address of a field, whatever its type."""
    ptr = base.ptr if isinstance(base, Ref) else base.v
    to = base.type if isinstance(base, Ref) else base.to
    if not isinstance(to, Struct):
        advice = ""
        if to is VOID:
            advice = 'say what it points to: bp.cast("struct name", p)'
        f.fail(node, f"{describe(base)} has no field {name!r}", advice)
    field_type(f, to, name, node)
    place = f.b.field(ptr, name)
    assert place is not None
    if isinstance(base, Ref):
        fresh, offset = base.fresh, base.offset
        if fresh is not None:
            offset += field_offset(to, name)
        return Ref(place, shared=base.shared, fresh=fresh, offset=offset, origin=base.origin)
    return Ref(place, shared=arena(base.v))


def field(f: Fn, base: Ref | Pointer, name: str, node: ast.AST) -> Item:
    """The value of a field."""
    return read_place(f, field_place(f, base, name, node))


def read_place(f: Fn, place: Ref) -> Item:
    """What lies at an address: a number or pointer is read; a struct, array or text is its own reference."""
    if isinstance(place.type, (Struct, Array, Chars)) or place.type is VOID:
        return place
    mapops.touch(f, place)
    f.live.use(place.fresh, place.offset, place.type.size)
    if isinstance(place.type, Kptr):
        from .services import kptrs

        return kptrs.read(f, place.ptr)
    value = f.b.read(place.ptr)
    return Num(value) if isinstance(value.type, Int) else known_pointer(f, value)


def known_pointer(f: Fn, value: ir.Value) -> Pointer:
    """A pointer; one to a kernel struct that is known by name only gets the kernel's own type."""
    assert isinstance(value.type, Ptr)
    to = value.type.to
    if value.type.space is Space.ARENA:
        in_arena(f)
    if isinstance(to, Struct) and to.core and not to.size and not to.members:
        found = f.unit.ktypes.find(f"{'union' if to.union else 'struct'} {to.name}")
        if found is not None and found is not to:
            return Pointer(f.b.recast(value, Ptr(found, value.type.space)))
    return Pointer(value)


def in_arena(f: Fn) -> None:
    """A pointer into the module's arena is in use: its programs have to name the arena."""
    if f.unit.into_arena is None:
        f.unit.into_arena = (f.source, f.b.loc)


_STATIC = (python_types.ModuleType, type, enum.Enum)
_CONTAINERS = (list, dict, set, frozenset, tuple)
_NUMBER_METHODS = {
    "bit_length": "write `bp.log2(n) + 1`",
    "to_bytes": "assign the number to a field of the width you need",
    "value": "it is the value already",
    "bit_count": "add in a loop: `for i in bp.bits(n):`",
}


def _python_attribute(f: Fn, obj: Any, name: str, node: ast.expr) -> Item:
    if isinstance(obj, decl.MapDecl):
        own = mapkinds.methods(obj)
        if name in mapops.METHODS or name in mapkinds.NAMES:
            return Method(Py(obj), name)
        if name == "max_entries":
            return Py(obj.max_entries)
        known = mapops.METHODS if own is None else own
        advice = diag.nearest(name, sorted(known)) or f"in a program it has {', '.join(sorted(known))}"
        if name in ("items", "keys", "values") and own is None:
            advice = f"call a function for each entry: `bp.for_each_map_elem({obj.name}, visit)`"
        f.fail(node, f"{describe_object(obj)} has no {name!r} in a program", advice)
    if isinstance(obj, decl.Var):
        if name == "value":
            return var_value(f, obj)
        if isinstance(obj, decl.Const):
            value = var_value(f, obj)
            if isinstance(value, Ref) and isinstance(value.type, Struct):
                return field(f, value, name, node)
        f.fail(node, f"{describe_object(obj)} has no attribute {name!r}", f"write {obj.name}.value")
    if isinstance(obj, (str, bytes)):
        f.fail(node, f"text has no method {name} here", "do it in Python, before or after the program runs")
    if isinstance(obj, decl.StructType) and any(m.name == name for m in obj._fields_):
        f.fail(node, f"{obj.__name__}.{name} is a field of every {obj.__name__}", "take it from a value")
    if isinstance(obj, _STATIC):
        try:
            return Py(f.named(getattr(obj, name), name))
        except AttributeError:
            names = [n for n in dir(obj) if not n.startswith("_")]
            advice = diag.nearest(name, names)
            if not advice and isinstance(obj, type) and issubclass(obj, enum.Enum):
                advice = f"it has {', '.join(obj.__members__)}"
            f.fail(node, f"{describe_object(obj)} has no attribute {name!r}", advice)
    if obj is None:
        f.fail(node, f"None has no attribute {name!r}")
    if isinstance(obj, _CONTAINERS):
        f.fail(
            node,
            f"{describe_object(obj)} is not in the kernel, and has no {name!r} there",
            "keep values in a map; Python that runs while the program is compiled stands in bp.static(…)",
        )
    if isinstance(obj, python_types.MethodType | python_types.FunctionType):
        f.fail(node, f"{describe_object(obj)} has no attribute {name!r} in a program", "call it")
    if isinstance(obj, decl.ProgramDecl):
        f.fail(node, f"{describe_object(obj)} has no attributes in a program")
    if isinstance(obj, int) and not isinstance(obj, bool):
        f.fail(node, f"a number has no attribute {name!r}")
    f.fail(
        node,
        f"attributes of {describe_object(obj)} are not constants",
        "put the value into a module-level name, or into a bp.Const to change it between runs",
    )


# -- subscripts


def _subscript(f: Fn, node: ast.Subscript) -> Item:
    base = mapkinds.as_map(f, evaluate(f, node.value), node)
    if isinstance(node.slice, ast.Slice):
        return strings.cut(f, base, node.slice)
    if isinstance(base, Py) and isinstance(base.obj, decl.MapDecl):
        return mapops.subscript(f, base.obj, key_item(f, node.slice), node)
    index = evaluate(f, node.slice)
    if is_kernel(base) and isinstance(index, Py) and isinstance(index.obj, str):
        return Py(KernelType(index.obj))
    if isinstance(base, Py) and isinstance(base.obj, type) and issubclass(base.obj, decl.MapDecl | decl.Var):
        f.fail(
            node,
            f"a {base.obj.__name__} can't be made while a program runs",
            "declare it in the module, outside of all functions",
        )
    if isinstance(base, Py) and isinstance(base.obj, _INDEXED_TYPES) and not isinstance(index, Py):
        f.fail(node, "the length of an array or text is known at compile time", "write a constant")
    if isinstance(base, Py) and isinstance(base.obj, _INDEXED_TYPES) and isinstance(index, Py):
        try:
            return Py(base.obj[index.obj])
        except (CompileError, TypeError) as e:
            f.fail(node, e.message if isinstance(e, CompileError) else str(e), "the length is a number")
    return element(f, base, index, node)


_INDEXED_TYPES = (
    decl.ScalarType,
    decl.StructType,
    decl.CharType,
    decl.ArrayType,
    type(decl.Char),
    type(ArenaPtr),
)


def is_kernel(item: Item) -> bool:
    """`bp.kernel`, whose elements are the kernel's types."""
    return isinstance(item, Py) and getattr(item.obj, "__name__", "") == "probee.kernel"


class KernelType:
    """`bp.kernel["task_struct"]`: a type of the running kernel, for annotations and `cast`."""

    __slots__ = ("kernel_name",)

    def __init__(self, name: str) -> None:
        self.kernel_name = name


def key_item(f: Fn, node: ast.expr) -> Item:
    """The key of a map: as it is, so that a slot that already holds it can be found."""
    return evaluate(f, node)


def element(f: Fn, base: Item, index: Item, node: ast.AST) -> Item:
    """`base[index]`."""
    if isinstance(base, Py) and isinstance(base.obj, (tuple, list, str, bytes, range, dict)):
        return _constant_element(f, base.obj, index, node)
    if isinstance(base, Py) and isinstance(base.obj, decl.Const):
        base = var_value(f, base.obj)
    if isinstance(base, Entry) and isinstance(base.type, (Array, Chars)):
        elem = base.type.elem if isinstance(base.type, Array) else Int(8, False)
        entry = Entry(base.map, base.key, elem, (*base.path, Num(number(f, index, node))))
        return mapops.read_entry(f, entry, node) if isinstance(elem, Int) else entry
    refuse_maybe(f, base, node)
    if isinstance(base, TextCall):
        base = text.direct(f, base, node, "text")
    if isinstance(base, Pointer):
        if base.to is VOID:
            f.fail(node, "this pointer does not say what it points to", 'write bp.cast("struct name", p)')
        there = f.b.index(base.v, number(f, index, node))
        if arena(there) and isinstance(base.to, Struct):
            return Pointer(there)
        return read_place(f, Ref(there, shared=arena(there)))
    if isinstance(base, Ref) and isinstance(base.type, (Int, Ptr)):
        return read_place(f, only(f, base, index, node))
    if isinstance(base, Ref) and isinstance(base.type, (Array, Chars)):
        place, inside = elem_place(f, base, index, node)
        if inside is None:
            return read_place(f, place)
        if not isinstance(place.type, (Int, Ptr)):
            return place
        return guarded(f, place, inside)
    f.fail(
        node,
        f"{describe(base)} can't be indexed",
        "test bits with & and >>"
        if isinstance(base, Num)
        else "read headers, `pkt.read(Ethernet)`, or bytes, `pkt.load(offset, u8)`"
        if isinstance(base, Context) and "read" in base.obj.methods
        else "",
    )


def only(f: Fn, base: Ref, index: Item, node: ast.AST) -> Ref:
    """`p[0]` of a reference to a number, such as a helper gives: there is one."""
    if constant(index) != 0:
        f.fail(node, f"{describe(base)} leads to one number", "it is p[0]")
    return base


def guarded(f: Fn, place: Ref, inside: ir.Value) -> Item:
    """The element if the index is inside the array, else 0."""
    b = f.b
    f.live.use(place.fresh, place.offset, 0)
    assert isinstance(place.type, (Int, Ptr))
    yes, end = b.new_block("inside"), b.new_block("element")
    before = b.block
    b.branch(inside, yes, end)
    b.at(yes)
    item = read_place(f, place)
    value = item.v if isinstance(item, (Num, Pointer)) else place.ptr
    slot = b.local("element", value.type)
    b.store(slot, value)
    b.jump(end)
    # the zero for the other way goes before the branch
    zero = ir.Store(slot, ir.Const(value.type, 0))
    zero.loc = b.loc
    before.ops.insert(len(before.ops) - 1, zero)
    b.at(end)
    result = b.load(slot)
    return Num(result) if isinstance(item, Num) else Pointer(result)


def elem_place(f: Fn, base: Ref, index: Item, node: ast.AST) -> tuple[Ref, ir.Value | None]:
    """The address of an element, and whether the index is inside if that is only known at run time."""
    b = f.b
    of = base.type
    assert isinstance(of, (Array, Chars))
    size = of.elem.size if isinstance(of, Array) else 1
    at = constant(index)
    value = number(f, index, node)
    if at is None and isinstance(value, ir.Const):
        at = value.value
    if at is not None:
        if of.n:
            if not -of.n <= at < of.n:
                f.fail(node, f"index {at} is outside of {of!r}")
            at %= of.n
        elif at < 0:
            f.fail(node, f"index {at} is outside of {of!r}")
        place = b.index(base.ptr, int(at))
        offset = base.offset + size * int(at)
        return Ref(place, shared=base.shared, fresh=base.fresh, offset=offset, origin=base.origin), None
    f.escape(base)
    inside = None
    if of.n:
        as_unsigned = b.cast(_masked(f, value), Int(64, False))
        inside = b.compare("<", as_unsigned, b.const(of.n, Int(64, False)))
        known = isinstance(inside, ir.Compare) and surely(inside, f.intervals)
        value = as_unsigned if known else b.summed(as_unsigned)
    return Ref(b.index(base.ptr, value), shared=base.shared, origin=base.origin), inside


def _masked(f: Fn, value: ir.Value) -> ir.Value:
    """An index `i & 7` keeps its mask, even where LLVM knows more of `i` than the verifier will."""
    if isinstance(value, ir.Cast) and isinstance(value.type, Int):
        inner = _masked(f, value.value)
        return f.b.cast(inner, value.type) if inner is not value.value else value
    if not (isinstance(value, ir.Binary) and value.op == "and" and isinstance(value.b, ir.Const)):
        return value
    hidden = f.b.emit(ir.Opaque(value.a, value.a.type))
    out = f.b.binary("and", hidden, value.b)
    if value in f.intervals:
        f.intervals[out] = f.intervals[value]
    return out


def _constant_element(f: Fn, obj: Any, index: Item, node: ast.AST) -> Item:
    if not isinstance(index, Py) or isinstance(index.obj, decl.Var):
        f.fail(
            node,
            f"{describe_object(obj)} can be indexed with a constant only",
            "keep the values in an Array or Hash map, or test with `in`",
        )
    try:
        return Py(obj[index.obj])
    except (LookupError, TypeError) as e:
        f.fail(
            node,
            f"{describe_object(obj)} has no element {index.obj!r}",
            str(e) if isinstance(e, TypeError) else "",
        )


# -- operators


def _binop(f: Fn, node: ast.BinOp) -> Item:
    left, right = evaluate(f, node.left), evaluate(f, node.right)
    return binary(f, OPS[type(node.op)], left, right, node)


def binary(f: Fn, op: str, left: Item, right: Item, node: ast.AST) -> Item:
    """`left op right`. Constants are computed exactly, as Python does; the rest in 64 bits."""
    if op == "/":
        f.fail(
            node, "`/` gives a float, and the kernel has no floating point", "write `//`, which rounds down"
        )
    if op == "@":
        f.fail(node, "there is no matrix multiplication in the kernel", "multiply in a loop, with `*`")
    for side in (left, right):
        if isinstance(side, Group):
            f.fail(node, "tuples can't be computed with", "")
    a, b = constant(left), constant(right)
    if op == "+" and all(isinstance(side, Py) and isinstance(side.obj, str) for side in (left, right)):
        assert isinstance(left, Py)
        assert isinstance(right, Py)
        return Py(left.obj + right.obj)
    if op == "+" and (strings.is_text(left) or strings.is_text(right)):
        return strings.join(f, left, right, node)
    if is_text_like(left) and not isinstance(left, Pointer):
        advice = 'format it in Python, or in print(f"…")' if op in "+%" else ""
        f.fail(node, f"text can't be computed with `{op}`", advice)
    if op in ("<<", ">>") and b is not None and not 0 <= b < 64:
        f.fail(node, f"a shift by {b}: numbers have 64 bits", "shift by 0 to 63")
    if op in ("//", "%") and b == 0 and b is not None:
        f.fail(node, f"division by zero: `{op} 0`")
    if a is not None and b is not None:
        if op == "**":
            if b < 0:
                f.fail(node, "a negative power is a fraction", "programs have integers only")
            if b > 64 and abs(a) > 1:
                f.fail(node, f"{a}**{b} does not fit into 64 bits")
        result = _PYTHON[op](int(a) if not both_bool(a, b) else a, int(b) if not both_bool(a, b) else b)
        if not MIN <= result <= UMAX:
            f.fail(node, f"{result if abs(result) < 1 << 80 else 'the result'} does not fit into 64 bits")
        return Py(result)
    if op == "**":
        return _power(f, left, right, node)
    x = pointer_as(f, left, op, node)
    y = pointer_as(f, right, op, node)
    if op in ("<<", ">>") and isinstance(y, ir.Const) and not 0 <= y.value < 64:
        f.fail(node, f"a shift by {y.value}: numbers have 64 bits", "shift by 0 to 63")
    if op in ("//", "%") and isinstance(y, ir.Const) and y.value == 0:
        f.fail(node, f"division by zero: `{op} 0`")
    return Num(f.b.arith(op, x, y))


def both_bool(a: Any, b: Any) -> bool:
    return isinstance(a, bool) and isinstance(b, bool)


def pointer_as(f: Fn, item: Item, op: str, node: ast.AST) -> ir.Value:
    if isinstance(item, Pointer):
        f.fail(
            node,
            f"a pointer can't be computed with `{op}`",
            "index it, `p[i]`, or take its address as a number: `u64(p)`",
        )
    return number(f, item, node)


def _power(f: Fn, left: Item, right: Item, node: ast.AST) -> Item:
    base, exponent = constant(left), constant(right)
    if base == 2:
        return binary(f, "<<", Py(1), right, node)
    if exponent is None:
        f.fail(node, "`**` needs a constant exponent", "for powers of two write `1 << n`")
    if not 0 <= exponent <= 64:
        f.fail(node, f"`** {exponent}` is not supported", "use an exponent from 0 to 64")
    result: Item = Py(1)
    for _ in range(exponent):
        result = binary(f, "*", result, left, node) if constant(result) != 1 else Num(number(f, left, node))
    return result


def _unary(f: Fn, node: ast.UnaryOp) -> Item:
    if isinstance(node.op, ast.Not):
        return cond.as_value(f, node)
    item = evaluate(f, node.operand)
    value = constant(item)
    if value is not None:
        if isinstance(node.op, ast.USub):
            return Py(-value)
        return Py(+value if isinstance(node.op, ast.UAdd) else ~int(value))
    name = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}[type(node.op)]
    n = pointer_as(f, item, name, node)
    if isinstance(node.op, ast.USub):
        return Num(f.b.neg(n))
    if isinstance(node.op, ast.Invert):
        return Num(f.b.invert(n))
    return Num(f.b.widen(n))


def compare(f: Fn, op: str, left: Item, right: Item, node: ast.AST) -> ir.Value:
    """`left op right` as a BOOL, for all but `in` with a map."""
    b = f.b
    if op in ("is", "is not"):
        from .convert import check_none

        if is_none(left):
            left, right = right, left
        if not is_none(right):
            f.fail(node, f"`{op}` tests for None only", f"write `{'==' if op == 'is' else '!='}`")
        absent = check_none(f, left, node)
        return absent if op == "is" else b.not_(absent)
    if op in ("in", "not in"):
        found = contains(f, left, right, node)
        return found if op == "in" else b.not_(found)
    if op in ("==", "!=") and (is_none(left) or is_none(right)):
        return compare(f, "is" if op == "==" else "is not", left, right, node)
    left, right = resolve(f, left, node), resolve(f, right, node)
    if isinstance(left, Py) and isinstance(right, Py):
        a, c = left.obj, right.obj
        if isinstance(a, (int, str, bytes, type, enum.Enum)) and isinstance(
            c, (int, str, bytes, type, enum.Enum)
        ):
            try:
                return b.const(int(bool(_PYTHON[op](a, c))), BOOL)
            except TypeError as e:
                f.fail(node, f"can't compare: {e}")
    refuse_maybe(f, left, node)
    refuse_maybe(f, right, node)
    same_bytes = addresses.equal(f, left, right, node) if op in ("==", "!=") else None
    if same_bytes is not None:
        return same_bytes if op == "==" else b.not_(same_bytes)
    lt, rt = is_text_like(left), is_text_like(right)
    if (
        (lt or rt)
        and not (isinstance(left, Pointer) and not rt)
        and not (isinstance(right, Pointer) and not lt)
    ):
        for side, ok in ((left, lt), (right, rt)):
            if not ok:
                f.fail(node, f"text can't be compared with {describe(side)}", _other_text(left, right))
        if op not in ("==", "!="):
            return b.compare(op, strings.order(f, left, right, node), b.const(0))
        alike = text.equal(f, left, right, node)
        return alike if op == "==" else b.not_(alike)
    if op in ("==", "!=") and (same.comparable(left) or same.comparable(right)):
        equal = same.equal(f, left, right, node)
        return equal if op == "==" else b.not_(equal)
    if isinstance(left, (Pointer, Ref)) or isinstance(right, (Pointer, Ref)):
        return _compare_pointers(f, op, left, right, node)
    x, y = number(f, left, node), number(f, right, node)
    return b.compare(op, x, y)


def _other_text(left: Item, right: Item) -> str:
    """What may be meant by a comparison of a number with text."""
    for side in (left, right):
        if isinstance(side, Py) and isinstance(side.obj, str):
            if side.obj.isdecimal():
                return f"write {int(side.obj)} without quotes"
            if side.obj.count(".") == 3:
                return f'write ipv4("{side.obj}")'
    return "compare text with text, and numbers with numbers; str(n) is the text of a number"


def _compare_pointers(f: Fn, op: str, left: Item, right: Item, node: ast.AST) -> ir.Value:
    for side in (left, right):
        if isinstance(side, Ref) and not (isinstance(side.type, Struct) and side.type.core):
            f.fail(node, f"{describe(side)} can't be compared as a whole", "compare its fields")
    if op not in ("==", "!="):
        f.fail(node, f"pointers can't be compared with `{op}`", "compare addresses as numbers: `u64(p)`")
    sides = [s.v if isinstance(s, Pointer) else s.ptr for s in (left, right) if isinstance(s, (Pointer, Ref))]
    if len(sides) == 2 and arena(sides[0]) != arena(sides[1]):
        f.fail(node, "one of these pointers leads into the arena, the other elsewhere: they are never equal")
    values = [
        s.v if isinstance(s, Pointer) else s.ptr if isinstance(s, Ref) else number(f, s, node)
        for s in (left, right)
    ]
    return f.b.compare(op, values[0], values[1])


def contains(f: Fn, needle: Item, hay: Item, node: ast.AST) -> ir.Value:
    """`needle in hay`: a map's key, or one of some values."""
    b = f.b
    hay = mapkinds.as_map(f, hay, node)
    if isinstance(hay, Py) and isinstance(hay.obj, BloomFilter):
        return mapkinds.holds(f, hay.obj, needle, node)
    if isinstance(hay, Py) and isinstance(hay.obj, decl.MapDecl):
        index = constant(needle)
        if isinstance(hay.obj, mapops.ARRAYS) and index is not None:
            return b.const(int(0 <= index < hay.obj.max_entries), BOOL)
        return b.truth(mapops.lookup(f, hay.obj, needle, node))
    if isinstance(hay, Py) and isinstance(hay.obj, range):
        r = hay.obj
        x = number(f, needle, node)
        if not len(r):
            return b.const(0, BOOL)
        if abs(r.step) != 1:
            f.fail(node, "`in` takes a range with step 1 only")
        low, high = min(r[0], r[-1]), max(r[0], r[-1])
        from .convert import literal

        above = b.compare(">=", x, literal(f, low, node))
        return b.arith("&", above, b.compare("<=", x, literal(f, high, node)))
    if isinstance(hay, Group):
        values = hay.items
    elif isinstance(hay, Py) and isinstance(hay.obj, (tuple, list, set, frozenset, dict)):
        unordered = isinstance(hay.obj, (set, frozenset))
        values = [Py(v) for v in (sorted(hay.obj, key=repr) if unordered else hay.obj)]
    elif is_text_like(hay):
        return strings.contains(f, needle, hay, node)
    else:
        f.fail(node, f"`in` needs a map or a tuple of values, and this is {describe(hay)}")
    return b.any_of([compare(f, "==", needle, v, node) for v in values])


def _compare(f: Fn, node: ast.Compare) -> Item:
    if len(node.ops) == 1:
        left = evaluate(f, node.left)
        right = operand(f, node.comparators[0], node.ops[0])
        return Num(compare(f, COMPARISONS[type(node.ops[0])], left, right, node))
    return cond.as_value(f, node)


def operand(f: Fn, node: ast.expr, op: ast.cmpop) -> Item:
    """The right side of a comparison; behind `in` a display of values is fine."""
    if isinstance(op, (ast.In, ast.NotIn)) and isinstance(node, (ast.List, ast.Set, ast.Tuple)):
        return Group([evaluate(f, e) for e in node.elts])
    return evaluate(f, node)


def _tuple(f: Fn, node: ast.Tuple) -> Item:
    items = [evaluate(f, e) for e in node.elts]
    if items and all(isinstance(i, Py) and not isinstance(i.obj, (decl.Var, decl.MapDecl)) for i in items):
        return Py(tuple(i.obj for i in items if isinstance(i, Py)))
    return Group(items)


def _walrus(f: Fn, node: ast.NamedExpr) -> Item:
    item = evaluate(f, node.value)
    f.bind(node.target.id, item, node)
    return f.read_local(node.target.id, node)


def _ifexp(f: Fn, node: ast.IfExp) -> Item:
    return cond.choose(f, node)


def _boolop(f: Fn, node: ast.BoolOp) -> Item:
    return cond.and_or(f, node)


def _call(f: Fn, node: ast.Call) -> Item:
    return calls.call(f, node)


_HANDLERS: dict[type[ast.expr], Callable[[Fn, Any], Item]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.BinOp: _binop,
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
    ast.BoolOp: _boolop,
    ast.IfExp: _ifexp,
    ast.NamedExpr: _walrus,
    ast.Tuple: _tuple,
    ast.Call: _call,
    ast.JoinedStr: strings.formatted,
    ast.Lambda: callbacks.of_lambda,
}
