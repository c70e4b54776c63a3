"""`with`: what is taken at its head is given back on every way out of its body."""

from __future__ import annotations

import ast

from . import decl, mapops
from .convert import describe
from .flow import merge
from .items import Py, Ref
from .scope import Fn, Site


def with_(f: Fn, node: ast.With) -> None:
    if len(node.items) != 1:
        f.fail(node, "one `with` reserves one record", "nest two `with` statements")
    head = node.items[0]
    call = head.context_expr
    advice = "`with` is for ring buffers: `with events.reserve() as e:`"
    if (
        not isinstance(call, ast.Call)
        or not isinstance(call.func, ast.Attribute)
        or call.func.attr != "reserve"
    ):
        f.fail(call, "this can't stand in a `with` of a program", advice)
    base = f.expr(call.func.value)
    if not isinstance(base, Py) or not isinstance(base.obj, decl.RingBuf):
        f.fail(call, f"{describe(base)} has no records to reserve", advice)
    if call.args or call.keywords:
        f.fail(call, "reserve() takes no arguments", "the record's type is that of the ring buffer")
    if not isinstance(head.optional_vars, ast.Name):
        f.fail(call, "the record needs a name", f"write `with {base.obj.name}.reserve() as e:`")
    name = head.optional_vars.id
    b, rb = f.b, base.obj
    body, full, end = b.new_block("record"), b.new_block("full"), b.new_block("endwith")
    without = f.live.copy()
    record = mapops.reserve(f, rb, full, body)
    b.at(body)
    fresh = f.make(record, padding=False)
    known = name in f.vars
    made = Site(rb.name or "record", [])
    f.bind(name, Ref(record, fresh=fresh, origin=frozenset((made,))), node)

    def submit() -> None:
        f.live.finish(fresh)
        before = b.loc
        b.loc = f.loc(node)
        mapops.submit(f, record)
        f.live.set.discard(name)
        f.live.bound.pop(name, None)
        b.loc = before

    f.cleanups.append(submit)
    f.block(node.body)
    f.cleanups.pop()
    if f.flow is not None:
        submit()
        b.jump(end)
    done = f.flow
    f.enter(full, without)
    b.loc = f.loc(node)
    mapops.count_drop(f, rb)
    b.jump(end)
    without.set.discard(name)
    f.enter(end, merge([done, without]))
    if not known:  # the name is free again: the next record may be of another type
        del f.vars[name]
    f.notes[name] = (
        f"{name} is the record of a `with` that has ended, and belongs to the reader now",
        "use it inside the `with`",
    )
