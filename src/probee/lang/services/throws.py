"""Exceptions: `bp.throw(code)` ends the program from any depth, and a failing `assert` does so."""

from __future__ import annotations

import ast

from .. import ir
from ..convert import describe, number
from ..items import Item, Num, Py
from ..scope import Fn
from ..types import U64

FUNCTION = "bpf_throw"
SINCE = "6.7"


def throw(f: Fn, node: ast.Call) -> Item:
    """`bp.throw(code)`: the program is over, and `code` is what it returns."""
    from ..calls import arguments

    items = arguments(f, node, "throw([code])", 0, 1)
    code = number(f, items[0], node.args[0]) if items else f.b.const(0)
    _throw(f, code, node, "bp.throw()")
    return Py(None)


def _throw(f: Fn, code: ir.Value, node: ast.AST, form: str) -> None:
    if f.holds:
        f.fail(
            node,
            f"{form} does not come back to give back what the `with` or the loop around it holds",
            "leave that first, or return",
        )
    if f.unit.ktypes.kfunc(FUNCTION) is None:
        f.fail(
            node, f"this kernel has no function {FUNCTION}, as {form} needs", f"it came with Linux {SINCE}"
        )
    f.kfunc(node, SINCE, FUNCTION, f.b.cast(code, U64))
    f.unit.thrown.append((f.out, f.b.block))
    f.unit.throwing.add(f.out)
    f.flow = None


def failed(f: Fn, node: ast.Assert) -> None:
    """`assert test[, code]` of what is known at run time only did not hold: the program is over."""
    if f.unit.ktypes.kfunc(FUNCTION) is None:
        f.fail(
            node.test,
            "an assert is checked at compile time for this kernel, and this is known only at run time",
            f"those came with Linux {SINCE}; write `if not …: return`",
        )
    said = f.expr(node.msg) if node.msg is not None else Py(0)
    if not isinstance(said, Num) and not (isinstance(said, Py) and isinstance(said.obj, int)):
        f.fail(
            node.msg or node,
            f"what stands behind an assert of run-time values is what the program returns, "
            f"and this is {describe(said)}",
            "write a number, or nothing for 0",
        )
    _throw(f, number(f, said, node), node, "a failing assert")
