"""Functions that helpers call back."""

from __future__ import annotations

import ast

from .. import ir
from ..callbacks import Kind, make
from ..items import Item, Pointer, Ref
from ..scope import Fn
from ..types import VOID, Ptr, Space
from . import timers
from .dynptrs import DYNPTR


def callback(
    f: Fn, helper: str, before: Item | None, item: Item, node: ast.expr
) -> tuple[ir.Value, ir.Value]:
    """A function for a helper, and what it sees of the locals here; `before` is the argument before it."""
    if helper == "timer_set_callback":
        assert isinstance(before, Ref)
        return timers.function(f, before, item, node), ir.Const(Ptr(VOID, Space.STACK), 0)
    return make(f, item, _vma(f) if helper == "find_vma" else _record(), node)


def _record() -> Kind:
    def bind(g: Fn, names: list[str], params: list[ir.Param], where: ast.AST) -> None:
        for name in names:
            g.bind(name, Ref(params[0]), where)

    return Kind([("record", Ptr(DYNPTR, Space.STACK))], 1, "take(record)", bind)


def _vma(f: Fn) -> Kind:
    kinds = [Ptr(f.unit.ktypes.struct(n), Space.TRUSTED) for n in ("task_struct", "vm_area_struct")]

    def bind(g: Fn, names: list[str], params: list[ir.Param], where: ast.AST) -> None:
        for name, param in zip(names, params, strict=False):
            g.bind(name, Pointer(param), where)

    return Kind([("task", kinds[0]), ("vma", kinds[1])], 2, "look(task, vma)", bind)
