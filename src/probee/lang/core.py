"""CO-RE beyond fields: enumerators, offsets and sizes of fields, matching types; addresses of members."""

from __future__ import annotations

import ast

from . import decl, expr, ir
from .convert import describe, refuse_maybe
from .diag import nearest
from .items import Item, Num, Pointer, Py, Ref
from .scope import Fn
from .types import U64, VOID, Array, Int, Ptr, Space, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _word(f: Fn, item: Item, node: ast.AST, what: str) -> str:
    if isinstance(item, Py) and isinstance(item.obj, str):
        return item.obj
    f.fail(node, f"{what} is a literal, not {describe(item)}", "write it as text, in quotes")


def struct_of(f: Fn, item: Item, node: ast.AST) -> Struct:
    """The kernel struct that an argument names."""
    from .calls import kernel_name

    if isinstance(item, Py):
        name = item.obj if isinstance(item.obj, str) else kernel_name(item.obj)
        if name:
            with f.placed(node):
                return f.unit.ktypes.struct(name)
        if isinstance(item.obj, decl.StructType):
            found = decl.ir_type(item.obj)
            assert isinstance(found, Struct)
            return found
    f.fail(node, f"a struct is needed here, not {describe(item)}", 'write its name: "task_struct"')


def _enum(kind: str) -> Callable[[Fn, ast.Call], Item]:
    def handler(f: Fn, node: ast.Call) -> Item:
        from .calls import arguments

        form = f'enum_{kind}("enum", "ENUMERATOR")'
        items = arguments(f, node, form, 2, 2)
        name, word = (_word(f, i, n, "the name") for i, n in zip(items, node.args, strict=True))
        name = name.removeprefix("enum ")
        known = f.unit.ktypes.enum(name)
        if kind == "exists":
            if known is None or word not in known:
                return Py(False)
            return Num(f.b.truth(f.b.enum_info("exists", name, word, known[word])))
        if known is None:
            f.fail(node.args[0], f"this kernel has no enum {name}")
        if word not in known:
            f.fail(node.args[1], f"enum {name} has no {word}", nearest(word, list(known)))
        return Num(f.b.enum_info("value", name, word, known[word]))

    return handler


def _field(f: Fn, struct: Struct, path: str, node: ast.AST) -> ir.FieldAddr:
    """A field by its path, `real_parent` or `se.vruntime`, of nothing in particular."""
    place: Ref = Ref(f.b.null(Ptr(struct, Space.KERNEL)))
    for name in path.split("."):
        place = expr.field_place(f, place, name, node)
    field = place.ptr
    if not isinstance(field, ir.FieldAddr):
        f.fail(node, f"{path} is no field")
    return field


def _offset(field: ir.FieldAddr) -> int:
    """In a declared struct, where it is known."""
    base = field.base
    here = field.struct.members[field.index].bit_offset // 8
    return here + (_offset(base) if isinstance(base, ir.FieldAddr) else 0)


def _about(kind: str, name: str) -> Callable[[Fn, ast.Call], Item]:
    def handler(f: Fn, node: ast.Call) -> Item:
        from .calls import arguments

        items = arguments(f, node, f'{name}("struct", "field")', 2, 2)
        struct = struct_of(f, items[0], node.args[0])
        field = _field(f, struct, _word(f, items[1], node.args[1], "the field"), node.args[1])
        assert isinstance(field.type, Ptr)
        if not struct.core:
            return Py(_offset(field) if kind == "byte_offset" else field.type.to.size)
        return Num(f.b.field_info(kind, field))

    return handler


def container_of(f: Fn, node: ast.Call) -> Item:
    """`container_of(p, "struct", "member")`: what the member that `p` points to is in."""
    from .calls import arguments

    items = arguments(f, node, 'container_of(pointer, "struct", "member")', 3, 3)
    refuse_maybe(f, items[0], node.args[0])
    if not isinstance(items[0], (Pointer, Ref)):
        f.fail(node.args[0], f"container_of takes a pointer, not {describe(items[0])}")
    ptr = items[0].v if isinstance(items[0], Pointer) else items[0].ptr
    assert isinstance(ptr.type, Ptr)
    struct = struct_of(f, items[1], node.args[1])
    field = _field(f, struct, _word(f, items[2], node.args[2], "the member"), node.args[2])
    space = ptr.type.space
    if struct.core:
        offset: ir.Value = f.b.field_info("byte_offset", field)
        space = Space.KERNEL if space is Space.TRUSTED else space
    else:
        offset = f.b.const(_offset(field))
    start = f.b.arith("-", f.b.recast(ptr, U64), f.b.cast(offset, U64))
    if space is not Space.KERNEL:
        f.fail(
            node.args[0],
            "container_of is for pointers into the kernel",
            "of a struct of yours, keep the reference to the whole",
        )
    return Pointer(f.b.recast(start, Ptr(struct, space)))


def addr(f: Fn, node: ast.Call) -> Item:
    """`addr(task.tasks)`: a pointer to a member, which is not read."""
    from .calls import arguments

    (arg,) = node.args if len(node.args) == 1 else (None,)
    if isinstance(arg, ast.Attribute):
        base = f.expr(arg.value)
        refuse_maybe(f, base, arg)
        if isinstance(base, (Pointer, Ref)):
            place = expr.field_place(f, base, arg.attr, arg)
            f.escape(place)
            return Pointer(place.ptr)
    (item,) = arguments(f, node, "addr(struct.field)", 1, 1)
    refuse_maybe(f, item, node)
    if isinstance(item, Ref):
        f.escape(item)
        return Pointer(item.ptr)
    f.fail(
        node,
        f"{describe(item)} has no address",
        "write addr(task.field); a number of yours lies in a struct, a map or a Global",
    )


def deref(f: Fn, node: ast.Call) -> Item:
    """`deref(p)`: what a pointer points to."""
    from .calls import arguments

    (item,) = arguments(f, node, "deref(pointer)", 1, 1)
    refuse_maybe(f, item, node)
    if isinstance(item, Ref) and isinstance(item.type, (Int, Ptr)):
        return expr.read_place(f, item)
    if not isinstance(item, Pointer):
        f.fail(node, f"deref takes a pointer, not {describe(item)}")
    if item.to is VOID:
        f.fail(node, "this pointer does not say what it points to", "write deref(cast(u64, p))")
    return expr.read_place(f, Ref(item.v))


def matches(f: Fn, node: ast.Call) -> Item:
    """`kernel_type_matches(Struct)`: has this kernel such a struct with fields of these types?"""
    from .calls import arguments

    (item,) = arguments(f, node, "kernel_type_matches(struct)", 1, 1)
    struct = struct_of(f, item, node)
    if not struct.core:
        f.fail(node, f"{struct!r} is no kernel struct", "derive the class from bp.KernelStruct")
    for i in range(len(struct.members)):
        f.b.emit(ir.FieldAddr(f.b.null(Ptr(struct, Space.KERNEL)), i))  # so that all of them are in the BTF
    return Num(f.b.truth(f.b.type_info("matches", struct)))


def array(f: Fn, t: decl.ArrayType, node: ast.Call) -> Item:
    """`u32[4](1, 2)`: an array on the stack, zeroes behind what is given."""
    from .convert import store
    from .items import Group

    kind = decl.ir_type(t)
    assert isinstance(kind, Array)
    if node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
        f.fail(node, f"{t!r} takes its elements one by one")
    items = [f.expr(a) for a in node.args]
    only = items[0] if len(items) == 1 else None
    if isinstance(only, Group):
        items = only.items
    elif isinstance(only, Py) and isinstance(only.obj, (tuple, list)):
        items = [Py(v) for v in only.obj]
    if len(items) > kind.n:
        f.fail(node, f"{len(items)} elements do not fit into {t!r}")
    slot = f.b.local(repr(t), kind)
    f.b.zero(slot)
    for i, item in enumerate(items):
        store(f, f.b.index(slot, i), item, node)
    return Ref(slot)


HANDLERS: dict[str, Callable[[Fn, ast.Call], Item]] = {
    "enum_value": _enum("value"),
    "enum_exists": _enum("exists"),
    "offsetof": _about("byte_offset", "offsetof"),
    "field_size": _about("byte_size", "field_size"),
    "container_of": container_of,
    "addr": addr,
    "deref": deref,
    "kernel_type_matches": matches,
}
