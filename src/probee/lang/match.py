"""`match`: values, alternatives, captures, guards, structs by their fields, tuples and arrays, None."""

from __future__ import annotations

import ast

from . import cond, decl, expr, ir, text
from .assign import bind
from .convert import check_none, constant, describe, literal, number, resolve
from .flow import Flow, merge
from .items import Group, Item, Num, Opt, Pointer, Py, Ref
from .scope import Fn
from .types import BOOL, Array, Struct

Bindings = list[tuple[str, Item, ast.AST]]


def match(f: Fn, node: ast.Match) -> None:
    b = f.b
    subject = _subject(f, f.expr(node.subject), node.subject)
    local = node.subject.id if isinstance(node.subject, ast.Name) else ""
    ends: list[tuple[ir.Block, Flow]] = []
    for case in node.cases:
        if f.flow is None:
            break
        if local in f.live.known and isinstance(subject, (Opt, Ref)):
            subject = _subject(f, f.read_local(local, node.subject), node.subject)
        no = b.new_block("next case")
        b.loc = f.loc(case.pattern)
        bound: Bindings = []
        misses: list[Flow | None] = []
        _pattern(f, case.pattern, subject, no, misses, bound)
        if f.flow is not None:
            for name, item, where in bound:
                bind(f, name, item, where)
            if isinstance(case.pattern, ast.MatchSingleton) and case.pattern.value is None:
                for miss in misses:
                    if miss is not None and local in miss.set:
                        miss.known.add(local)
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


def _subject(f: Fn, item: Item, node: ast.expr) -> Item:
    if isinstance(item, Group):
        return Group([_subject(f, i, node) for i in item.items])
    item = resolve(f, item, node)
    if isinstance(item, Py):
        return Num(literal(f, item.obj, node)) if constant(item) is not None else item
    if isinstance(item, (Ref, Opt, Pointer)) or text.is_text(item):
        return item
    return Num(number(f, item, node))


def _check(f: Fn, test: ir.Value, no: ir.Block, misses: list[Flow | None]) -> None:
    """Go on only where the test holds."""
    yes = f.b.new_block("case")
    f.b.branch(test, yes, no)
    here = f.live
    if not isinstance(test, ir.Const):
        misses.append(here.copy())
    elif not test.value:
        misses.append(here)
        f.enter(yes, None)
        return
    f.enter(yes, here)


def _pattern(
    f: Fn, pattern: ast.pattern, subject: Item, no: ir.Block, misses: list[Flow | None], bound: Bindings
) -> None:
    """Go on where the subject matches, to `no` where it does not. `bound` are the names the pattern gives."""
    if f.flow is None:
        return
    if isinstance(pattern, ast.MatchAs):
        if pattern.pattern is not None:
            _pattern(f, pattern.pattern, subject, no, misses, bound)
        if pattern.name:
            bound.append((pattern.name, subject, pattern))
    elif isinstance(pattern, ast.MatchClass):
        _class(f, pattern, subject, no, misses, bound)
    elif isinstance(pattern, ast.MatchSequence):
        _sequence(f, pattern, subject, no, misses, bound)
    elif isinstance(pattern, ast.MatchOr) and not all(_simple(p) for p in pattern.patterns):
        _either(f, pattern, subject, no, misses)
    else:
        _check(f, _test(f, pattern, subject), no, misses)


def _simple(pattern: ast.pattern) -> bool:
    return isinstance(pattern, (ast.MatchValue, ast.MatchSingleton))


def _test(f: Fn, pattern: ast.pattern, subject: Item) -> ir.Value:
    """Is the subject this value, or one of these? A BOOL."""
    if isinstance(pattern, ast.MatchOr):
        return f.b.any_of([_test(f, p, subject) for p in pattern.patterns])
    if isinstance(pattern, ast.MatchSingleton):
        if pattern.value is None:
            return check_none(f, subject, pattern)
        return expr.compare(f, "==", subject, Py(pattern.value), pattern)
    if isinstance(pattern, ast.MatchValue):
        value = f.expr(pattern.value)
        if not isinstance(value, Py) or isinstance(value.obj, (decl.Var, decl.MapDecl)):
            f.fail(pattern, "a pattern is a constant", "compare run-time values with `if`, or with a guard")
        return expr.compare(f, "==", subject, value, pattern)
    what = {ast.MatchMapping: "mapping", ast.MatchStar: "star"}.get(type(pattern), type(pattern).__name__)
    f.fail(
        pattern,
        f"{what} patterns are not supported",
        "match numbers, texts, tuples, structs by their fields, None, with `|` and guards",
    )


def _either(f: Fn, pattern: ast.MatchOr, subject: Item, no: ir.Block, misses: list[Flow | None]) -> None:
    """Alternatives of which some look inside."""
    b = f.b
    ends: list[tuple[ir.Block, Flow]] = []
    for alternative in pattern.patterns:
        names: Bindings = []
        missed: list[Flow | None] = []
        following = b.new_block("or")
        _pattern(f, alternative, subject, following, missed, names)
        if names:
            f.fail(alternative, "an alternative can't name values here", "write a `case` for each")
        if f.flow is not None:
            ends.append((b.block, f.flow))
        f.enter(following, merge(missed))
        if f.flow is None:
            break
    if f.flow is not None:
        b.jump(no)
        misses.append(f.flow)
    f.meet(ends, "matched")


def _class(
    f: Fn, pattern: ast.MatchClass, subject: Item, no: ir.Block, misses: list[Flow | None], bound: Bindings
) -> None:
    """`Point(x=0, y=y)`: a struct with these fields; `int()`: any number."""
    item = f.expr(pattern.cls)
    cls = item.obj if isinstance(item, Py) else None
    if cls in (int, bool) and not pattern.kwd_attrs and len(pattern.patterns) <= 1:
        _check(f, f.b.const(int(isinstance(subject, Num)), BOOL), no, misses)
        if f.flow is not None and pattern.patterns:
            _pattern(f, pattern.patterns[0], subject, no, misses, bound)
        return
    if not isinstance(cls, decl.StructType):
        f.fail(
            pattern,
            f"{describe(item)} is no class to match with",
            "match a struct by its class and fields, or numbers by value",
        )
    if isinstance(subject, Ref) and subject.maybe:
        _check(f, f.b.truth(subject.ptr), no, misses)
        subject = Ref(subject.ptr, shared=subject.shared, origin=subject.origin)
    if not isinstance(subject, Ref) or subject.type != decl.ir_type(cls):
        _check(f, f.b.const(0, BOOL), no, misses)
        return
    names = list(cls._names_)
    if len(pattern.patterns) > len(names):
        f.fail(pattern, f"{cls.__name__} has {len(names)} fields")
    fields = [
        *zip(names, pattern.patterns, strict=False),
        *zip(pattern.kwd_attrs, pattern.kwd_patterns, strict=True),
    ]
    for name, inner in fields:
        if f.flow is None:
            return
        assert isinstance(subject.type, Struct)
        _pattern(f, inner, expr.field(f, subject, name, pattern), no, misses, bound)


def _sequence(
    f: Fn, pattern: ast.MatchSequence, subject: Item, no: ir.Block, misses: list[Flow | None], bound: Bindings
) -> None:
    """`(0, x)`: a tuple written in the `match`, or an array, of this length."""
    if isinstance(subject, Group):
        items: list[Item] = subject.items
    elif isinstance(subject, Py) and isinstance(subject.obj, (tuple, list)):
        items = [_subject(f, Py(v), ast.Constant(None)) for v in subject.obj]
    elif isinstance(subject, Ref) and isinstance(subject.type, Array) and not subject.maybe:
        items = [expr.element(f, subject, Py(i), pattern) for i in range(subject.type.n)]
    else:
        _check(f, f.b.const(0, BOOL), no, misses)
        return
    inner = list(pattern.patterns)
    stars = [i for i, p in enumerate(inner) if isinstance(p, ast.MatchStar)]
    if stars:
        star = inner[stars[0]]
        assert isinstance(star, ast.MatchStar)
        if star.name:
            f.fail(star, "the rest of a tuple can't have a name", "write `*_`, and name the values you need")
        missing = len(items) - (len(inner) - 1)
        inner[stars[0] : stars[0] + 1] = [ast.copy_location(ast.MatchAs(), star)] * max(0, missing)
    if len(inner) != len(items):
        _check(f, f.b.const(0, BOOL), no, misses)
        return
    for part, item in zip(inner, items, strict=True):
        _pattern(f, part, item, no, misses, bound)
