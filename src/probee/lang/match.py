"""`match`."""

from __future__ import annotations

import ast

from . import cond, decl, expr, ir, text
from .assign import bind
from .convert import constant, literal, number
from .flow import Flow, merge
from .items import Item, Num, Py
from .scope import Fn
from .types import BOOL


def match(f: Fn, node: ast.Match) -> None:
    b = f.b
    subject = f.expr(node.subject)
    if not (isinstance(subject, Py) or text.is_text(subject)):
        subject = Num(number(f, subject, node.subject))
    elif isinstance(subject, Py) and constant(subject) is not None:
        subject = Num(literal(f, subject.obj, node.subject))
    ends: list[tuple[ir.Block, Flow]] = []
    for case in node.cases:
        if f.flow is None:
            break
        yes, no = b.new_block("case"), b.new_block("next case")
        b.loc = f.loc(case.pattern)
        test = _pattern(f, case.pattern, subject)
        b.branch(test, yes, no)
        here = f.live
        y: Flow | None = here
        n: Flow | None = here.copy()
        if isinstance(test, ir.Const):
            y, n = (here, None) if test.value else (None, here)
        misses = [n]
        f.enter(yes, y)
        if y is not None:
            if isinstance(case.pattern, ast.MatchAs) and case.pattern.name:
                bind(f, case.pattern.name, subject, case.pattern)
            if case.guard is not None:
                body = b.new_block("guarded")
                y, missed = cond.branch(f, case.guard, body, no)
                misses.append(missed)
                f.enter(body, y)
            f.block(case.body)
            if f.flow is not None:
                ends.append((b.block, f.flow))
        f.enter(no, merge(misses))
    if f.flow is not None:
        ends.append((b.block, f.flow))
    f.meet(ends, "endmatch")


def _pattern(f: Fn, pattern: ast.pattern, subject: Item) -> ir.Value:
    """Does the subject match? A BOOL."""
    b = f.b
    if isinstance(pattern, ast.MatchValue):
        value = f.expr(pattern.value)
        if not isinstance(value, Py) or isinstance(value.obj, (decl.Var, decl.MapDecl)):
            f.fail(pattern, "a pattern is a constant", "compare run-time values with `if`, or with a guard")
        return expr.compare(f, "==", subject, value, pattern)
    if isinstance(pattern, ast.MatchSingleton) and pattern.value is not None:
        return expr.compare(f, "==", subject, Py(pattern.value), pattern)
    if isinstance(pattern, ast.MatchOr):
        return b.any_of([_pattern(f, p, subject) for p in pattern.patterns])
    if isinstance(pattern, ast.MatchAs):
        if pattern.pattern is not None:
            f.fail(pattern, "`as` in a pattern is not supported", "name the subject before the match")
        return b.const(1, BOOL)
    what = {
        ast.MatchSequence: "sequence",
        ast.MatchMapping: "mapping",
        ast.MatchClass: "class",
        ast.MatchStar: "star",
        ast.MatchSingleton: "None",
    }.get(type(pattern), type(pattern).__name__)
    f.fail(
        pattern,
        f"{what} patterns are not supported",
        "match numbers: literals, constants, `|`, guards and `_`",
    )
