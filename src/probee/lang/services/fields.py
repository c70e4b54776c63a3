"""Arguments and results that are the kernel's own: timers, locks, dynptrs, per-CPU memory."""

from __future__ import annotations

import ast

from .. import ir
from ..convert import constant, describe, refuse_maybe
from ..items import Item, Pointer, Ref
from ..types import U8, Array, Ptr, Space, Special, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...isa.helpers import Prototype
    from ..scope import Fn

_KINDS = {
    "timer": ("bpf_timer", "a timer", "a field `bp.Timer` of a map's value is one"),
    "spin_lock": ("bpf_spin_lock", "a lock", "a field `bp.SpinLock` of a map's value is one"),
    "dynptr": ("bpf_dynptr", "a dynptr", "bp.dynptr(memory) makes one"),
}


def special(item: Item) -> str:
    """The name of a struct that the kernel alone touches, "" if the item refers to none."""
    if isinstance(item, Ref) and isinstance(item.type, Special):
        return item.type.name
    return ""


def argument(f: Fn, kind: str, item: Item, node: ast.AST, what: str) -> ir.Value:
    """The address of such a thing."""
    if kind == "percpu":
        refuse_maybe(f, item, node)
        value = item.v if isinstance(item, Pointer) else item.ptr if isinstance(item, Ref) else None
        if value is None:
            f.fail(
                node,
                f"{what} is a per-CPU variable of the kernel, and this is {describe(item)}",
                'write bp.ksym("runqueues")',
            )
        return value
    name, shown, advice = _KINDS["dynptr" if "dynptr" in kind else kind]
    if special(item) != name:
        f.fail(node, f"{what} is {shown}, and this is {describe(item)}", advice)
    refuse_maybe(f, item, node)
    assert isinstance(item, Ref)
    f.escape(item)
    return item.ptr


def result(f: Fn, proto: Prototype, values: list[ir.Value], node: ast.Call) -> Item:
    """What such a helper gives."""
    name = f"bp.{proto.name}(…)"
    if proto.ret == "dynptr_mem?":
        size = values[2]
        if not isinstance(size, ir.Const) or size.value <= 0:
            f.fail(node.args[-1], "how much of a dynptr is wanted is a constant", "use read() for the rest")
        kind = Ptr(Array(U8, size.value), Space.MAP, True)
        return Ref(f.b.helper(proto.name, *values, type=kind), maybe=name)
    of = values[0].type
    assert isinstance(of, Ptr)
    trusted = isinstance(of.to, Struct) and of.to.core
    kind = Ptr(of.to, Space.TRUSTED if trusted else Space.MAP, proto.ret.endswith("?"))
    value = f.b.helper(proto.name, *values, type=kind)
    return Ref(value, maybe=name if proto.ret.endswith("?") else "")


def constant_size(f: Fn, item: Item, node: ast.AST) -> int:
    """A positive number that is known when the program is compiled."""
    exact = constant(item)
    if exact is None or exact <= 0:
        f.fail(node, "this size is a positive constant", "write a number")
    return int(exact)
