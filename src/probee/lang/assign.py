"""Assignment: names, tuples taken apart, fields, elements, entries of maps; annotations; `del`."""

from __future__ import annotations

import ast

from . import decl, expr, ir, mapkinds, mapops, strings, text
from .convert import arena, describe, far, integer, number, refuse_maybe, store
from .flow import merge
from .items import Context, Entry, Group, Item, Num, Opt, Pointer, Py, Ref
from .scope import Fn, IntVar
from .types import BOOL, I64, Array, Chars, Int, Ptr, Space, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def statement(f: Fn, node: ast.Assign) -> None:
    item = f.expr(node.value)
    if len(node.targets) > 1 and isinstance(item, (Entry,)):
        item = mapops.read_entry(f, item, node.value)
    for target in node.targets:
        assign(f, target, item, node)


def assign(f: Fn, target: ast.expr, item: Item, node: ast.AST) -> None:
    f.b.loc = f.loc(node)
    if isinstance(target, ast.Name):
        bind(f, target.id, item, node)
    elif isinstance(target, (ast.Tuple, ast.List)):
        _unpack(f, target, item, node)
    elif isinstance(target, (ast.Attribute, ast.Subscript)):
        place(f, target).write(f, item, node)
    elif isinstance(target, ast.Starred):
        f.fail(target, "`*` can't unpack here", "write the targets one by one")
    else:
        f.fail(target, "this can't be assigned to")


def bind(f: Fn, name: str, item: Item, node: ast.AST) -> None:
    hidden = f.python.__globals__.get(name)
    if isinstance(hidden, decl.Global) and name not in f.loaded:
        f.fail(
            node,
            f"this makes a local {name}, and the module's Global {name} stays as it is",
            f"write `{name}.value = …`, or give the local another name",
        )
    if isinstance(item, Entry):
        if not isinstance(item.type, Chars):
            m = item.map.name
            f.fail(
                node,
                f"an entry of {m} as a whole can't be kept in a local",
                f"write `{name} = {m}.get(key)`, a reference or None, or take its fields",
            )
        item = mapops.read_entry(f, item, node)
    if isinstance(item, Group):
        f.fail(node, "a tuple can't be kept in a local", "use one local for each value, or a struct")
    f.bind(name, item, node)


def _unpack(f: Fn, target: ast.Tuple | ast.List, item: Item, node: ast.AST) -> None:
    if isinstance(item, Group):
        items = item.items
    elif isinstance(item, Py) and isinstance(item.obj, (tuple, list)):
        items = [Py(v) for v in item.obj]
    else:
        f.fail(node, f"{describe(item)} can't be unpacked", "only tuples written here can")
    if any(isinstance(t, ast.Starred) for t in target.elts):
        f.fail(target, "`*` can't unpack here", "write the targets one by one")
    if len(items) != len(target.elts):
        f.fail(target, f"{len(items)} values for {len(target.elts)} targets")
    if isinstance(item, Group):
        rest = zip(items[1:], target.elts[1:], strict=True)
        items = [*items[:1], *(_settled(f, i, t, node) for i, t in rest)]
    for t, i in zip(target.elts, items, strict=True):
        if not (isinstance(t, ast.Name) and t.id == "_" and "_" not in f.loaded):
            assign(f, t, i, node)


def _settled(f: Fn, item: Item, target: ast.expr, node: ast.AST) -> Item:
    """The item as it is now: an assignment left of it may change the memory it refers to."""
    if isinstance(item, Group) and isinstance(target, (ast.Tuple, ast.List)):
        pairs = zip(item.items, target.elts, strict=False)
        return Group([_settled(f, i, t, node) for i, t in pairs] + item.items[len(target.elts) :])
    if isinstance(item, Entry):
        named = isinstance(target, ast.Name) and not isinstance(item.type, Chars)
        return item if named else mapops.read_entry(f, item, node)
    if not isinstance(item, Ref) or item.maybe or not item.type.size:
        return item
    if isinstance(item.type, Chars) or not isinstance(target, ast.Name):
        f.escape(item)
        held = f.b.local("unpacked", item.type)
        f.b.copy_into(held, item.ptr)
        return Ref(held)
    return item


def scalar_annotation(f: Fn, node: ast.expr) -> Int:
    """The integer type an annotation names."""
    found = annotation(f, node)
    if isinstance(found, Int):
        return found
    f.fail(node, "only integers can be annotated here", "use u8 … u64, i8 … i64, int or bool")


def unquoted(f: Fn, node: ast.expr) -> ast.expr:
    """An annotation as an expression, if it is written as text."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return node
    try:
        parsed = ast.parse(node.value, mode="eval").body
    except SyntaxError:
        f.fail(node, f"the annotation {node.value!r} is not an expression")
    for part in ast.walk(parsed):
        ast.copy_location(part, node)
    return parsed


def annotation(f: Fn, node: ast.expr) -> Any:
    """What an annotation means: an IR integer, or the Python object it names."""
    node = unquoted(f, node)
    if isinstance(node, ast.Subscript):
        base = f.expr(node.value)
        index = f.expr(node.slice)
        if expr.is_kernel(base):
            found = f.expr(node)
            return found.obj if isinstance(found, Py) else None
        if isinstance(base, Py) and isinstance(index, Py):
            try:
                return base.obj[index.obj]
            except Exception as e:
                f.fail(node, f"this annotation can't be evaluated: {e}")
    item = f.expr(node)
    obj = item.obj if isinstance(item, Py) else None
    if isinstance(obj, decl.ScalarType):
        return Int(obj.bits, obj.signed)
    if isinstance(obj, type) and issubclass(obj, int) and hasattr(obj, "__members__"):
        scalar = decl.EnumType(obj).scalar
        return Int(scalar.bits, scalar.signed)
    if obj is int:
        return I64
    if obj is bool:
        return BOOL
    if obj is float:
        f.fail(
            node, "the kernel has no floating point", "use a scaled integer, for example microseconds in u64"
        )
    return obj


def annotated(f: Fn, node: ast.AnnAssign) -> None:
    if not isinstance(node.target, ast.Name):
        f.fail(node, "only a local's own name can be annotated", "drop the annotation")
    name = node.target.id
    what = annotation(f, node.annotation)
    if node.value is None:
        f.fail(node, f"{name} has a type here, but no value", f"write `{name}: … = 0`")
    item = f.expr(node.value)
    if isinstance(what, Int):
        have = f.vars.get(name)
        if have is not None and not (isinstance(have, IntVar) and have.type == what):
            f.fail(node, f"{name} has another type already", "annotate its first assignment")
        f.annotated.add(name)
        f.bind(name, Num(number(f, item, node.value)), node, what)
        return
    if isinstance(what, decl.CharType):
        if not text.is_text(item):
            f.fail(node.value, f"text is needed here, and this is {describe(item)}")
        slot = f.temp(f"text {name}", Chars(what.size))
        text.store(f, slot, item, node)
        f.bind(name, Ref(slot), node)
        return
    if isinstance(what, decl.StructType) and isinstance(item, Ref) and item.type == decl.ir_type(what):
        f.bind(name, item, node)
        return
    f.fail(node.annotation, "this is not a type for a local", "use u8 … u64, i8 … i64, int or bool")


def augmented(f: Fn, node: ast.AugAssign) -> None:
    op = expr.OPS[type(node.op)]
    if op in ("/", "@"):
        expr.binary(f, op, Num(f.b.const(1)), Num(f.b.const(1)), node)
    if isinstance(node.target, ast.Name):
        name = node.target.id
        if name not in f.local_names and name not in f.outer_names:
            f.fail(node, f"{name} is not a local")
        old = f.read_local(name, node.target)
        if isinstance(old, Py) and isinstance(old.obj, (decl.Var, decl.MapDecl)):
            f.fail(node, f"{describe(old)} can't be changed as a whole", "")
        f.bind(name, expr.binary(f, op, old, f.expr(node.value), node), node)
        return
    where = place(f, node.target)
    if any(isinstance(n, (ast.Call, ast.NamedExpr)) for n in ast.walk(node.value)):
        first = where.read_first(f)
        if first is not None:
            where.write(f, expr.binary(f, op, first, f.expr(node.value), node), node)
            return
    where.change(f, op, f.expr(node.value), node)


# -- places to assign to


class Place:
    """What stands left of `=`."""

    def write(self, f: Fn, item: Item, node: ast.AST) -> None:
        raise NotImplementedError

    def change(self, f: Fn, op: str, item: Item, node: ast.AST) -> None:
        raise NotImplementedError

    def read_first(self, f: Fn) -> Item | None:
        """The value before the right side of `+=` is evaluated; None where the change is atomic."""
        return None


class MapPlace(Place):
    """`m[k]`, and what lies in it."""

    def __init__(self, m: decl.MapDecl, key: Item, path: tuple[str | Item, ...], type: Type) -> None:
        self.map = m
        self.key = key
        self.path = path
        self.type = type

    def write(self, f: Fn, item: Item, node: ast.AST) -> None:
        if self.path:
            mapops.set_entry(f, Entry(self.map, self.key, self.type, self.path), item, node)
        else:
            mapops.set_item(f, self.map, self.key, item, node)

    def change(self, f: Fn, op: str, item: Item, node: ast.AST) -> None:
        mapops.change_entry(f, self.map, self.key, self.path, op, item, node, self.type)


class MemoryPlace(Place):
    """A field or element in memory that programs may write; `inside` says whether a run-time index fits."""

    def __init__(self, ref: Ref, inside: ir.Value | None = None) -> None:
        self.ref = ref
        self.inside = inside

    def write(self, f: Fn, item: Item, node: ast.AST) -> None:
        def act() -> None:
            store(f, self.ref.ptr, item, node)

        if isinstance(self.ref.type, Int):
            item = Num(integer(f, item, self.ref.type, node))
        mapops.touch(f, self.ref)
        self.guarded(f, act)
        f.live.wrote(self.ref.fresh, self.ref.offset, self.ref.type.size)

    def change(self, f: Fn, op: str, item: Item, node: ast.AST) -> None:
        f.live.use(self.ref.fresh, self.ref.offset, self.ref.type.size)
        if isinstance(self.ref.type, Int):
            item = Num(number(f, item, node))
        self.guarded(f, lambda: mapops.change(f, self.ref.ptr, op, item, node, atomic=self.ref.shared))

    def read_first(self, f: Fn) -> Item | None:
        if self.ref.shared or self.inside is not None or not isinstance(self.ref.type, Int):
            return None
        return expr.read_place(f, self.ref)

    def guarded(self, f: Fn, act: Callable[[], None]) -> None:
        """Do it if the index is inside."""
        if self.inside is None:
            act()
            return
        b = f.b
        yes, end = b.new_block("inside"), b.new_block("end")
        before = f.live.copy()
        b.branch(self.inside, yes, end)
        b.at(yes)
        act()
        b.jump(end)
        b.at(end)
        f.flow = merge([f.flow, before])


def place(f: Fn, target: ast.expr) -> Place:
    if isinstance(target, ast.Attribute):
        return _field_place(f, target)
    if isinstance(target, ast.Subscript):
        return _element_place(f, target)
    f.fail(target, "this can't be assigned to")


def _field_place(f: Fn, target: ast.Attribute) -> Place:
    base = f.expr(target.value)
    name = target.attr
    if isinstance(base, Py) and isinstance(base.obj, decl.Var):
        var = base.obj
        if isinstance(var, decl.Const):
            f.fail(
                target, f"{var.name} is a Const: programs can only read it", "use bp.Global to change it here"
            )
        if name != "value":
            f.fail(target, f"{describe(base)} has no attribute {name!r}", f"write {var.name}.value")
        return MemoryPlace(Ref(ir.GlobalRef(f.unit.var(var)), shared=True))
    if isinstance(base, Entry) and isinstance(base.type, Struct):
        kind = expr.field_type(f, base.type, name, target)
        return MapPlace(base.map, base.key, (*base.path, name), kind)
    if isinstance(base, Context):
        return MemoryPlace(base.obj.place(f, name, target))
    if isinstance(base, Opt) or (isinstance(base, Ref) and base.maybe):
        refuse_maybe(f, base, target)
    if isinstance(base, (Ref, Pointer)):
        found = expr.field_place(f, base, name, target)
        _writable(f, found, target)
        return MemoryPlace(found)
    if (isinstance(base, Py) and isinstance(base.obj, (type, decl.MapDecl))) or (
        isinstance(base, Py) and hasattr(base.obj, "__dict__")
    ):
        f.fail(
            target,
            f"{describe(base)} is a Python object: a program can't change it",
            "declare a bp.Global in the module and use its .value",
        )
    f.fail(target, f"{describe(base)} has no attribute {name!r} to assign to")


def _element_place(f: Fn, target: ast.Subscript) -> Place:
    base = mapkinds.as_map(f, f.expr(target.value), target)
    if isinstance(target.slice, ast.Slice):
        return _slice_place(f, base, target, target.slice)
    if isinstance(base, Py) and isinstance(base.obj, decl.MapDecl):
        mapops.needs_entries(f, base.obj, target)
        return MapPlace(base.obj, f.expr(target.slice), (), mapops.value_type(f, base.obj))
    index = f.expr(target.slice)
    if isinstance(base, Entry) and isinstance(base.type, (Array, Chars)):
        elem = base.type.elem if isinstance(base.type, Array) else Int(8, False)
        step = Num(number(f, index, target))
        return MapPlace(base.map, base.key, (*base.path, step), elem)
    refuse_maybe(f, base, target)
    if isinstance(base, Ref) and isinstance(base.type, (Int, Ptr)):
        _writable(f, base, target)
        return MemoryPlace(expr.only(f, base, index, target))
    if isinstance(base, Ref) and isinstance(base.type, (Array, Chars)):
        _writable(f, base, target)
        found, inside = expr.elem_place(f, base, index, target)
        return MemoryPlace(found, inside)
    if isinstance(base, Pointer):
        _writable(f, Ref(base.v), target)
        if arena(base.v) and base.to.size:
            return MemoryPlace(Ref(f.b.index(base.v, number(f, index, target)), shared=True))
    advice = ""
    if isinstance(base, Py) and isinstance(base.obj, (list, dict, tuple, set)):
        advice = "it is not in the kernel: declare a map in the module, for example bp.Hash[u32, u64](1024)"
    f.fail(target, f"elements of {describe(base)} can't be assigned to", advice)


def _slice_place(f: Fn, base: Item, target: ast.expr, at: ast.Slice) -> Place:
    refuse_maybe(f, base, target)
    if not isinstance(base, Ref) or not isinstance(base.type, Array) or at.step is not None:
        f.fail(target, "only a slice of an array field can be assigned, without a step", "assign one element")
    _writable(f, base, target)
    start = f.expr(at.lower) if at.lower is not None else Py(0)
    return MemoryPlace(strings.part(f, base, start, f.expr(at.upper) if at.upper else None, target))


def _writable(f: Fn, ref: Ref, node: ast.AST) -> None:
    where = ref.ptr.type
    assert isinstance(where, Ptr)
    if where.space is Space.USER:
        f.fail(
            node, "user memory is written with a helper", "write bp.probe_write_user(address, value, size)"
        )
    if where.space is Space.ARENA:
        return
    if far(where):
        f.fail(node, "kernel memory can only be read", "keep the value in a local, a map or a record")
    if where.space is Space.PACKET_READ:
        f.fail(node, "this kind of program can only read packets", "keep the value in a local or a map")
    if where.space is Space.CONTEXT and not ref.writable:
        f.fail(node, "the program's argument can't be changed", "keep the value in a local")
    if isinstance(ref.ptr, ir.GlobalRef) and ref.ptr.var.const:
        f.fail(
            node,
            f"{ref.ptr.var.name} is a Const: programs can only read it",
            "use bp.Global to change it here",
        )


def delete(f: Fn, node: ast.Delete) -> None:
    for target in node.targets:
        if isinstance(target, ast.Subscript):
            base = mapkinds.as_map(f, f.expr(target.value), target)
            if isinstance(base, Py) and isinstance(base.obj, decl.MapDecl):
                mapops.delete(f, base.obj, f.expr(target.slice), target)
                continue
        advice = "write `del m[key]`"
        if isinstance(target, ast.Name):
            advice = "a local ends with its function; an entry is deleted with `del m[key]`"
        f.fail(target, "`del` deletes entries of maps only", advice)


# -- control flow
