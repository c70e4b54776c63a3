"""Objects that programs make, and the lists and trees that own them.

An object belongs to the `with` that made it or took it out, until it is put into a list, a tree or a field.
Lists and trees are guarded by the lock in the same struct: each operation takes it, unless a `with` has it.
"""

from __future__ import annotations

import ast

from .. import decl, ir
from ..callbacks import Kind, make
from ..calls import arguments
from ..convert import describe, refuse_maybe
from ..items import Item, Num, Py, Ref
from ..scope import Fn
from ..types import VOID, Ptr, Space, Special, Struct
from ..with_ import Held
from . import locks, owned
from .kptrs import meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _struct(f: Fn, item: Item, node: ast.AST, form: str) -> Struct:
    if not isinstance(item, Py) or not isinstance(item.obj, decl.StructType) or item.obj._core_:
        f.fail(
            node, f"{form} takes a struct of yours, and this is {describe(item)}", f"write bp.{form}(Node)"
        )
    kind = decl.ir_type(item.obj)
    assert isinstance(kind, Struct)
    return kind


def _made(name: str, since: str) -> Callable[[Fn, ast.Call], Held]:
    def handler(f: Fn, node: ast.Call) -> Held:
        (item,) = arguments(f, node, f"{name}(struct)", 1, 1)
        kind = _struct(f, item, node.args[0], name)
        id = f.b.type_info("local_id", kind)
        to = Ptr(kind, Space.MAP, True)
        value = f.kfunc(node, since, f"bpf_{name}_impl", id, meta(f), type=to)
        drop = f"bpf_{name.replace('new', 'drop')}_impl"
        return owned.hold(
            f, value, lambda v: f.kfunc(node, since, drop, v, meta(f)), f"an object of bp.{name}"
        )

    return handler


def _refcount(f: Fn, node: ast.Call) -> Held:
    (item,) = arguments(f, node, "refcount_acquire(object)", 1, 1)
    refuse_maybe(f, item, node.args[0])
    counted = (
        isinstance(item, Ref)
        and isinstance(item.type, Struct)
        and any(isinstance(m.type, Special) and m.type.name == "bpf_refcount" for m in item.type.members)
    )
    if not counted:
        f.fail(
            node.args[0],
            f"only objects with a count can have several owners, and this is {describe(item)}",
            "add a field `count: bp.Refcount` to its struct",
        )
    assert isinstance(item, Ref)
    to = Ptr(item.type, Space.MAP, True)
    value = f.kfunc(node, "6.4", "bpf_refcount_acquire_impl", item.ptr, meta(f), type=to)
    return owned.hold(f, value, lambda v: _drop(f, v, node), "an object of bp.refcount_acquire")


def _drop(f: Fn, value: ir.Value, node: ast.AST) -> ir.Value:
    return f.kfunc(node, "6.2", "bpf_obj_drop_impl", value, meta(f))


def _contains(f: Fn, head: Ref) -> tuple[Struct, int]:
    """The struct of the objects in a list or tree, and where in it they are linked."""
    assert isinstance(head.type, Special)
    assert head.type.contains is not None
    to, link = head.type.contains
    assert isinstance(to, Struct)
    offset = next(m.bit_offset // 8 for m in to.members if m.name == link)
    return to, offset


def _node(f: Fn, head: Ref, item: Item, node: ast.expr) -> ir.Value:
    """The link in an object that is given to a list or tree."""
    to, offset = _contains(f, head)
    if not isinstance(item, Ref) or item.type is not to:
        f.fail(node, f"this holds objects of {to!r}, and this is {describe(item)}")
    refuse_maybe(f, item, node)
    value = owned.give(f, item, node, "the list or tree")
    return f.b.offset(value, offset, Ptr(VOID, Space.MAP))


def _object(f: Fn, head: Ref, link: ir.Value) -> ir.Value:
    """The object that a link, which may be NULL, is in: a NULL stays one."""
    to, offset = _contains(f, head)
    b = f.b
    kind = Ptr(to, Space.MAP, True)
    slot = b.local("object", kind)
    b.store(slot, ir.Const(kind, 0))
    yes, end = b.new_block("found"), b.new_block("object")
    b.branch(b.truth(link), yes, end)
    b.at(yes)
    b.store(slot, b.offset(link, -offset, kind))
    b.jump(end)
    b.at(end)
    return b.load(slot)


def _push(side: str) -> Callable[[Fn, Ref, ast.Call], Item]:
    def handler(f: Fn, head: Ref, node: ast.Call) -> Item:
        (item,) = arguments(f, node, f"push_{side}(object)", 1, 1)
        link = _node(f, head, item, node.args[0])
        with locks.guarded(f, head, node):
            name = f"bpf_list_push_{side}_impl"
            out = f.kfunc(node, "6.2", name, head.ptr, link, meta(f), f.b.const(0))
        return Num(f.b.widen(out))

    return handler


_LINK = Ptr(VOID, Space.MAP, True)


def _unlocked(f: Fn, node: ast.Call) -> None:
    if f.locked:
        f.fail(
            node,
            f"what is taken out may have to be dropped, which can't be while {f.locked} is held",
            "do it outside: it takes the lock itself",
        )


def _pop(side: str) -> Callable[[Fn, Ref, ast.Call], Held]:
    def handler(f: Fn, head: Ref, node: ast.Call) -> Held:
        arguments(f, node, f"pop_{side}()", 0, 0)
        _unlocked(f, node)
        with locks.guarded(f, head, node):
            link = f.kfunc(node, "6.2", f"bpf_list_pop_{side}", head.ptr, type=_LINK)
        value = _object(f, head, link)
        return owned.hold(f, value, lambda v: _drop(f, v, node), "an object of a list")

    return handler


def _less(f: Fn, head: Ref, item: Item, node: ast.expr) -> ir.Value:
    to, offset = _contains(f, head)

    def bind(g: Fn, names: list[str], params: list[ir.Param], where: ast.AST) -> None:
        for name, param in zip(names, params, strict=False):
            ref = Ref(g.b.offset(param, -offset, Ptr(to, Space.MAP)))
            g.bind(name, ref, where)

    kind = Kind(
        [("a", Ptr(VOID, Space.MAP)), ("b", Ptr(VOID, Space.MAP))], 2, "less(a, b)", bind, captures=False
    )
    return make(f, item, kind, node)[0]


def _add(f: Fn, head: Ref, node: ast.Call) -> Item:
    item, less = arguments(f, node, "add(object, less)", 2, 2)
    compare = _less(f, head, less, node.args[1])
    link = _node(f, head, item, node.args[0])
    with locks.guarded(f, head, node):
        out = f.kfunc(node, "6.3", "bpf_rbtree_add_impl", head.ptr, link, compare, meta(f), f.b.const(0))
    return Num(f.b.widen(out))


def _pop_first(f: Fn, head: Ref, node: ast.Call) -> Held:
    arguments(f, node, "pop_first()", 0, 0)
    _unlocked(f, node)
    b = f.b
    slot = b.local("first", _LINK)
    b.store(slot, ir.Const(_LINK, 0))
    with locks.guarded(f, head, node):
        first = f.kfunc(node, "6.3", "bpf_rbtree_first", head.ptr, type=_LINK)
        yes, end = b.new_block("first"), b.new_block("empty")
        b.branch(b.truth(first), yes, end)
        b.at(yes)
        b.store(slot, f.kfunc(node, "6.3", "bpf_rbtree_remove", head.ptr, first, type=_LINK))
        b.jump(end)
        b.at(end)
    value = _object(f, head, b.load(slot))
    return owned.hold(f, value, lambda v: _drop(f, v, node), "an object of a tree")


def _first(f: Fn, head: Ref, node: ast.Call) -> Item:
    arguments(f, node, "first()", 0, 0)
    if not f.locked:
        f.fail(node, "the first object is valid while the lock is held only", "write `with value.lock:`")
    link = f.kfunc(node, "6.3", "bpf_rbtree_first", head.ptr, type=_LINK)
    return Ref(_object(f, head, link), maybe="first()")


HELD: dict[str, Callable[[Fn, ast.Call], Held]] = {
    "obj_new": _made("obj_new", "6.2"),
    "percpu_obj_new": _made("percpu_obj_new", "6.6"),
    "refcount_acquire": _refcount,
}
LIST: dict[str, Callable[[Fn, Ref, ast.Call], Item]] = {
    "push_front": _push("front"),
    "push_back": _push("back"),
}
LIST_HELD: dict[str, Callable[[Fn, Ref, ast.Call], Held]] = {
    "pop_front": _pop("front"),
    "pop_back": _pop("back"),
}
TREE: dict[str, Callable[[Fn, Ref, ast.Call], Item]] = {"add": _add, "first": _first}
TREE_HELD: dict[str, Callable[[Fn, Ref, ast.Call], Held]] = {"pop_first": _pop_first}
