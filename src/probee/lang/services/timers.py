"""Timers and work queues: fields of map values whose functions the kernel calls later."""

from __future__ import annotations

import ast

from .. import callbacks, decl, ir
from ..convert import describe, number
from ..items import Item, Num, Py, Ref
from ..scope import Fn
from ..types import U64, VOID, Ptr, Space, Type
from .rules import check_helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MONOTONIC = 1  # CLOCK_MONOTONIC


def _map(f: Fn, item: Item, node: ast.AST) -> decl.MapDecl:
    if not isinstance(item, Py) or not isinstance(item.obj, decl.MapDecl):
        f.fail(node, f"the map that it is in is needed, and this is {describe(item)}", "write t.init(map)")
    return item.obj


def _holder(f: Fn, of: Ref, node: ast.AST) -> ir.Map:
    """The map whose values have this field."""
    field: ir.Value = of.ptr
    types: list[Type] = []
    while isinstance(field, (ir.FieldAddr, ir.ElemAddr)):
        field = field.base
        assert isinstance(field.type, Ptr)
        types.append(field.type.to)
    found = [m for m in f.unit.module.maps if m.value in types and m.key is not None]
    found += [m for m in f.unit.inners.values() if m.value in types and m.key is not None]
    if not found or len({(m.key, m.value) for m in found}) > 1:
        f.fail(
            node,
            "whose map this is can't be told" if found else "this field is in no map's value",
            "give the struct to one map only",
        )
    return found[0]


def _init(f: Fn, of: Ref, node: ast.Call) -> Item:
    from ..calls import arguments

    items = arguments(f, node, "init(map[, clock])", 1, 2)
    _check(f, "timer_init", node)
    m = _map(f, items[0], node.args[0])
    clock = number(f, items[1], node.args[1]) if len(items) > 1 else f.b.const(_MONOTONIC)
    return Num(f.b.helper("timer_init", of.ptr, ir.MapRef(f.unit.map(m)), clock))


def _check(f: Fn, name: str, node: ast.AST) -> None:
    from ...isa.helpers import PROTOTYPES

    check_helper(f, PROTOTYPES[name], node)


def _callback(f: Fn, of: Ref, node: ast.Call) -> ir.Value:
    from ..calls import arguments

    (item,) = arguments(f, node, "set_callback(function)", 1, 1)
    return function(f, of, item, node.args[0])


def function(f: Fn, of: Ref, item: Item, node: ast.expr) -> ir.Value:
    """The function of a timer or a work queue, which gets the entry of the map that this is in."""
    kind = callbacks.entry_kind(_holder(f, of, node), False, "tick(key, value)", captures=False)
    return callbacks.make(f, item, kind, node)[0]


def _set_callback(f: Fn, of: Ref, node: ast.Call) -> Item:
    _check(f, "timer_set_callback", node)
    return Num(f.b.helper("timer_set_callback", of.ptr, _callback(f, of, node)))


def _start(f: Fn, of: Ref, node: ast.Call) -> Item:
    from ..calls import arguments

    items = arguments(f, node, "start(nanoseconds[, flags])", 1, 2)
    _check(f, "timer_start", node)
    flags = number(f, items[1], node.args[1]) if len(items) > 1 else f.b.const(0)
    return Num(f.b.helper("timer_start", of.ptr, f.b.cast(number(f, items[0], node.args[0]), U64), flags))


def _cancel(f: Fn, of: Ref, node: ast.Call) -> Item:
    from ..calls import arguments

    arguments(f, node, "cancel()", 0, 0)
    _check(f, "timer_cancel", node)
    return Num(f.b.helper("timer_cancel", of.ptr))


def _work_init(f: Fn, of: Ref, node: ast.Call) -> Item:
    from ..calls import arguments

    items = arguments(f, node, "init(map)", 1, 1)
    m = _map(f, items[0], node.args[0])
    value = f.kfunc(node, "6.10", "bpf_wq_init", of.ptr, ir.MapRef(f.unit.map(m)), f.b.const(0))
    return Num(f.b.widen(value))


def _work_callback(f: Fn, of: Ref, node: ast.Call) -> Item:
    ref = _callback(f, of, node)
    none = ir.Const(Ptr(VOID, Space.KERNEL), 0)
    value = f.kfunc(node, "6.10", "bpf_wq_set_callback_impl", of.ptr, ref, f.b.const(0), none)
    return Num(f.b.widen(value))


def _work_start(f: Fn, of: Ref, node: ast.Call) -> Item:
    from ..calls import arguments

    arguments(f, node, "start()", 0, 0)
    return Num(f.b.widen(f.kfunc(node, "6.10", "bpf_wq_start", of.ptr, f.b.const(0))))


def _schedule(how: str) -> Callable[[Fn, Ref, ast.Call], Item]:
    """`v.work.schedule_resume(task, map, function)`: when the task goes back to user space; `schedule_signal`
    interrupts what it waits for."""

    def handler(f: Fn, of: Ref, node: ast.Call) -> Item:
        from ..calls import arguments
        from . import helpers

        items = arguments(f, node, f"schedule_{how}(task, map, function)", 3, 3)
        task = helpers.trusted(f, items[0], "task_struct", node.args[0], "the task")
        m = ir.MapRef(f.unit.map(_map(f, items[1], node.args[1])))
        ref = function(f, of, items[2], node.args[2])
        none = ir.Const(Ptr(VOID, Space.KERNEL), 0)
        name = f"bpf_task_work_schedule_{how}_impl"
        return Num(f.b.widen(f.kfunc(node, "6.18", name, task, of.ptr, m, ref, none)))

    return handler


METHODS: dict[str, Callable[[Fn, Ref, ast.Call], Item]] = {
    "init": _init,
    "set_callback": _set_callback,
    "start": _start,
    "cancel": _cancel,
}
WORK: dict[str, Callable[[Fn, Ref, ast.Call], Item]] = {
    "init": _work_init,
    "set_callback": _work_callback,
    "start": _work_start,
}
TASK: dict[str, Callable[[Fn, Ref, ast.Call], Item]] = {
    "schedule_resume": _schedule("resume"),
    "schedule_signal": _schedule("signal"),
}
