"""What a `for` can go over: ranges, arrays, slices, and `enumerate`, `reversed`, `zip` of them; constants."""

from __future__ import annotations

import ast
import enum

from . import bounds, decl, expr, ir
from .convert import constant, describe, number, refuse_maybe
from .items import Group, Item, Num, Py, Ref
from .scope import Fn
from .types import I64, U64, Array, Chars, Int

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 1 << 23  # BPF_MAX_LOOPS (kernel/bpf/bpf_iter.c): what the kernel lets an iterator or bpf_loop go round


class Numbers:
    """Numbers from `start` up (or down) to before `stop`; with `item`, what each of them stands for.

    `kind` is the type they are counted in: signed, unless the first is an unsigned number of the program's.
    `size` is the number of elements of the array they are indexes of, 0 for plain numbers.
    """

    def __init__(
        self,
        f: Fn,
        start: Item,
        stop: Item,
        step: int,
        node: ast.AST,
        *,
        item: Callable[[ir.Value], Item] | None = None,
        size: int = 0,
    ) -> None:
        b = f.b
        self.f = f
        self.step = step
        self.item = item
        self.size = size
        self.first = b.widen(number(f, start, node))
        self.last = b.widen(number(f, stop, node))
        if step < 0:
            self.first, self.last = b.cast(self.first, I64), b.cast(self.last, I64)
        self.kind = I64
        unsigned = self.first.type == U64
        if unsigned and not (isinstance(self.first, ir.Const) and self.first.value < 1 << 63):
            self.kind = U64
        self.constant = isinstance(self.first, ir.Const) and isinstance(self.last, ir.Const)

    def at(self, counter: ir.Value) -> Item:
        low = bounds.interval(self.first, self.f.intervals)
        high = bounds.interval(self.last, self.f.intervals)
        between = (low[0], high[1] - 1) if self.step > 0 else (high[0] + 1, low[1])
        inside = bounds.whole(self.kind)
        if inside[0] <= between[0] <= between[1] <= inside[1]:
            self.f.intervals[counter] = between
        return self.item(counter) if self.item is not None else Num(counter)

    def most(self) -> int | None:
        """How many rounds there are at most; None if the front end can't tell."""
        first = bounds.interval(self.first, self.f.intervals)
        last = bounds.interval(self.last, self.f.intervals)
        way = last[1] - first[0] if self.step > 0 else first[1] - last[0]
        rounds = max(0, -(-way // abs(self.step)))
        return rounds if rounds < MANY else None

    def upward(self) -> bool:
        """Do the numbers go up from one that is not negative?"""
        return self.step > 0 and bounds.interval(self.first, self.f.intervals)[0] >= 0

    def configured(self) -> int | None:
        """The rounds that the default of a `Const` gives: known when the verifier follows them."""
        value = self.last
        while isinstance(value, ir.Cast):
            value = value.value
        if not (isinstance(value, ir.Load) and isinstance(value.ptr, ir.GlobalRef) and value.ptr.var.const):
            return None
        if not isinstance(self.first, ir.Const):
            return None
        stop = int.from_bytes(value.ptr.var.init[: value.type.size], "little")
        return max(0, -(-(stop - self.first.value) // self.step)) if self.step > 0 else None

    def some(self) -> bool:
        """Is there surely a first round?"""
        return (
            isinstance(self.first, ir.Const)
            and isinstance(self.last, ir.Const)
            and (self.last.value - self.first.value) * self.step > 0
        )

    def natural(self) -> bool:
        """Are all the numbers the same as signed and as unsigned?"""
        first = bounds.interval(self.first, self.f.intervals)
        last = bounds.interval(self.last, self.f.intervals)
        if self.step < 0:
            return last[0] >= -1 and first[1] < 1 << 63
        return first[0] >= 0 and first[1] < 1 << 62  # nobody counts as far as the sign from there

    def rounds(self) -> ir.Value:
        """How many rounds there are, a `U64`."""
        b = self.f.b
        up = self.step > 0
        first, last = (self.first, self.last) if up else (self.last, self.first)
        way = b.binary("sub", b.cast(last, U64), b.cast(first, U64))
        step = abs(self.step)
        if step > 1:
            # not (way + step - 1) // step, which may wrap
            rest = b.arith("-", way, b.const(1, U64))
            way = b.arith("+", b.arith("//", rest, b.const(step, U64)), b.const(1, U64))
        return b.select(b.compare("<", first, last), way, b.const(0, U64))


Found = Numbers | list[Item]


def of(f: Fn, node: ast.expr) -> Found:
    """What the expression behind `in` gives: numbers to count, or items to unroll."""
    if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
        callee = f.expr(node.func)
        obj = callee.obj if isinstance(callee, Py) else None
        if obj is range:
            return _range(f, node)
        if obj in (enumerate, reversed, zip, sorted, map, filter):
            return _over_others(f, obj, node)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        found = _slice(f, node, node.slice)
        if found is not None:
            return found
    return of_item(f, f.expr(node), node)


def of_item(f: Fn, item: Item, node: ast.expr) -> Found:
    if isinstance(item, Py):
        if isinstance(item.obj, range):
            r = item.obj
            return Numbers(f, Py(r.start), Py(r.stop), r.step, node)
        if isinstance(item.obj, (tuple, list, dict, enum.EnumMeta, decl.FixedList)):
            return [Py(v) for v in item.obj]
        if isinstance(item.obj, (set, frozenset)):
            return [Py(v) for v in sorted(item.obj, key=repr)]
        if isinstance(item.obj, (str, bytes)):
            f.fail(node, "a text written down can't be looped over", "loop over a tuple: ('a', 'b')")
        if isinstance(item.obj, decl.MapDecl):
            if isinstance(item.obj, decl.RingBuf):
                f.fail(
                    node,
                    f"{describe(item)} is read in Python: a program only writes to it",
                    f"`for e in {item.obj.name}:` stands in Python, where the session is",
                )
            f.fail(
                node,
                "a `for` can't loop over a map in a program",
                f"call a function for each entry, `bp.for_each_map_elem({item.obj.name}, visit)`, "
                "or loop over it in Python",
            )
        if isinstance(item.obj, decl.Const):
            from .convert import var_value

            item = var_value(f, item.obj)
    if isinstance(item, Group):
        return item.items
    refuse_maybe(f, item, node)
    if isinstance(item, Ref) and isinstance(item.type, (Array, Chars)) and item.type.n:
        return _elements(f, item, Py(0), Py(item.type.n), node)
    f.fail(
        node,
        f"{describe(item)} can't be looped over",
        "loop over `range(n)` or over an array field of a struct",
    )


def _elements(f: Fn, base: Ref, start: Item, stop: Item, node: ast.AST) -> Numbers:
    assert isinstance(base.type, (Array, Chars))
    f.escape(base)

    def item(counter: ir.Value) -> Item:
        return expr.read_place(f, Ref(f.b.index(base.ptr, counter), shared=base.shared, origin=base.origin))

    return Numbers(f, start, stop, 1, node, item=item, size=base.type.n)


def _range(f: Fn, call: ast.Call) -> Numbers:
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
    return Numbers(f, start, stop, step, call)


def _slice(f: Fn, node: ast.Subscript, part: ast.Slice) -> Found | None:
    """Elements of a part of an array; None if it is no array whose length is known."""
    base = f.expr(node.value)
    refuse_maybe(f, base, node)
    if isinstance(base, Py) and isinstance(base.obj, decl.Const):
        from .convert import var_value

        base = var_value(f, base.obj)
    if not (isinstance(base, Ref) and isinstance(base.type, (Array, Chars)) and base.type.n):
        return None
    if part.step is not None and constant(f.expr(part.step)) != 1:
        f.fail(
            part.step, "a part of an array has no step here", "loop over `range(start, stop, step)` and index"
        )
    n = base.type.n
    start = _end(f, part.lower, n, 0)
    stop = _end(f, part.upper, n, n)
    return _elements(f, base, start, stop, node)


def _end(f: Fn, node: ast.expr | None, n: int, default: int) -> Item:
    """An end of a slice, within the array as Python has it."""
    if node is None:
        return Py(default)
    item = f.expr(node)
    exact = constant(item)
    if exact is not None:
        return Py(max(0, min(n, exact + n if exact < 0 else exact)))
    b = f.b
    value = b.widen(number(f, item, node))
    if isinstance(value.type, Int) and value.type.signed and f.interval(Num(value))[0] < 0:
        moved = b.arith("+", value, b.const(n))
        value = b.select(b.compare("<", value, b.const(0)), moved, value)
        value = b.select(b.compare("<", value, b.const(0)), b.const(0), value)
    limit = b.const(n, value.type)
    return Num(b.select(b.compare("<", value, limit), value, limit))


# -- enumerate, reversed, zip


def _over_others(f: Fn, function: object, call: ast.Call) -> Found:
    name = getattr(function, "__name__", "")
    if function in (map, filter):
        f.fail(call, f"{name}() can't be looped over here", "call the function, or test, in the loop's body")
    if any(kw.arg != "start" or function is not enumerate for kw in call.keywords):
        f.fail(call.keywords[0].value, f"{name}() takes no argument by name here")
    if not call.args or any(isinstance(a, ast.Starred) for a in call.args):
        f.fail(call, f"{name}() needs what to loop over")
    found = [of(f, a) for a in call.args[: len(call.args) if function is zip else 1]]
    if function is enumerate:
        start = call.args[1] if len(call.args) > 1 else call.keywords[0].value if call.keywords else None
        first = constant(f.expr(start)) if start is not None else 0
        if first is None:
            f.fail(start, "the start of enumerate() is a constant here")
        return _enumerate(f, found[0], int(first), call)
    if function is sorted:
        values = [i.obj for i in found[0] if isinstance(i, Py)] if isinstance(found[0], list) else []
        if not isinstance(found[0], list) or len(values) != len(found[0]):
            f.fail(call, "there is no sorting in the kernel", "sort in Python")
        return [Py(v) for v in sorted(values)]
    if function is reversed:
        return _reversed(f, found[0], call)
    return _zip(f, found, call)


def _enumerate(f: Fn, found: Found, first: int, node: ast.expr) -> Found:
    if isinstance(found, list):
        return [Group([Py(first + i), item]) for i, item in enumerate(found)]
    start = found.first
    if found.step != 1 or not isinstance(start, ir.Const):
        f.fail(node, "enumerate() counts along elements, or a range that starts at a constant")
    shift, inner = first - start.value, found

    def item(counter: ir.Value) -> Item:
        return Group(
            [Num(f.b.arith("+", counter, f.b.const(shift))) if shift else Num(counter), inner.at(counter)]
        )

    return _like(f, found, item)


def _like(f: Fn, numbers: Numbers, item: Callable[[ir.Value], Item]) -> Numbers:
    """The same numbers, for something else."""
    return Numbers(
        f, Num(numbers.first), Num(numbers.last), numbers.step, ast.Pass(), item=item, size=numbers.size
    )


def _reversed(f: Fn, found: Found, node: ast.expr) -> Found:
    if isinstance(found, list):
        return found[::-1]
    b = f.b
    if isinstance(found.first, ir.Const) and isinstance(found.last, ir.Const):
        start: Item
        stop: Item
        back = range(found.first.value, found.last.value, found.step)[::-1]
        start, stop, step = Py(back.start), Py(back.stop), back.step
    elif abs(found.step) == 1:
        step = -found.step
        before = b.const(step)
        start = Num(b.arith("+", b.cast(found.last, I64), before))
        stop = Num(b.arith("+", b.cast(found.first, I64), before))
    else:
        f.fail(
            node, "reversed() of a range of run-time numbers has the step 1 here", "write the range itself"
        )
    item = found.at if found.item is not None else None
    return Numbers(f, start, stop, step, node, item=item, size=found.size)


def _zip(f: Fn, found: list[Found], node: ast.expr) -> Found:
    if all(isinstance(x, list) for x in found):
        return [Group(list(items)) for items in zip(*found, strict=False)]
    counted = [x for x in found if isinstance(x, Numbers)]
    for x in counted:
        if not (x.step == 1 and isinstance(x.first, ir.Const) and x.first.value == 0):
            f.fail(node, "zip() goes along arrays and ranges from 0 here", "loop over `range(n)` and index")
    if len(counted) < len(found):
        lengths = [len(x) for x in found if isinstance(x, list)]
        for x in counted:
            if not isinstance(x.last, ir.Const):
                f.fail(node, "zip() of constants and of a run-time range", "loop over `range(n)` and index")
            lengths.append(x.last.value)
        return [
            Group([x[i] if isinstance(x, list) else x.at(f.b.const(i)) for x in found])
            for i in range(min(lengths))
        ]
    stop = counted[0].last
    for x in counted[1:]:
        stop = f.b.select(f.b.compare("<", x.last, stop), x.last, stop)
    size = min((x.size for x in counted if x.size), default=0)

    def item(counter: ir.Value) -> Item:
        return Group([x.at(counter) for x in counted])

    return Numbers(f, Py(0), Num(stop), 1, node, item=item, size=size)
