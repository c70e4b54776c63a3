"""Loops: `while`, `for`, `break`, `continue`."""

from __future__ import annotations

import ast

from . import cond, decl, expr, ir
from .assign import assign
from .convert import constant, describe, number, refuse_maybe
from .flow import Flow
from .items import Group, Item, Num, Py, Ref
from .scope import Again, Fn, Loop, PyVar
from .types import I64, U64, Array, Chars


def _assigned_in(*nodes: ast.AST) -> set[str]:
    """Locals that the statements may assign."""
    return {
        n.id if isinstance(n, ast.Name) else n.name or ""
        for top in nodes
        for n in ast.walk(top)
        if (isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        or isinstance(n, (ast.MatchAs, ast.MatchStar))
    }


def _enter_loop(f: Fn, assigned: set[str]) -> None:
    """Before a loop: forget what its later rounds may change.

    A local that is not None here is taken to be so in every round, until `_next_round` finds that it is not.
    """
    f.live.forget(assigned)
    f.live.known -= f.doubtful & assigned


def _next_round(f: Fn, start: Flow, ends: list[Flow | None]) -> None:
    """Is all that was known at the start of the first round known at the start of the next?"""
    lost = {n for end in ends if end is not None for n in start.known - end.known}
    if lost:
        raise Again(lost)


def while_(f: Fn, node: ast.While) -> None:
    b = f.b
    _enter_loop(f, _assigned_in(node))
    head, body, out, end = (b.new_block(n) for n in ("while", "body", "done", "end"))
    b.jump(head)
    f.enter(head, f.flow)
    start = f.live.copy()
    y, n = cond.branch(f, node.test, body, out)
    loop = Loop(head, end, len(f.cleanups), frozenset(start.set))
    f.loops.append(loop)
    if y is not None:
        f.enter(body, y)
        f.block(node.body)
        if f.flow is not None:
            b.loc = f.loc(node)
            b.jump(head)
    f.loops.pop()
    _next_round(f, start, [f.flow if y is not None else None, *loop.continues])
    _loop_end(f, node, loop, out, n)


def _loop_end(f: Fn, node: ast.While | ast.For, loop: Loop, out: ir.Block, flow: Flow | None) -> None:
    """The `else` part, then where breaks come to."""
    f.enter(out, flow)
    if flow is not None:
        f.block(node.orelse)
    f.join(loop.end, loop.breaks)


def for_(f: Fn, node: ast.For) -> None:
    if isinstance(node.iter, ast.Call):
        func = node.iter.func
        callee = f.expr(func) if isinstance(func, (ast.Name, ast.Attribute)) else None
        if isinstance(callee, Py) and callee.obj is range:
            _for_range(f, node, node.iter)
            return
        if isinstance(callee, Py) and callee.obj in (enumerate, zip, reversed, sorted, map, filter):
            f.fail(
                node.iter,
                f"{callee.obj.__name__}() can't be looped over here",
                "loop over `range(n)` and index",
            )
    item = f.expr(node.iter)
    if isinstance(item, Py) and isinstance(item.obj, range):
        r = item.obj
        _count(f, node, Py(r.start), Py(r.stop), r.step)
        return
    if isinstance(item, Py) and isinstance(item.obj, (tuple, list)):
        _for_constants(f, node, [Py(v) for v in item.obj])
        return
    if isinstance(item, Group):
        _for_constants(f, node, item.items)
        return
    refuse_maybe(f, item, node.iter)
    if isinstance(item, Ref) and isinstance(item.type, (Array, Chars)) and item.type.n:
        f.escape(item)
        whole = Ref(item.ptr, shared=item.shared)
        _count(f, node, Py(0), Py(item.type.n), 1, whole)
        return
    if isinstance(item, Py) and isinstance(item.obj, decl.MapDecl):
        f.fail(node.iter, "a program can't loop over a map", "look up its keys, or loop over it in Python")
    f.fail(
        node.iter,
        f"{describe(item)} can't be looped over",
        "loop over `range(n)` or over an array field of a struct",
    )


def _for_range(f: Fn, node: ast.For, call: ast.Call) -> None:
    if call.keywords or not 1 <= len(call.args) <= 3:
        f.fail(call, "range takes one to three numbers", "write range(stop), range(start, stop[, step])")
    items: list[Item] = []
    for arg in call.args:
        item = f.expr(arg)
        items.append(item if constant(item) is not None else Num(number(f, item, arg)))
    step = 1
    if len(items) == 3:
        value = constant(items[2])
        if value is None:
            f.fail(call.args[2], "the step of a range must be a constant")
        if value == 0:
            f.fail(call.args[2], "the step of a range must not be 0")
        step = int(value)
    start, stop = (Py(0), items[0]) if len(items) == 1 else (items[0], items[1])
    _count(f, node, start, stop, step)


def _count(f: Fn, node: ast.For, start: Item, stop: Item, step: int, over: Ref | None = None) -> None:
    """A loop over numbers; with `over`, over the elements of an array."""
    b = f.b
    if over is None and not isinstance(node.target, ast.Name):
        f.fail(node.target, "the loop variable of a range is a name")
    first, last = b.widen(number(f, start, node.iter)), b.widen(number(f, stop, node.iter))
    if step < 0:
        first, last = b.cast(first, I64), b.cast(last, I64)
    natural = first.type == U64 or (isinstance(first, ir.Const) and first.value >= 0)
    kind = U64 if natural and last.type == U64 else I64  # a start that may be negative must be counted from
    counter = b.local("counter", kind)
    limit = last
    if not isinstance(last, ir.Const):
        held = b.local("stop", last.type)
        b.store(held, last)
    b.store(counter, b.cast(first, kind))
    _enter_loop(f, _assigned_in(*node.body, node.target))
    head, body, following, out, end = (b.new_block(n) for n in ("for", "body", "next", "done", "end"))
    b.jump(head)
    f.enter(head, f.flow)
    now = b.load(counter)
    if not isinstance(last, ir.Const):
        limit = b.load(held)
    go = b.compare("<" if step > 0 else ">", now, limit)
    b.branch(go, body, out)
    after = f.live.copy()
    f.enter(body, f.flow)
    loop = Loop(following, end, len(f.cleanups), frozenset(after.set))
    f.loops.append(loop)
    if f.flow is not None:
        if over is None:
            assign(f, node.target, Num(b.load(counter)), node)
        else:
            assign(
                f,
                node.target,
                expr.read_place(f, Ref(b.index(over.ptr, b.load(counter)), shared=over.shared)),
                node,
            )
        f.block(node.body)
    f.loops.pop()
    f.join(following, loop.continues)
    if f.flow is not None:
        _next_round(f, after, [f.flow])
        if (
            isinstance(first, ir.Const)
            and isinstance(last, ir.Const)
            and (last.value - first.value) * step > 0
        ):
            after.set |= f.flow.set  # at least one round
        b.loc = f.loc(node)
        b.store(counter, b.arith("+", b.load(counter), b.const(step, kind)))
        b.jump(head)
    _loop_end(f, node, loop, out, after)


def _for_constants(f: Fn, node: ast.For, items: list[Item]) -> None:
    """A loop over values written down: the body once for each."""
    b = f.b
    end = b.new_block("end")
    loops: list[Loop] = []
    for item in items:
        if f.flow is None:
            break
        loop = Loop(b.new_block("next"), end, len(f.cleanups))
        f.loops.append(loop)
        loops.append(loop)
        if isinstance(item, Py) and isinstance(node.target, ast.Name) and not isinstance(item.obj, int):
            f.vars.pop(node.target.id, None)  # another constant each time
        assign(f, node.target, item, node)
        f.block(node.body)
        f.loops.pop()
        f.join(loop.next, loop.continues)
    if f.flow is not None:
        f.block(node.orelse)
    breaks = [flow for loop in loops for flow in loop.breaks]
    f.join(end, breaks)
    name = node.target.id if isinstance(node.target, ast.Name) else ""
    if isinstance(f.vars.get(name), PyVar) and breaks and f.flow is not None:
        f.flow.set.discard(name)
        f.notes[name] = (
            f"which of the loop's constants {name} is here is known only at run time",
            "use it inside the loop, before the `break`, or in a function that takes it",
        )


def break_(f: Fn, node: ast.Break) -> None:
    _leave(f, f.loops[-1].end, f.loops[-1].breaks)


def continue_(f: Fn, node: ast.Continue) -> None:
    _leave(f, f.loops[-1].next, f.loops[-1].continues)


def _leave(f: Fn, to: ir.Block, flows: list[Flow | None]) -> None:
    for cleanup in reversed(f.cleanups[f.loops[-1].cleanups :]):
        cleanup()
    flows.append(f.flow)
    f.b.jump(to)
    f.flow = None
