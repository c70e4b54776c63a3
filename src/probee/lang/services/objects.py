"""Objects that programs make, and the lists and trees that own them.

An object belongs to the `with` that made it or took it out, until it is put into a list, a tree or a field.
Lists and trees are guarded by the lock in the same struct: each operation takes it, unless a `with` has it.
Objects that stay where they are may be looked at while the lock is held.
"""

from __future__ import annotations

import ast
from types import FunctionType

from .. import decl, ir
from ..callbacks import Kind, make
from ..calls import arguments
from ..convert import describe, refuse_maybe
from ..items import Closure, Item, Num, Py, Ref
from ..scope import Fn, PyVar
from ..types import VOID, Kptr, Ptr, Space, Special, Struct, kernel_part
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
        held = owned.hold(
            f, value, lambda v: f.kfunc(node, since, drop, v, meta(f)), f"an object of bp.{name}"
        )
        if name == "obj_new":
            _clear(f, value, kind)
        return held

    return handler


def _clear(f: Fn, value: ir.Value, kind: Struct, base: int = 0) -> None:
    """Zeros in the program's own fields, one by one, as the verifier wants it: the kernel makes only its own
    ones new, and leaves in the others what was in the memory before.
    """
    for member in kind.members:
        at = base + member.bit_offset // 8
        if isinstance(member.type, (Special, Kptr)):
            continue
        if isinstance(member.type, Struct):
            _clear(f, value, member.type, at)
        elif not kernel_part(member.type):
            f.b.zero(f.b.offset(value, at, Ptr(member.type, Space.MAP)), alone=True)


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
    known = b.emit(ir.Opaque(link, link.type))  # else LLVM may move the subtraction before the test
    b.store(slot, b.offset(known, -offset, kind))
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


def _seen(form: str, name: str, since: str) -> Callable[[Fn, Ref, ast.Call], Item]:
    """An object that stays in its list or tree: it may be read and written while the lock is held."""

    def handler(f: Fn, head: Ref, node: ast.Call) -> Item:
        arguments(f, node, f"{form}()", 0, 0)
        _locked(f, form, node)
        link = f.kfunc(node, since, name, head.ptr, type=_LINK)
        return Ref(_object(f, head, link), maybe=f"{form}()")

    return handler


def _locked(f: Fn, form: str, node: ast.Call) -> None:
    if not f.locked:
        f.fail(
            node,
            f"what {form}() gives is valid while the lock is held only",
            "write `with value.lock:` around it, or use it in a function given to remove()",
        )


def _link_of(f: Fn, head: Ref, item: Item, node: ast.expr, form: str) -> ir.Value:
    """The link in an object that was found in the tree."""
    to, offset = _contains(f, head)
    if not isinstance(item, Ref) or item.type is not to:
        f.fail(node, f"{form} takes an object of this tree, a {to!r}, and this is {describe(item)}")
    refuse_maybe(f, item, node)
    if owned.name_of(f, item):
        f.fail(node, f"{form} takes an object that is in the tree, and this program owns this one")
    return f.b.offset(item.ptr, offset, Ptr(VOID, Space.MAP))


def _child(side: str) -> Callable[[Fn, Ref, ast.Call], Item]:
    def handler(f: Fn, head: Ref, node: ast.Call) -> Item:
        (item,) = arguments(f, node, f"{side}(object)", 1, 1)
        _locked(f, side, node)
        link = _link_of(f, head, item, node.args[0], f"{side}()")
        found = f.kfunc(node, "6.16", f"bpf_rbtree_{side}", head.ptr, link, type=_LINK)
        return Ref(_object(f, head, found), maybe=f"{side}(…)")

    return handler


def _remove(f: Fn, head: Ref, node: ast.Call) -> Held:
    """`with tree.remove(find) as node:`: `find(tree)` runs under the lock, and returns an object or None."""
    (find,) = arguments(f, node, "remove(find)", 1, 1)
    _unlocked(f, node)
    to, offset = _contains(f, head)
    b = f.b
    slot = b.local("removed", _LINK)
    b.store(slot, ir.Const(_LINK, 0))
    with locks.guarded(f, head, node):
        f.locked = ast.unparse(node)
        found = _found(f, find, head, node)
        f.locked = ""
        if not isinstance(found, Ref) or found.type is not to:
            f.fail(
                node.args[0],
                f"remove() takes a function that gives an object of the tree or None, "
                f"and this one gives {describe(found)}",
                "write `def find(tree):` with `return tree.root()` or another of the tree's objects",
            )
        yes, end = b.new_block("found"), b.new_block("none")
        b.branch(b.truth(found.ptr), yes, end)
        b.at(yes)
        link = b.offset(found.ptr, offset, Ptr(VOID, Space.MAP))
        b.store(slot, f.kfunc(node, "6.3", "bpf_rbtree_remove", head.ptr, link, type=_LINK))
        b.jump(end)
        b.at(end)
    value = _object(f, head, b.load(slot))
    return owned.hold(f, value, lambda v: _drop(f, v, node), "an object of a tree")


def _found(f: Fn, find: Item, head: Ref, node: ast.Call) -> Item:
    """What a function says of a list or tree."""
    from .. import subprograms

    name = "what remove() works on"
    before, f.vars[name] = f.vars.get(name), PyVar(name, head)
    f.live.set.add(name)
    f.versions[name] = f.versions.get(name, 0) + 1
    f.local_names.add(name)
    argument = ast.copy_location(ast.Name(name, ast.Load()), node.args[0])
    call = ast.copy_location(ast.Call(node.args[0], [argument], []), node)
    try:
        if isinstance(find, Closure):
            return subprograms.call_inner(f, find, call)
        if isinstance(find, Py) and isinstance(find.obj, FunctionType):
            return subprograms.call(f, find.obj, call)
    finally:
        del f.vars[name]
        f.live.set.discard(name)
        f.local_names.discard(name)
        if before is not None:
            f.vars[name] = before
    f.fail(
        node.args[0],
        f"remove() takes a function, and this is {describe(find)}",
        "write `def find(tree):`, which returns the object to take out, or None",
    )


HELD: dict[str, Callable[[Fn, ast.Call], Held]] = {
    "obj_new": _made("obj_new", "6.2"),
    "percpu_obj_new": _made("percpu_obj_new", "6.6"),
    "refcount_acquire": _refcount,
}
LIST: dict[str, Callable[[Fn, Ref, ast.Call], Item]] = {
    "push_front": _push("front"),
    "push_back": _push("back"),
    "front": _seen("front", "bpf_list_front", "6.16"),
    "back": _seen("back", "bpf_list_back", "6.16"),
}
LIST_HELD: dict[str, Callable[[Fn, Ref, ast.Call], Held]] = {
    "pop_front": _pop("front"),
    "pop_back": _pop("back"),
}
TREE: dict[str, Callable[[Fn, Ref, ast.Call], Item]] = {
    "add": _add,
    "first": _seen("first", "bpf_rbtree_first", "6.3"),
    "root": _seen("root", "bpf_rbtree_root", "6.16"),
    "left": _child("left"),
    "right": _child("right"),
}
TREE_HELD: dict[str, Callable[[Fn, Ref, ast.Call], Held]] = {"pop_first": _pop_first, "remove": _remove}
