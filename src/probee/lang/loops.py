"""Loops: `while`, `for`, `break`, `continue`.

A loop over numbers is one of three things. Where the verifier can see how often it goes round, and that is
not too often, it is a plain loop with a counter. Otherwise it is one of the kernel's open-coded iterators
(`bpf_iter_num`, Linux 6.4), whose rounds the verifier need not follow one by one. Without those the helper
`bpf_loop` (Linux 5.17) calls the body (`outline`); a kernel that has neither gets a plain loop, and its
verifier decides.
"""

from __future__ import annotations

import ast

from . import bounds, builtins, cond, ir, sequences
from .assign import assign
from .convert import constant, number
from .flow import Flow
from .items import Item, Num, Py
from .scope import Again, Fn, IntVar, Loop, PtrVar, PyVar, nothing
from .sequences import MANY, Numbers
from .types import I64, U64, Array, Int, Ptr, Space

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .builder import Builder

_PLAIN = 4096  # rounds, those of the loops around included, that the verifier is asked to follow
_PLAIN_OF_DATA = 256  # the same where data decides how many there are: each may be the last
_PLAIN_AND_COUNTED = 32  # the same where it has to know in each round what rounds before it decided
# Where the verifier's ways part: those through a round multiply with those out of it.
_FORKS = (ast.If, ast.IfExp, ast.BoolOp, ast.match_case, ast.While, ast.For, ast.Break, ast.Return)
_UNROLLED = 1024  # rounds of a loop over constants, whose body is compiled for each


class Rounds:
    """How a loop goes round: code before it, at its head, at the end of a round, and behind the last."""

    count = 0  # rounds at most, 0 if not known
    holds = True  # is there something to `finish`?
    at_least_once = False

    def start(self) -> None:
        """Before the loop."""

    def test(self, body: ir.Block, out: ir.Block) -> None:
        """At the head: jump."""
        raise NotImplementedError

    def step(self) -> None:
        """At the end of a round, `continue` included."""

    def finish(self) -> None:
        """When the loop is left, on every way."""

    def item(self) -> Item | None:
        """What a round is about, at its beginning."""
        return None

    def placed(self, loop: Loop, head: ir.Block, body: ir.Block, out: ir.Block) -> None:
        """The loop begins; these are its blocks."""


def assigned_in(*nodes: ast.AST) -> set[str]:
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


def run(f: Fn, node: ast.For | ast.While, rounds: Rounds, test: ast.expr | None = None) -> None:
    """The loop: `rounds` say when it ends, and so does `test` where there is one."""
    b = f.b
    rounds.start()
    outer = len(f.cleanups)
    _enter_loop(f, assigned_in(node))
    head, body, following, out, end = (b.new_block(n) for n in ("loop", "body", "next", "done", "end"))
    b.jump(head)
    f.enter(head, f.flow)
    start = f.live.copy()
    rounds.test(body, out)
    after = f.live.copy()
    f.enter(body, f.flow)
    f.cleanups.append(rounds.finish if rounds.holds else nothing)
    count = rounds.count if all(x.rounds for x in f.loops) else 0
    loop = Loop(following, end, len(f.cleanups), frozenset(start.set), outer=outer, rounds=count)
    f.loops.append(loop)
    rounds.placed(loop, head, body, out)
    misses: list[Flow | None] = [after]
    if test is not None:
        inner = b.new_block("round")
        y, n = cond.branch(f, test, inner, out)
        misses.append(n)
        f.enter(inner, y)
    if f.flow is not None:
        if isinstance(node, ast.For):
            item = rounds.item()
            if item is not None:
                assign(f, node.target, item, node)
        f.block(node.body)
    f.loops.pop()
    f.cleanups.pop()
    f.join(following, loop.continues)
    if f.flow is not None:
        _next_round(f, start, [f.flow])
        if rounds.at_least_once and test is None:
            after.set |= f.flow.set
        b.loc = f.loc(node)
        rounds.step()
        b.jump(head)
    f.join(out, misses) if f.flow is not None else _arrive(f, out, misses)
    if f.flow is not None:
        b.loc = f.loc(node)
        rounds.finish()
        f.block(node.orelse)
    f.join(end, loop.breaks)


def _arrive(f: Fn, block: ir.Block, flows: list[Flow | None]) -> None:
    from .flow import merge

    f.enter(block, merge(flows))


# -- while


def while_(f: Fn, node: ast.While) -> None:
    limit, rest = _bound(f, node.test)
    if limit is not None:
        _while_limited(f, node, limit, rest)
        return
    _refuse_endless(f, node)
    b = f.b
    _enter_loop(f, assigned_in(node))
    head, body, out, end = (b.new_block(n) for n in ("while", "body", "done", "end"))
    b.jump(head)
    f.enter(head, f.flow)
    start = f.live.copy()
    y, n = cond.branch(f, node.test, body, out)
    loop = Loop(head, end, len(f.cleanups), frozenset(start.set))
    f.loops.append(loop)
    if y is not None:
        f.enter(body, y)
        _refuse_walk(f, node)
        f.block(node.body)
        if f.flow is not None:
            b.loc = f.loc(node)
            b.jump(head)
    f.loops.pop()
    _next_round(f, start, [f.flow if y is not None else None, *loop.continues])
    f.enter(out, n)
    if n is not None:
        f.block(node.orelse)
    f.join(loop.end, loop.breaks)


def _bound(f: Fn, test: ast.expr) -> tuple[ast.Call | None, ast.expr | None]:
    """`bp.bounded(n)` or `bp.can_loop()` among what a `while` tests, and what else it tests."""
    parts = test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
    found = [p for p in parts if isinstance(p, ast.Call) and _limits(f, p.func)]
    if not found:
        return None, test
    if len(found) > 1:
        f.fail(found[1], "a loop has one bound", "keep the smaller one")
    rest = [p for p in parts if p is not found[0]]
    if len(rest) > 1:
        joined = ast.BoolOp(ast.And(), rest)
        return found[0], ast.copy_location(joined, rest[0])
    return found[0], rest[0] if rest else None


_LIMITS = ("bounded", "can_loop")


def _limits(f: Fn, func: ast.expr) -> str | None:
    """Is this one of them, and which? Looked at without compiling it, since it may be anything."""
    if not isinstance(func, (ast.Name, ast.Attribute)):
        return None
    if (func.id if isinstance(func, ast.Name) else func.attr) not in _LIMITS:
        return None
    item = f.expr(func)
    name = builtins.name_of(item.obj) if isinstance(item, Py) else None
    return name if name in _LIMITS else None


def _while_limited(f: Fn, node: ast.While, call: ast.Call, rest: ast.expr | None) -> None:
    if _limits(f, call.func) == "can_loop":
        if call.args or call.keywords:
            f.fail(call, "can_loop takes no arguments", "for at most n rounds write `bp.bounded(n)`")
        if not f.unit.ktypes.has_may_goto():
            f.fail(
                call,
                "this kernel can't break off a loop by itself: it has no may_goto, which came with Linux 6.9",
                "say how many rounds there are at most: `bp.bounded(1000)`",
            )
        run(f, node, _UntilEnough(f), rest)
        return
    if len(call.args) != 1 or call.keywords:
        f.fail(call, "bounded takes one number", "write `bp.bounded(100)`: at most 100 rounds")
    limit = f.expr(call.args[0])
    if constant(limit) is None:
        limit = Num(number(f, limit, call.args[0]))
    elif constant(limit) <= 0:
        f.fail(call.args[0], f"a bound of {constant(limit)} rounds lets the loop do nothing")
    count = sequences.Numbers(f, Py(0), limit, 1, call)
    run(f, node, _counted(f, node, count), rest)


def _refuse_endless(f: Fn, node: ast.While) -> None:
    """A loop that nothing can end, seen without knowing what the program does."""
    leaves = any(isinstance(n, (ast.Return, ast.Break)) for s in node.body for n in ast.walk(s))
    if leaves:
        return
    always = isinstance(node.test, ast.Constant) and node.test.value
    parts = list(ast.walk(node.test))
    read = {n.id for n in parts if isinstance(n, ast.Name)}
    fixed = not any(isinstance(n, (ast.Call, ast.Attribute, ast.Subscript, ast.NamedExpr)) for n in parts)
    local = read <= set(f.local_names) and bool(read)
    changed = assigned_in(*node.body) | f.shared_names
    if always or (fixed and local and not read & changed):
        what = "it is always true" if always else f"nothing in the loop changes {' or '.join(sorted(read))}"
        f.fail(
            node.test,
            f"this loop never ends: {what}",
            "the kernel runs only what surely ends: count with `for i in range(n)`, `break` out of it, "
            "or write `while bp.can_loop():` (Linux 6.9)",
        )


def _refuse_walk(f: Fn, node: ast.While) -> None:
    """A walk along pointers ends when the kernel's data says so, which the verifier can't see."""
    names = {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}
    walked = sorted(n for n in names if isinstance(f.vars.get(n), PtrVar))
    if not walked or any(isinstance(f.vars.get(n), IntVar) for n in names):
        return
    counted = any(
        isinstance(part, ast.Compare)
        and any(isinstance(n, ast.Name) and isinstance(f.vars.get(n.id), IntVar) for n in ast.walk(part))
        for s in node.body
        for part in ast.walk(s)
    )
    simple = not any(isinstance(n, (ast.Call, ast.Attribute, ast.Subscript)) for n in ast.walk(node.test))
    if simple and not counted and not any(isinstance(n, ast.For) for s in node.body for n in ast.walk(s)):
        f.fail(
            node.test,
            f"the verifier can't see how often this loop goes round: it ends when {walked[0]} is NULL",
            f"give it a bound: `while {ast.unparse(node.test)} and bp.bounded(64):`, "
            "or let the kernel break it off, with `bp.can_loop()` (Linux 6.9)",
        )


# -- for


def for_(f: Fn, node: ast.For) -> None:
    from . import iterators

    source = iterators.of_call(f, node.iter)
    if source is not None:
        run(f, node, source)
        return
    found = sequences.of(f, node.iter)
    if isinstance(found, list):
        _for_constants(f, node, found)
        return
    if isinstance(found, Numbers) and found.item is None and isinstance(node.target, ast.Name):
        _settle_kind(f, node.target, found)
    elif isinstance(found, Numbers) and found.item is None:
        f.fail(node.target, "the loop variable of a range is a name")
    run(f, node, _counted(f, node, found))


def _settle_kind(f: Fn, target: ast.Name, numbers: Numbers) -> None:
    """A loop's variable is signed if this loop's numbers are, whatever an earlier loop's were."""
    name, var = target.id, f.vars.get(target.id)
    if not isinstance(var, IntVar) or var.type not in (I64, U64) or var.type == numbers.kind:
        return
    if name in f.annotated or numbers.natural():
        return  # all of them are the same in both
    if any(loop.before is None or name in loop.before for loop in f.loops) or name in f.shared_names:
        f.fail(
            target,
            f"{name} was an {'un' * (not var.type.signed)}signed number, and here it may be "
            f"{'negative' if numbers.kind.signed else 'over the largest signed one'}",
            "use another name for one of them",
        )
    old = f.b.load(var.slot) if name in f.live.set else None
    fresh = IntVar(name, f.b.local(name, numbers.kind))
    f.out.variables.append(ir.Variable(name, fresh.slot, f.b.loc.line))
    f.vars[name] = fresh
    if old is not None:
        f.b.write(fresh.slot, old)


def _counted(f: Fn, node: ast.For | ast.While, numbers: Numbers) -> Rounds:
    """The best way to count on the target kernel."""
    around = 1
    for loop in f.loops:
        if loop.before is not None:
            around *= loop.rounds or _PLAIN
    most = numbers.most()
    limit = _PLAIN
    if not numbers.constant:
        limit = _PLAIN_OF_DATA // (1 + sum(isinstance(n, _FORKS) for s in node.body for n in ast.walk(s)))
    elif most is not None and most > _PLAIN_AND_COUNTED and _decides_later(node):
        limit = _PLAIN_AND_COUNTED
    shifted = bool(numbers.size) and not isinstance(numbers.first, ir.Const)
    configured = numbers.configured()
    if configured is not None and configured * around <= _PLAIN_OF_DATA:
        return _Plain(f, node, numbers, 0)
    if _jumps(node) and most is not None and most * around <= _PLAIN:
        return _Plain(f, node, numbers, most)
    followed = most is not None and (most * around <= limit or (most <= 16 and numbers.constant))
    if (
        followed and not shifted
    ):  # what LLVM makes of an index that starts anywhere, the verifier can't follow
        return _Plain(f, node, numbers, most)
    if f.unit.ktypes.kfunc("bpf_iter_num_new") is not None:
        return _Iterated(f, node, numbers)
    if f.unit.ktypes.counts_rounds() and not f.locked:  # no helper is called under a lock
        return _Called(f, node, numbers)
    return _Plain(f, node, numbers, most)


def _decides_later(node: ast.For | ast.While) -> bool:
    """Is a number tested, or an index, that rounds change on some of their ways only?

    Then the verifier has to tell its values apart, in each round as many as there were rounds before. Rounds
    that it need not follow it sees with a number it knows nothing of.
    """
    branches = [
        n
        for s in node.body
        for n in ast.walk(s)
        if isinstance(n, (ast.If, ast.match_case, ast.For, ast.While))
    ]
    changed = assigned_in(*(s for n in branches for s in n.body + getattr(n, "orelse", [])))
    used: set[str] = set()
    for part in (n for s in node.body for n in ast.walk(s)):
        test = part.slice if isinstance(part, ast.Subscript) else getattr(part, "test", None)
        test = part if isinstance(part, ast.Compare) else test
        if isinstance(test, ast.AST):
            used |= {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
    return not used.isdisjoint(changed)


def _jumps(node: ast.For | ast.While) -> bool:
    """Does the loop look as if it had a tail call in it? Then it may hold nothing."""
    calls = (n.func for s in node.body for n in ast.walk(s) if isinstance(n, ast.Call))
    names = {
        n.attr if isinstance(n, ast.Attribute) else n.id
        for n in calls
        if isinstance(n, (ast.Attribute, ast.Name))
    }
    return not names.isdisjoint(("jump", "tail_call"))


class _Plain(Rounds):
    """A counter that is compared and increased."""

    holds = False

    def __init__(self, f: Fn, node: ast.For | ast.While, numbers: Numbers, most: int | None) -> None:
        self.f = f
        self.node = node
        self.numbers = numbers
        self.count = most or 0
        self.at_least_once = numbers.some()
        self.held: ir.Local | None = None

    def start(self) -> None:
        b, n = self.f.b, self.numbers
        self.counter = b.local("counter", n.kind)
        if not isinstance(n.last, ir.Const):
            self.held = b.local("stop", n.last.type)
            b.store(self.held, self.shown(n.last, high=n.step > 0))
        b.store(self.counter, b.cast(self.shown(n.first, high=n.step < 0), n.kind))

    def shown(self, value: ir.Value, *, high: bool) -> ir.Value:
        """An end of the range, as the verifier can see it too."""
        if not self.count or bounds.visible(value):
            return value
        between = bounds.interval(value, self.f.intervals)
        b = self.f.b
        return b.limited(value, high=between[1]) if high else b.limited(value, low=between[0])

    def test(self, body: ir.Block, out: ir.Block) -> None:
        b = self.f.b
        limit = b.load(self.held) if self.held is not None else self.numbers.last
        now = b.load(self.counter)
        if limit.type == U64 and self.numbers.upward():
            now = b.cast(now, U64)
        b.branch(b.compare("<" if self.numbers.step > 0 else ">", now, limit), body, out)

    def step(self) -> None:
        b, n = self.f.b, self.numbers
        b.store(self.counter, b.arith("+", b.load(self.counter), b.const(n.step, n.kind)))

    def item(self) -> Item:
        return self.numbers.at(self.f.b.load(self.counter))


class _UntilEnough(Rounds):
    """The kernel breaks the loop off when it has gone on for too long (may_goto)."""

    holds = False

    def __init__(self, f: Fn) -> None:
        self.f = f

    def test(self, body: ir.Block, out: ir.Block) -> None:
        self.f.b.emit(ir.MayGoto(body, out))


class _Iterated(Rounds):
    """The kernel counts: an iterator over 0 … rounds - 1, of which the numbers are made."""

    def __init__(self, f: Fn, node: ast.For | ast.While, numbers: Numbers) -> None:
        self.f = f
        self.node = node
        self.numbers = numbers
        self.at_least_once = numbers.some()

    def start(self) -> None:
        f, b, n = self.f, self.f.b, self.numbers
        self.state = b.local("iterator", Array(U64, 1))
        self.first = b.local("start", n.kind)
        b.store(self.first, b.cast(n.first, n.kind))
        self.found = b.local("round", Ptr(Int(32, True), Space.TRUSTED))
        count = _at_most_many(b, n.rounds())
        f.kfunc(self.node, "6.4", "bpf_iter_num_new", self.state, b.const(0), count)

    def test(self, body: ir.Block, out: ir.Block) -> None:
        b = self.f.b
        to = Ptr(Int(32, True), Space.TRUSTED, True)
        next_ = self.f.kfunc(self.node, "6.4", "bpf_iter_num_next", self.state, type=to)
        b.store(self.found, b.recast(next_, Ptr(Int(32, True), Space.TRUSTED)))
        b.branch(b.truth(next_), body, out)

    def finish(self) -> None:
        self.f.kfunc(self.node, "6.4", "bpf_iter_num_destroy", self.state)

    def index(self) -> ir.Value:
        """The number of the round, from 0."""
        b = self.f.b
        return b.cast(b.load(b.load(self.found)), Int(32, False))

    def item(self) -> Item:
        b, n = self.f.b, self.numbers
        index = b.cast(self.index(), n.kind)
        if n.step != 1:
            index = b.arith("*", index, b.const(n.step, n.kind))
        if not (isinstance(n.first, ir.Const) and n.first.value == 0):
            index = b.arith("+", b.load(self.first), index)
        if n.size:  # the verifier does not know how far the kernel counts
            inside, never = b.new_block("inside"), b.new_block("never")
            flow = self.f.live.copy()
            b.branch(b.compare("<", b.cast(index, U64), b.const(n.size, U64)), inside, never)
            b.at(never)
            b.jump(self.f.loops[-1].next)
            self.f.loops[-1].continues.append(flow)
            b.at(inside)
        return n.at(index)


class _Called(_Iterated):
    """The helper bpf_loop counts and calls the body, which `outline` makes a function of."""

    holds = False

    def start(self) -> None:
        b, n = self.f.b, self.numbers
        self.first = b.local("start", n.kind)
        b.store(self.first, b.cast(n.first, n.kind))
        self.limit = b.local("rounds", U64)
        b.store(self.limit, _at_most_many(b, n.rounds()))
        self.counter = b.local("round", U64)
        b.store(self.counter, b.const(0, U64))

    def placed(self, loop: Loop, head: ir.Block, body: ir.Block, out: ir.Block) -> None:
        loop.leaves = exits = [out, loop.end]
        region = ir.Region(head, body, loop.next, out, exits, self.counter, self.limit)
        self.f.out.regions.append(region)

    def test(self, body: ir.Block, out: ir.Block) -> None:
        b = self.f.b
        b.branch(b.compare("<", b.load(self.counter), b.load(self.limit)), body, out)

    def step(self) -> None:
        b = self.f.b
        b.store(self.counter, b.arith("+", b.load(self.counter), b.const(1, U64)))

    def finish(self) -> None:
        pass

    def index(self) -> ir.Value:
        return self.f.b.load(self.counter)


def _at_most_many(b: Builder, count: ir.Value) -> ir.Value:
    """As many rounds as the kernel goes."""
    many = b.const(MANY, U64)
    return b.select(b.compare(">", count, many), many, count)


def _for_constants(f: Fn, node: ast.For, items: list[Item]) -> None:
    """A loop over values written down: the body once for each."""
    b = f.b
    if len(items) > _UNROLLED:
        f.fail(
            node.iter,
            f"the body would be compiled {len(items)} times, once for each value",
            "loop over a range of numbers, and look values up in an Array map or a Const array",
        )
    end = b.new_block("end")
    names = sorted(assigned_in(node.target))
    loops: list[Loop] = []
    for item in items:
        if f.flow is None:
            break
        loop = Loop(b.new_block("next"), end, len(f.cleanups))
        f.loops.append(loop)
        loops.append(loop)
        for name in names:
            if isinstance(f.vars.get(name), PyVar) or (
                isinstance(item, Py) and not isinstance(item.obj, int)
            ):
                f.vars.pop(name, None)  # another constant each time
        assign(f, node.target, item, node)
        f.block(node.body)
        f.loops.pop()
        f.join(loop.next, loop.continues)
    if f.flow is not None:
        f.block(node.orelse)
    breaks = [flow for loop in loops for flow in loop.breaks]
    f.join(end, breaks)
    for name in names:
        if not isinstance(f.vars.get(name), PyVar) or not breaks or f.flow is None:
            continue
        f.flow.set.discard(name)
        f.notes[name] = (
            f"which of the loop's constants {name} is here is known only at run time",
            "use it inside the loop, before the `break`, or in a function that takes it",
        )


# -- leaving


def break_(f: Fn, node: ast.Break) -> None:
    loop = f.loops[-1]
    _leave(f, loop.end, loop.breaks, loop.outer)


def continue_(f: Fn, node: ast.Continue) -> None:
    loop = f.loops[-1]
    _leave(f, loop.next, loop.continues, loop.cleanups)


def _leave(f: Fn, to: ir.Block, flows: list[Flow | None], kept: int) -> None:
    for cleanup in reversed(f.cleanups[kept:]):
        cleanup()
    flows.append(f.flow)
    f.b.jump(to)
    f.flow = None
