"""Conditions: branching, what a test says about None, the values of `and`, `or`, `not`, `a if b else c`."""

from __future__ import annotations

import ast

from . import bounds, decl, expr, ir
from .convert import common, constant, describe, number, truth
from .flow import Flow, merge
from .items import Context, Entry, Item, Num, Opt, Pointer, Py, Ref, TextCall
from .scope import Fn, IntVar, is_none, same
from .types import BOOL, I64, Chars, Int, Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

Flows = tuple[Flow | None, Flow | None]
End = tuple[ir.Block, Flow, Item, ast.expr]


def branch(f: Fn, node: ast.expr, yes: ir.Block, no: ir.Block) -> Flows:
    """Evaluate a condition and jump. Gives what is known in `yes` and in `no`, None where it can't go."""
    before = f.b.loc
    f.b.loc = f.loc(node)
    try:
        return _branch(f, node, yes, no)
    finally:
        f.b.loc = before


def _branch(f: Fn, node: ast.expr, yes: ir.Block, no: ir.Block) -> Flows:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        y, n = branch(f, node.operand, no, yes)
        return n, y
    if isinstance(node, ast.BoolOp):
        return _short_circuit(f, node, yes, no)
    if isinstance(node, ast.Compare):
        if len(node.ops) > 1:
            return _chain(f, node, yes, no)
        if isinstance(node.ops[0], (ast.Is, ast.IsNot, ast.Eq, ast.NotEq)):
            left, right = node.left, node.comparators[0]
            if _is_none(left):
                left, right = right, left
            if _is_none(right):
                absent = expr.compare(f, "is", expr.evaluate(f, left), Py(None), node)
                if isinstance(node.ops[0], (ast.Is, ast.Eq)):
                    return _split_absent(f, absent, _tested(left), yes, no)
                n, y = _split_absent(f, absent, _tested(left), no, yes)
                return y, n
        word = expr.COMPARISONS[type(node.ops[0])]
        left_item = expr.evaluate(f, node.left)
        right_item = expr.operand(f, node.comparators[0], node.ops[0])
        result = expr.compare(f, word, left_item, right_item, node)
        y, n = _split(f, result, "", yes, no)
        _narrow(f, word, left_item, right_item, y, n)
        return y, n
    item = expr.evaluate(f, node)
    return _split(f, truth(f, item, node), _tested(node), yes, no)


def _narrow(f: Fn, op: str, left: Item, right: Item, y: Flow | None, n: Flow | None) -> None:
    """What a comparison of numbers says about locals on either side, where it holds and where not."""
    if op not in bounds.COMPARED:
        return
    for mine, other, word in ((left, right, op), (right, left, bounds.mirrored(op))):
        if not isinstance(mine, Num) or mine.origin is None:
            continue
        name, version = mine.origin
        var = f.vars.get(name)
        if version != f.versions.get(name) or not isinstance(var, IntVar):
            continue
        exact = constant(other)
        if not isinstance(other, Num) and exact is None:
            continue
        limits = f.interval(other) if isinstance(other, Num) else (int(exact), int(exact))
        for flow, holds in ((y, True), (n, False)):
            if flow is not None:
                had = flow.ranges.get(name) or bounds.whole(var.type)
                flow.ranges[name] = bounds.narrowed(had, word, limits, holds)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _tested(node: ast.expr) -> str:
    """The local that a test of this expression is about, or ""."""
    if isinstance(node, ast.NamedExpr):
        return node.target.id
    return node.id if isinstance(node, ast.Name) else ""


def _split(f: Fn, cond: ir.Value, name: str, yes: ir.Block, no: ir.Block) -> Flows:
    """Jump by a truth value; a true `name` is not None."""
    here = f.live
    f.b.branch(cond, yes, no)
    f.flow = None
    if isinstance(cond, ir.Const):
        y, n = (here, None) if cond.value else (None, here)
    else:
        y, n = here, here.copy()
    if y is not None and name in y.set:
        y.known.add(name)
    return y, n


def _split_absent(f: Fn, absent: ir.Value, name: str, yes: ir.Block, no: ir.Block) -> Flows:
    """Jump by "it is None"; in `no`, `name` is not None."""
    y, n = _split(f, absent, "", yes, no)
    if n is not None and name in n.set:
        n.known.add(name)
    return y, n


def _short_circuit(f: Fn, node: ast.BoolOp, yes: ir.Block, no: ir.Block) -> Flows:
    both = isinstance(node.op, ast.And)
    early: list[Flow | None] = []
    for value in node.values[:-1]:
        go_on = f.b.new_block("and" if both else "or")
        y, n = branch(f, value, go_on, no) if both else branch(f, value, yes, go_on)
        early.append(n if both else y)
        f.enter(go_on, y if both else n)
        if f.flow is None:  # decided at compile time: the rest is never evaluated
            out = merge(early)
            return (None, out) if both else (out, None)
    y, n = branch(f, node.values[-1], yes, no)
    return (y, merge([*early, n])) if both else (merge([*early, y]), n)


def _chain(f: Fn, node: ast.Compare, yes: ir.Block, no: ir.Block) -> Flows:
    """`a < b < c`: each operand is evaluated once, and not at all behind a false comparison."""
    left = expr.evaluate(f, node.left)
    failed: list[Flow | None] = []
    for i, (op, right_node) in enumerate(zip(node.ops, node.comparators, strict=True)):
        right = expr.operand(f, right_node, op)
        result = expr.compare(f, expr.COMPARISONS[type(op)], left, right, node)
        last = i == len(node.ops) - 1
        go_on = yes if last else f.b.new_block("chain")
        y, n = _split(f, result, "", go_on, no)
        _narrow(f, expr.COMPARISONS[type(op)], left, right, y, n)
        failed.append(n)
        if last or y is None:
            return y, merge(failed)
        f.enter(go_on, y)
        left = right
    raise AssertionError


def as_value(f: Fn, node: ast.expr) -> Item:
    """A condition as a bool."""
    if isinstance(node, ast.UnaryOp) and not _narrows(node.operand):
        value = f.b.not_(truth(f, expr.evaluate(f, node.operand), node.operand))
        return Py(bool(value.value)) if isinstance(value, ir.Const) else Num(value)
    b = f.b
    yes, no = b.new_block("true"), b.new_block("false")
    y, n = branch(f, node, yes, no)
    ends: list[End] = []
    for block, flow, holds in ((yes, y, True), (no, n, False)):
        if flow is not None:
            ends.append((block, flow, Num(b.const(int(holds), BOOL)), node))
    return join(f, ends, node)


def _narrows(node: ast.expr) -> bool:
    """Does evaluating this test need branches?"""
    return isinstance(node, (ast.BoolOp, ast.NamedExpr)) or (
        isinstance(node, ast.Compare) and len(node.ops) > 1
    )


def choose(f: Fn, node: ast.IfExp) -> Item:
    """`a if test else b`."""
    b = f.b
    yes, no = b.new_block("then"), b.new_block("else")
    y, n = branch(f, node.test, yes, no)
    ends: list[End] = []
    for block, flow, value in ((yes, y, node.body), (no, n, node.orelse)):
        if flow is not None:
            f.enter(block, flow)
            item = expr.evaluate(f, value)
            ends.append((b.block, f.live, item, value))
    return join(f, ends, node)


def and_or(f: Fn, node: ast.BoolOp) -> Item:
    """`a or b` and `a and b` as values: that of the operand which decides."""
    b = f.b
    both = isinstance(node.op, ast.And)
    ends: list[End] = []
    for value in node.values[:-1]:
        go_on, decided = b.new_block("and" if both else "or"), b.new_block("decided")
        if _is_test(value):
            y, n = branch(f, value, *((go_on, decided) if both else (decided, go_on)))
            out: Item = Num(b.const(int(not both), BOOL))
        else:
            out = expr.evaluate(f, value)
            if isinstance(out, Py) and isinstance(out.obj, int):
                out = Num(number(f, out, value))
            cond = truth(f, out, value)
            y, n = _split(f, cond, _tested(value), *((go_on, decided) if both else (decided, go_on)))
            if both and isinstance(out, (Opt, Ref)):  # None, or a false value: nothing more is to be known
                pass
            elif not both and isinstance(out, Opt):
                out = out.item
            elif not both and isinstance(out, Ref) and out.maybe:
                out = Ref(out.ptr, shared=out.shared, origin=out.origin)
        stop, on = (n, y) if both else (y, n)
        if stop is not None:
            ends.append((decided, stop, out, value))
        f.enter(go_on, on)
        if f.flow is None:
            return join(f, ends, node)
    item = expr.evaluate(f, node.values[-1])
    ends.append((b.block, f.live, item, node.values[-1]))
    return join(f, ends, node)


def _is_test(node: ast.expr) -> bool:
    """An expression whose value is True or False."""
    if isinstance(node, ast.BoolOp):
        return all(_is_test(v) for v in node.values)
    return isinstance(node, ast.Compare) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))


def join(f: Fn, ends: Sequence[End], node: ast.AST) -> Item:
    """One value from several ways: go on in a block where they meet."""
    b = f.b
    if len(ends) == 1:
        f.enter(ends[0][0], ends[0][1])
        return ends[0][2]
    end = b.new_block("value")
    items = [item for _, _, item, _ in ends]
    first = items[0]
    result: Item
    if all(same(first, item) for item in items):
        for block, _, _, _ in ends:
            b.at(block)
            b.jump(end)
        f.enter(end, merge([flow for _, flow, _, _ in ends]))
        return first
    if any(is_none(i) or isinstance(i, Opt) for i in items) and not any(
        isinstance(i, (Pointer, Ref)) for i in items
    ):
        return _join_optional(f, ends, end, node)
    values: list[ir.Value] = []
    tails: list[ir.Block] = []  # reading a value may have added blocks behind the one it started in
    size = max(
        (len(i.obj.encode()) for i in items if isinstance(i, Py) and isinstance(i.obj, str)), default=0
    )
    pointer = shared = False
    maybe = ""
    others = [
        i for i in items if isinstance(i, (Ref, Pointer)) or (isinstance(i, Py) and isinstance(i.obj, str))
    ]
    for block, flow, item, value in ends:
        f.enter(block, flow)
        if isinstance(item, Py) and isinstance(item.obj, str):
            n = max([size + 1, *(i.type.size for i in items if isinstance(i, Ref))])
            values.append(b.bytes(item.obj.encode().ljust(n, b"\0")))
        elif isinstance(item, (Ref, Pointer)):
            if isinstance(item, Ref):
                f.escape(item)
                shared = shared or item.shared
                maybe = maybe or item.maybe
                values.append(item.ptr)
            else:
                pointer = True
                values.append(item.v)
        elif is_none(item):
            values.append(ir.Const(I64, 0))
            maybe = maybe or "the result"
        elif isinstance(item, Context):
            f.fail(value, f"{describe(item)} can't be chosen at run time")
        elif others and (isinstance(item, Num) or constant(item)):
            f.fail(value, f"this is {describe(item)}, and the other choice is {describe(others[0])}")
        elif isinstance(item, (TextCall, Entry)) and (
            isinstance(item, TextCall) or isinstance(item.type, Chars)
        ):
            f.fail(value, "texts in different places can't be chosen between", "assign them in an `if`")
        elif isinstance(item, Py) and (callable(item.obj) or isinstance(item.obj, decl.MapDecl)):
            f.fail(
                value,
                f"{describe(item)} can't be chosen at run time",
                "write an `if` that uses each in its way",
            )
        else:
            values.append(number(f, item, value))
        tails.append(b.block)
    kinds = [v.type for v in values]
    pointers = [k for k in kinds if isinstance(k, Ptr)]
    if pointers:
        target = pointers[0]
        kind: Int | Ptr = target
        for (_, _, item, value), v in zip(ends, values, strict=True):
            same_kind = isinstance(v.type, Ptr) and v.type.to == target.to and v.type.space is target.space
            null = isinstance(v, ir.Const) and v.value == 0
            if not (same_kind or null):
                if isinstance(v.type, Ptr) and isinstance(v.type.to, Chars):
                    f.fail(
                        value, "texts in different places can't be chosen between", "assign them in an `if`"
                    )
                f.fail(value, f"this is {describe(item)}, and the other choice is {describe(items[0])}")
    else:
        ints = [k for k in kinds if isinstance(k, Int)]
        if all(k == BOOL for k in ints):
            kind = BOOL
        else:
            kind = common(f, [(i, v, node) for v, (_, _, i, node) in zip(values, ends, strict=True)])
    slot = b.local("value", kind)
    for tail, v in zip(tails, values, strict=True):
        b.at(tail)
        if isinstance(kind, Ptr):
            b.store(slot, ir.Const(kind, 0) if isinstance(v, ir.Const) else b.recast(v, kind))
        else:
            b.store(slot, b.cast(v, kind))
        b.jump(end)
    f.enter(end, merge([flow for _, flow, _, _ in ends]))
    loaded = b.load(slot)
    if isinstance(kind, Int):
        result = Num(loaded)
    elif pointer:
        result = Pointer(loaded)
    else:
        origin = frozenset().union(*(i.origin for i in items if isinstance(i, Ref)))
        result = Ref(loaded, shared=shared, maybe=maybe, origin=origin)
    return result


def _join_optional(f: Fn, ends: Sequence[End], end: ir.Block, node: ast.AST) -> Item:
    """Numbers, some of which may be None."""
    b = f.b
    values: list[tuple[ir.Value, ir.Value]] = []
    tails: list[ir.Block] = []
    for block, flow, item, value in ends:
        f.enter(block, flow)
        if is_none(item):
            values.append((b.const(0, BOOL), b.const(0)))
        elif isinstance(item, Opt):
            if not isinstance(item.item, Num):
                f.fail(
                    value, f"{describe(item)} can't be one of several choices", "test it with `is None` first"
                )
            values.append((item.present, item.item.v))
        else:
            values.append((b.const(1, BOOL), number(f, item, value)))
        tails.append(b.block)
    kind = common(f, [(i, v, node) for (_, v), (_, _, i, node) in zip(values, ends, strict=True)])
    there, slot = b.local("there", BOOL), b.local("value", kind)
    for tail, (present, v) in zip(tails, values, strict=True):
        b.at(tail)
        b.store(there, present)
        b.store(slot, b.cast(v, kind))
        b.jump(end)
    f.enter(end, merge([flow for _, flow, _, _ in ends]))
    return Opt(b.load(there), Num(b.load(slot)), "the result")
