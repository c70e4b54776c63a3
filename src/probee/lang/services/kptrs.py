"""Pointers that maps own (kptrs): read, replaced, taken out, put in."""

from __future__ import annotations

import ast

from .. import ir
from ..convert import describe
from ..items import Item, Kept, Pointer, Ref
from ..scope import Fn, is_none
from ..types import Kptr, Ptr, Space, Struct
from ..with_ import Held
from . import kfuncs, owned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_RCU = ("task_struct", "cgroup", "bpf_cpumask", "cpumask")  # safe to read without owning them, under RCU


def _kind(f: Fn, place: ir.Value) -> tuple[Kptr, Struct]:
    assert isinstance(place.type, Ptr)
    kind = place.type.to
    assert isinstance(kind, Kptr)
    to = kind.to
    assert isinstance(to, Struct)
    if to.core:
        with f.placed(None):
            to = f.unit.ktypes.struct(to.name)
    return kind, to


def read(f: Fn, place: ir.Value) -> Item:
    """`value.task`: what it leads to now, or None. It is read only: others may take it out at any time."""
    _, to = _kind(f, place)
    safe = not to.core or to.name in _RCU
    space = (Space.TRUSTED if safe else Space.KERNEL) if to.core else Space.MAP
    value = f.b.load(place, Ptr(to, space, True))
    return Kept(value, place, "the kptr")


def _release(f: Fn, kind: Kptr, to: Struct, node: ast.AST) -> Callable[[ir.Value], object]:
    if kind.tag == "percpu_kptr":
        return lambda v: f.kfunc(node, "6.6", "bpf_percpu_obj_drop_impl", v, meta(f))
    if not to.core:
        return lambda v: f.kfunc(node, "6.2", "bpf_obj_drop_impl", v, meta(f))
    return kfuncs.releaser(f, Ptr(to, Space.TRUSTED), node)


def meta(f: Fn) -> ir.Value:
    """What the verifier fills in."""
    from ..types import VOID

    return ir.Const(Ptr(VOID, Space.KERNEL), 0)


def _exchange(f: Fn, place: ir.Value, new: Item, node: ast.AST) -> tuple[ir.Value, Kptr, Struct]:
    kind, to = _kind(f, place)
    space = Space.TRUSTED if to.core else Space.MAP
    wanted = Ptr(to, space, True)
    if is_none(new):
        value: ir.Value = ir.Const(wanted, 0)
    else:
        has = new.type if isinstance(new, Ref) else new.to if isinstance(new, Pointer) else None
        same = isinstance(has, Struct) and (has is to or (has.core and to.core and has.name == to.name))
        if not same:
            f.fail(node, f"this field owns a {to!r}, and this is {describe(new)}", "assign one, or None")
        value = owned.give(f, new, node, "the field")
    return f.b.helper("kptr_xchg", place, value, type=wanted), kind, to


def put(f: Fn, place: ir.Value, new: Item, node: ast.AST) -> None:
    """`value.task = task`: what was there is released."""
    old, kind, to = _exchange(f, place, new, node)
    free = _release(f, kind, to, node)
    b = f.b
    yes, end = b.new_block("release"), b.new_block("put")
    b.branch(b.truth(old), yes, end)
    b.at(yes)
    free(old)
    b.jump(end)
    b.at(end)


def hold(f: Fn, of: Kept, name: str, node: ast.Call) -> Held:
    """`with value.task.take() as t:`, `with value.task.swap(new) as old:`."""
    from ..calls import arguments
    from ..items import Py

    items = arguments(
        f, node, f"{name}({'new' if name == 'swap' else ''})", *((1, 1) if name == "swap" else (0, 0))
    )
    where = node.args[0] if node.args else node
    old, kind, to = _exchange(f, of.place, items[0] if items else Py(None), where)
    return owned.hold(f, old, _release(f, kind, to, node), f"the {to.name} that was taken out")
