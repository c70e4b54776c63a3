"""Statements."""

from __future__ import annotations

import ast

from . import assign, bounds, callbacks, cond, ir, loops, match, with_
from .flow import Flow
from .items import Item, Num, Py
from .scope import Fn, is_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_REFUSED: dict[type[ast.stmt], tuple[str, str]] = {
    ast.AsyncFunctionDef: ("`async` has no meaning in the kernel", "define a plain function in the module"),
    ast.ClassDef: ("a class can't be defined inside a program", "declare structs in the module"),
    ast.Try: ("there are no exceptions in the kernel", "test for the case with `if`"),
    ast.TryStar: ("there are no exceptions in the kernel", "test for the case with `if`"),
    **dict.fromkeys(
        [getattr(ast, name) for name in ("TypeAlias",) if hasattr(ast, name)],
        ("a type can't be named inside a program", "name it in the module"),
    ),
    ast.Raise: (
        "there are no exceptions in the kernel",
        "`return`, bp.throw(code) out of all functions, or send a record that says what happened",
    ),
    ast.Global: (
        "`global` can't be used: Python's globals are not in the kernel",
        "declare `total = bp.Global[u64](0)` in the module and use total.value",
    ),
    ast.Import: ("a program can't import", "import at the top of the module"),
    ast.ImportFrom: ("a program can't import", "import at the top of the module"),
    ast.AsyncFor: ("`async` has no meaning in the kernel", "write a plain `for`"),
    ast.AsyncWith: ("`async` has no meaning in the kernel", "write a plain `with`"),
}


def block(f: Fn, body: list[ast.stmt]) -> None:
    """Statements in order; what no way leads to is not compiled."""
    for node in body:
        if f.flow is None:
            return
        statement(f, node)


def statement(f: Fn, node: ast.stmt) -> None:
    handler = _HANDLERS.get(type(node))
    if handler is None:
        message, advice = _REFUSED.get(
            type(node), (f"{type(node).__name__} statements are not part of the language", "")
        )
        f.fail(node, message, advice)
    f.b.loc = f.loc(node)
    handler(f, node)


# -- assignment
# -- control flow


def _if(f: Fn, node: ast.If) -> None:
    b = f.b
    yes, no = b.new_block("then"), b.new_block("else")
    y, n = cond.branch(f, node.test, yes, no)
    ends: list[tuple[ir.Block, Flow]] = []
    for start, flow, body in ((yes, y, node.body), (no, n, node.orelse)):
        if flow is None:
            continue
        f.enter(start, flow)
        block(f, body)
        if f.flow is not None:
            ends.append((b.block, f.flow))
    f.meet(ends, "endif")


def _return(f: Fn, node: ast.Return) -> None:
    item: Item | None = None
    if node.value is not None:
        item = f.expr(node.value)
        if is_none(item):
            item = None
        else:
            item = f.returned(item, node.value)
    f.b.loc = f.loc(node)
    f.leave()
    f.returns.append((f.b.block, item, node))
    f.flow = None


# -- the rest


def _assert(f: Fn, node: ast.Assert) -> None:
    from .services import throws

    if not any(isinstance(n, (ast.Call, ast.NamedExpr)) for n in ast.walk(node.test)):
        item = f.expr(node.test)
        if isinstance(item, Num) and isinstance(item.v, ir.Compare) and bounds.surely(item.v, f.intervals):
            return
    yes, no = f.b.new_block("holds"), f.b.new_block("fails")
    holds, fails = cond.branch(f, node.test, yes, no)
    if holds is None:
        said = f.expr(node.msg) if node.msg is not None else None
        message = f": {said.obj}" if isinstance(said, Py) else ""
        f.fail(node, f"the assertion does not hold{message}")
    if fails is not None:
        f.enter(no, fails)
        throws.failed(f, node)
    f.enter(yes, holds)


_VALUES = (ast.Compare, ast.BinOp, ast.Name, ast.Attribute, ast.UnaryOp, ast.Subscript, ast.Tuple)


def _expr(f: Fn, node: ast.Expr) -> None:
    if isinstance(node.value, ast.Constant):
        if isinstance(node.value.value, str):
            return  # a docstring, or a comment in its shape
        f.fail(node, "this value is not used", "drop the line, or write `pass` for an empty body")
    value = node.value
    item = f.expr(value)
    if isinstance(value, _VALUES):
        hint = "drop the line"
        if isinstance(value, ast.Compare):
            hint = "did you mean `=`?"
        elif isinstance(item, Py) and callable(item.obj):
            hint = "to call it, add ()"
        elif isinstance(value, ast.UnaryOp) and isinstance(value.operand, ast.UnaryOp):
            inner = value.operand.operand
            sign = {ast.UAdd: "+", ast.USub: "-"}.get(type(value.op))
            if sign and isinstance(inner, (ast.Name, ast.Attribute, ast.Subscript)):
                hint = f"Python has no `{sign}{sign}`: write `{ast.unparse(inner)} {sign}= 1`"
        f.fail(node, "this value is not used", hint)


def _nonlocal(f: Fn, node: ast.Nonlocal) -> None:
    for name in node.names:
        if name not in f.outer_names:
            f.fail(
                node,
                "`nonlocal` is for functions inside programs: Python's own variables are not in the kernel",
                "declare a bp.Global in the module and use its .value",
            )


def _pass(f: Fn, node: ast.Pass) -> None:
    pass


_HANDLERS: dict[type[ast.stmt], Callable[[Fn, Any], None]] = {
    ast.Assign: assign.statement,
    ast.AnnAssign: assign.annotated,
    ast.AugAssign: assign.augmented,
    ast.Delete: assign.delete,
    ast.If: _if,
    ast.While: loops.while_,
    ast.For: loops.for_,
    ast.Break: loops.break_,
    ast.Continue: loops.continue_,
    ast.Return: _return,
    ast.With: with_.with_,
    ast.Match: match.match,
    ast.Assert: _assert,
    ast.Expr: _expr,
    ast.Pass: _pass,
    ast.FunctionDef: callbacks.define,
    ast.Nonlocal: _nonlocal,
}
