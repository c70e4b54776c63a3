"""`bp.static(…)`: Python that runs when the program is compiled."""

from __future__ import annotations

import ast
import builtins as python
import math
from types import BuiltinFunctionType, BuiltinMethodType, CodeType, FunctionType, MethodType

from ..errors import CompileError
from . import decl
from .convert import describe, describe_object
from .items import Item, Py
from .scope import Fn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def evaluate(f: Fn, node: ast.Call) -> Item:
    """The value of the expression, computed by Python from what is known now."""
    if len(node.args) != 1 or node.keywords:
        f.fail(node, "static takes one expression", "write bp.static(expression)")
    body = node.args[0]
    own = _bound(body)
    names: dict[str, Any] = {}
    for n in ast.walk(body):
        if isinstance(n, ast.Name) and n.id not in own and n.id not in names:
            names[n.id] = _known(f, n)
    _refuse_outside(f, body, names)
    expression = ast.fix_missing_locations(ast.Expression(body))
    try:
        code: CodeType = compile(expression, f.source.file, "eval")
        value = eval(code, {"__builtins__": python, **names})
    except CompileError:
        raise
    except Exception as e:
        f.fail(node, f"Python can't evaluate this: {type(e).__name__}: {e}")
    return Py(tuple(value) if isinstance(value, range) else value)


def _bound(body: ast.expr) -> set[str]:
    """Names that the expression itself binds: of comprehensions and lambdas."""
    out = {n.id for n in ast.walk(body) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return out | {
        a.arg
        for n in ast.walk(body)
        if isinstance(n, ast.Lambda)
        for a in ast.walk(n.args)
        if isinstance(a, ast.arg)
    }


def _known(f: Fn, node: ast.Name) -> Any:
    if node.id not in f.local_names and node.id not in f.outer_names:
        value = f.lookup(node.id, node)
    else:
        item = f.read_local(node.id, node)
        if not isinstance(item, Py):
            f.fail(
                node, f"{node.id} is {describe(item)}, known at run time only", "use constants in bp.static()"
            )
        value = item.obj
    if isinstance(value, (decl.Var, decl.MapDecl)):
        f.fail(
            node, f"{describe_object(value)} has its value at run time only", "use constants in bp.static()"
        )
    return value


def _refuse_outside(f: Fn, body: ast.expr, names: dict[str, Any]) -> None:
    """Refuse calls whose results the key of a compiled object does not cover: it would go stale."""
    for n in ast.walk(body):
        if not isinstance(n, ast.Call) or not isinstance(n.func, (ast.Name, ast.Attribute)):
            continue
        root = n.func
        while isinstance(root, ast.Attribute):
            root = root.value  # type: ignore[assignment]
        if not isinstance(root, ast.Name) or root.id not in names:
            continue
        try:
            called = eval(
                compile(ast.Expression(n.func), "<static>", "eval"), {"__builtins__": python, **names}
            )
        except Exception:
            continue
        module = getattr(called, "__module__", None)
        if isinstance(called, (BuiltinFunctionType, BuiltinMethodType)):
            fine = module in (None, "builtins", "math") and called not in (
                open,
                input,
                eval,
                exec,
                vars,
                dir,
                id,
            )
        elif isinstance(called, (FunctionType, MethodType)):
            import sys

            fine = (module or "").partition(".")[0] not in sys.stdlib_module_names or module == "__main__"
        else:
            fine = isinstance(called, type) or module == math.__name__
        if not fine:
            f.fail(
                n,
                f"what {ast.unparse(n.func)}() gives may be something else the next time",
                "put its result into a name of the module, and use that here",
            )
