"""`with`: what is taken at its head is given back on every way out of its body.

What may stand there is in two tables that other modules add to: `CALLS`, builtins by their name (`bp.rcu()`),
and `METHODS`, methods by theirs (`events.reserve()`). An entry emits the code that takes the thing and
answers with a `Held`, which says how it is given back.
"""

from __future__ import annotations

import ast

from . import builtins, decl, ir, mapops
from .convert import describe
from .flow import Flow, merge
from .items import Item, Method, Py, Ref
from .scope import Fn, Site
from .source import nodes
from .types import BOOL, I64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Held:
    """What a `with` holds while its body runs.

    `release()` emits what gives it back, at the end of the body and before every `return`, `break` and
    `continue` that leaves it, last taken first given back. `item` is what `as` names; `need_name` says that
    the body is nothing without. `ended` tells why the name means nothing behind the body.

    Where taking it may fail, the body is skipped: `failed` is then the block that control goes to instead,
    with what is known there, and `otherwise()` emits what is done on that way. `ends` is called when
    the body has been compiled. `owned` is what the body may give away (`services.owned`).
    """

    __slots__ = ("ended", "ends", "failed", "item", "need_name", "otherwise", "owned", "release")

    def __init__(
        self,
        release: Callable[[], None],
        item: Item | None = None,
        *,
        need_name: str = "",
        ended: tuple[str, str] | None = None,
        failed: tuple[ir.Block, Flow] | None = None,
        otherwise: Callable[[], None] | None = None,
        ends: Callable[[Fn], None] | None = None,
        owned: object = None,
    ) -> None:
        self.owned = owned
        self.release = release
        self.item = item
        self.need_name = need_name
        self.ended = ended
        self.failed = failed
        self.otherwise = otherwise
        self.ends = ends


def with_(f: Fn, node: ast.With) -> None:
    _nest(f, node, node.items)


def _nest(f: Fn, node: ast.With, items: list[ast.withitem]) -> None:
    if not items:
        f.block(node.body)
        return
    b, head = f.b, items[0]
    records = len(f.records)
    held = acquire(f, head.context_expr)
    name = _name(f, head, held)
    known = name in f.vars
    if name and held.item is not None:
        f.bind(name, held.item, node)
        if held.owned is not None:
            f.owned[name] = held.owned

    def release() -> None:
        before = b.loc
        b.loc = f.loc(node)
        held.release()
        if name:
            f.live.set.discard(name)
            f.live.bound.pop(name, None)
        b.loc = before

    f.cleanups.append(release)
    _nest(f, node, items[1:])
    f.cleanups.pop()
    f.owned.pop(name, None)
    if held.ends is not None:
        held.ends(f)
    if f.flow is not None:
        release()
    del f.records[records:]
    if held.failed is not None:
        _skipped(f, node, held, name)
    if name:
        if not known:  # the name is free again: the next one may be of another type
            f.vars.pop(name, None)
        if held.ended is not None:
            f.notes[name] = (held.ended[0].format(name), held.ended[1])


def _skipped(f: Fn, node: ast.With, held: Held, name: str) -> None:
    """Where the body is not run, and where both ways meet."""
    b, end = f.b, f.b.new_block("endwith")
    if f.flow is not None:
        b.jump(end)
    done = f.flow
    assert held.failed is not None
    f.enter(*held.failed)
    b.loc = f.loc(node)
    if held.otherwise is not None:
        held.otherwise()
    b.jump(end)
    f.live.set.discard(name)
    f.enter(end, merge([done, f.flow]))


def _name(f: Fn, head: ast.withitem, held: Held) -> str:
    target = head.optional_vars
    if target is None:
        if held.need_name:
            f.fail(head.context_expr, held.need_name, f"write `with {ast.unparse(head.context_expr)} as e:`")
        return ""
    if not isinstance(target, ast.Name):
        f.fail(target, "what a `with` gives has one name", "write `as e`")
    if held.item is None:
        f.fail(target, "there is nothing here to be named", f"write `with {ast.unparse(head.context_expr)}:`")
    return target.id


def acquire(f: Fn, node: ast.expr) -> Held:
    """Take what the head of a `with` names."""
    from .services import methods

    if isinstance(node, ast.Call):
        callee = f.expr(node.func)
        held = methods.hold(f, callee, node)
        if held is not None:
            return held
        if isinstance(callee, Method) and (method := METHODS.get(callee.name)) is not None:
            return method(f, callee.of, node)
        if isinstance(callee, Py) and isinstance(callee.obj, builtins.Builtin):
            call = CALLS.get(callee.obj.name)
            if call is not None:
                return call(f, node)
    else:
        lock = methods.lock(f, f.expr(node), node)
        if lock is not None:
            return lock
    known = [f"bp.{name}()" for name in sorted(CALLS)]
    f.fail(
        node,
        "this can't stand in a `with` of a program",
        f"`with` takes {', '.join(known)}, and records: `with events.reserve() as e:`",
    )


# -- records of ring buffers


def _reserve(f: Fn, of: Item, call: ast.Call) -> Held:
    if not isinstance(of, Py) or not isinstance(of.obj, decl.RingBuf):
        f.fail(
            call,
            f"{describe(of)} has no records to reserve",
            "`reserve` is for ring buffers: `with events.reserve() as e:`",
        )
    if call.args or call.keywords:
        f.fail(call, "reserve() takes no arguments", "the record's type is that of the ring buffer")
    b, rb = f.b, of.obj
    body, full = b.new_block("record"), b.new_block("full")
    without = f.live.copy()
    record = mapops.reserve(f, rb, full, body)
    b.at(body)
    fresh = f.make(record, padding=False)
    made = Site(rb.name or "record", [])

    unwanted: ir.Local | None = None
    if any(type(n) is ast.Attribute and n.attr == "discard" for n in nodes(f.source.node)):
        unwanted = b.local("discard", BOOL)
        b.store(unwanted, b.const(0, BOOL))
        f.records.append((rb, unwanted))

    def submit() -> None:
        f.live.finish(fresh)
        if unwanted is not None:
            drop, keep, end = (b.new_block(n) for n in ("discard", "submit", "end"))
            b.branch(b.load(unwanted), drop, keep)
            b.at(drop)
            mapops.submit(f, record, discard=True)
            b.jump(end)
            b.at(keep)
            mapops.submit(f, record)
            b.jump(end)
            b.at(end)
            return
        mapops.submit(f, record)

    return Held(
        submit,
        Ref(record, fresh=fresh, origin=frozenset((made,))),
        need_name="the record needs a name",
        ended=(
            "{} is the record of a `with` that has ended, and belongs to the reader now",
            "use it inside the `with`",
        ),
        failed=(full, without),
        otherwise=lambda: mapops.count_drop(f, rb),
    )


# -- sections of code


def _nothing(f: Fn, node: ast.Call) -> None:
    if node.args or node.keywords:
        f.fail(node, f"{ast.unparse(node.func)}() takes no arguments")


def _section(enter: str, leave: str, since: str) -> Callable[[Fn, ast.Call], Held]:
    """A pair of kernel functions without arguments."""

    def take(f: Fn, node: ast.Call) -> Held:
        _nothing(f, node)
        f.kfunc(node, since, enter)
        return Held(lambda: void(f.kfunc(node, since, leave)))

    return take


def void(value: object) -> None:
    """For lambdas whose value nobody wants."""


def _rcu(f: Fn, node: ast.Call) -> Held:
    _nothing(f, node)
    if f.under_rcu:
        return Held(lambda: None)  # kernels refuse a second one inside the first, which does as well
    if f.unit.ktypes.kfunc("bpf_rcu_read_lock") is None and not getattr(f.program, "sleepable", False):
        return Held(lambda: None)  # a program that can't sleep runs under RCU anyway
    f.kfunc(node, "6.2", "bpf_rcu_read_lock")
    f.under_rcu = True
    return Held(lambda: void(f.kfunc(node, "6.2", "bpf_rcu_read_unlock")), ends=_end_rcu)


def _end_rcu(f: Fn) -> None:
    f.under_rcu = False


def _irq_off(f: Fn, node: ast.Call) -> Held:
    _nothing(f, node)
    flags = f.b.local("irq flags", I64)
    f.kfunc(node, "6.14", "bpf_local_irq_save", flags)
    return Held(lambda: void(f.kfunc(node, "6.14", "bpf_local_irq_restore", flags)))


CALLS: dict[str, Callable[[Fn, ast.Call], Held]] = {
    "rcu": _rcu,
    "preempt_off": _section("bpf_preempt_disable", "bpf_preempt_enable", "6.10"),
    "irq_off": _irq_off,
}
METHODS: dict[str, Callable[[Fn, Item, ast.Call], Held]] = {"reserve": _reserve}
