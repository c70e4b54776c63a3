"""What programs do with text beyond equality: order, search, ends, slices, joining, formats.

Each is a loop over bytes whose ways out leave nothing behind that the verifier would have to tell apart, so
that texts of 256 bytes do not multiply the states it has to follow.
"""

from __future__ import annotations

import ast

from . import ir, printing, text
from .convert import constant, describe, number, refuse_maybe, resolve
from .items import Item, Num, Py, Ref, TextCall
from .scope import Fn
from .types import BOOL, I64, U8, U64, Array, Chars, Int, Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 512  # bytes of a text that is made of others: more has no place on the stack


class _Loop:
    """Rounds over a counter: `with _Loop(f, "name", stop) as i` is the body; `leave` ends it early."""

    def __init__(self, f: Fn, name: str, stop: int, start: int = 0) -> None:
        b = f.b
        self.b = b
        self.counter = b.local(name, I64)
        self.head, self.body, self.follow, self.end = (
            b.new_block(f"{name} {part}") for part in ("head", "body", "next", "end")
        )
        b.store(self.counter, b.const(start))
        b.jump(self.head)
        b.at(self.head)
        b.branch(b.compare("<", b.load(self.counter), b.const(stop)), self.body, self.end)
        b.at(self.body)

    def at(self) -> ir.Value:
        return self.b.load(self.counter)

    def leave_unless(self, cond: ir.Value) -> None:
        on = self.b.new_block("on")
        self.b.branch(cond, on, self.end)
        self.b.at(on)

    def skip_unless(self, cond: ir.Value) -> None:
        on = self.b.new_block("on")
        self.b.branch(cond, on, self.follow)
        self.b.at(on)

    def leave(self) -> None:
        self.b.jump(self.end)

    def close(self) -> None:
        b = self.b
        b.jump(self.follow)
        b.at(self.follow)
        b.store(self.counter, b.arith("+", b.load(self.counter), b.const(1)))
        b.jump(self.head)
        b.at(self.end)


def _size(ref: Ref) -> int:
    return ref.type.size


def _byte(f: Fn, ref: Ref, at: ir.Value) -> ir.Value:
    return f.b.widen(f.b.load(f.b.index(ref.ptr, f.b.summed(at))))


def _direct(f: Fn, item: Item, node: ast.AST, role: str) -> Ref:
    ref = text.direct(f, item, node, role)
    f.escape(ref)
    return Ref(f.b.opaque(ref.ptr))


def known(item: Item) -> bytes | None:
    """The bytes of a literal."""
    if isinstance(item, Py) and isinstance(item.obj, (str, bytes)):
        return item.obj.encode() if isinstance(item.obj, str) else item.obj
    return None


# -- search


def find(f: Fn, hay: Item, needle: Item, node: ast.AST, *, at_end: bool = False) -> ir.Value:
    """Where `needle` is found first in `hay`, -1 if nowhere. With `at_end`, only where both end."""
    b = f.b
    a = known(hay)
    data = known(needle)
    if a is not None and data is not None:
        return b.const((a.endswith(data) - 1) if at_end else a.find(data))
    where = _direct(f, hay, node, "text")
    size = _size(where)
    result = b.local("found", I64)
    b.store(result, b.const(-1))
    if data is not None:
        return _find_known(f, where, text.encode(f, data, node), result, at_end=at_end)
    other = _direct(f, needle, node, "other text")
    outer = _Loop(f, "search", size + at_end)  # a text that fills its field ends where no byte is
    start = outer.at()
    same = b.local("same", BOOL)
    b.store(same, b.const(1, BOOL))
    inner = _Loop(f, "compare", _size(other))
    c = _byte(f, other, inner.at())
    inner.leave_unless(b.truth(c))
    at = b.arith("+", start, inner.at())
    inside, differs, alike = b.new_block("inside"), b.new_block("differs"), b.new_block("alike")
    b.branch(b.compare("<", at, b.const(size)), inside, differs)
    b.at(inside)
    b.branch(b.compare("==", _byte(f, where, at), c), alike, differs)
    b.at(differs)
    b.store(same, b.const(0, BOOL))
    inner.leave()
    b.at(alike)
    inner.close()
    if at_end:
        done, test = b.new_block("at end"), b.new_block("test")
        b.branch(b.load(same), test, done)
        b.at(test)
        # both end here if what is left of the one is as long as the other
        rest = _Loop(f, "rest", size)
        left = b.arith("+", start, rest.at())
        more = b.local("more", BOOL)
        b.store(more, b.const(0, BOOL))
        inside = b.new_block("inside")
        b.branch(b.compare("<", left, b.const(size)), inside, rest.end)
        b.at(inside)
        b.store(more, b.truth(_byte(f, where, left)))
        rest.leave_unless(b.load(more))
        mine = b.local("mine", BOOL)
        b.store(mine, b.const(0, BOOL))
        has, off = b.new_block("has"), b.new_block("off")
        b.branch(b.compare("<", rest.at(), b.const(_size(other))), has, off)
        b.at(has)
        b.store(mine, b.truth(_byte(f, other, rest.at())))
        b.jump(off)
        b.at(off)
        stays = b.new_block("longer")
        b.branch(b.load(mine), rest.follow, stays)
        b.at(stays)
        b.store(same, b.const(0, BOOL))
        rest.leave()
        b.at(rest.follow)
        b.store(rest.counter, b.arith("+", b.load(rest.counter), b.const(1)))
        b.jump(rest.head)
        b.at(rest.end)
        b.jump(done)
        b.at(done)
    hit = b.new_block("hit")
    on = b.new_block("on")
    b.branch(b.load(same), hit, on)
    b.at(hit)
    b.store(result, outer.at())
    outer.leave()
    b.at(on)
    if at_end:
        outer.leave_unless(b.compare("<", outer.at(), b.const(size)))
    outer.leave_unless(b.truth(_byte(f, where, outer.at())))
    outer.close()
    return b.load(result)


def _find_known(f: Fn, where: Ref, data: bytes, result: ir.Local, *, at_end: bool) -> ir.Value:
    b, size, k = f.b, _size(where), len(data)
    if k > size:
        return b.const(-1)
    loop = _Loop(f, "search", size - k + 1)
    for i, c in enumerate(data):
        loop.skip_unless(b.compare("==", _byte(f, where, b.arith("+", loop.at(), b.const(i))), b.const(c)))
    if at_end:
        ends, test = b.new_block("ends"), b.new_block("test")
        behind = b.arith("+", loop.at(), b.const(k))
        b.branch(b.compare("<", behind, b.const(size)), test, ends)
        b.at(test)
        b.branch(_byte(f, where, behind), loop.follow, ends)
        b.at(ends)
    b.store(result, loop.at())
    loop.leave()
    b.at(loop.follow)
    b.store(loop.counter, b.arith("+", b.load(loop.counter), b.const(1)))
    b.jump(loop.head)
    b.at(loop.end)
    return b.load(result)


def contains(f: Fn, needle: Item, hay: Item, node: ast.AST) -> ir.Value:
    """`needle in hay`."""
    if not text.is_text(needle):
        f.fail(node, f"only text can be in text, and this is {describe(needle)}")
    return f.b.compare(">=", find(f, hay, needle, node), f.b.const(0))


def begins(f: Fn, hay: Item, head: Item, node: ast.AST) -> ir.Value:
    """`hay.startswith(head)`."""
    b = f.b
    data = known(head)
    if data is not None:
        return text.starts_with(f, text.direct(f, hay, node, "text"), text.encode(f, data, node), whole=False)
    a, other = _direct(f, hay, node, "text"), _direct(f, head, node, "other text")
    result = b.local("begins", BOOL)
    b.store(result, b.const(1, BOOL))
    loop = _Loop(f, "begins", _size(other))
    c = _byte(f, other, loop.at())
    loop.leave_unless(b.truth(c))
    inside, differs = b.new_block("inside"), b.new_block("differs")
    b.branch(b.compare("<", loop.at(), b.const(_size(a))), inside, differs)
    b.at(inside)
    b.branch(b.compare("==", _byte(f, a, loop.at()), c), loop.follow, differs)
    b.at(differs)
    b.store(result, b.const(0, BOOL))
    loop.leave()
    b.at(loop.follow)
    b.store(loop.counter, b.arith("+", b.load(loop.counter), b.const(1)))
    b.jump(loop.head)
    b.at(loop.end)
    return b.load(result)


def order(f: Fn, left: Item, right: Item, node: ast.AST) -> ir.Value:
    """Negative, 0 or positive, as the first bytes that differ are."""
    b = f.b
    x, y = _direct(f, left, node, "text"), _direct(f, right, node, "other text")
    result = b.local("order", I64)
    b.store(result, b.const(0))
    loop = _Loop(f, "order", max(_size(x), _size(y)))

    def byte(ref: Ref) -> ir.Value:
        """The byte here, 0 behind the end."""
        slot = b.local("byte", I64)
        b.store(slot, b.const(0))
        inside, end = b.new_block("inside"), b.new_block("end")
        b.branch(b.compare("<", loop.at(), b.const(_size(ref))), inside, end)
        b.at(inside)
        b.store(slot, b.cast(_byte(f, ref, loop.at()), I64))
        b.jump(end)
        b.at(end)
        return b.load(slot)

    p, q = byte(x), byte(y)
    b.store(result, b.arith("-", p, q))
    loop.leave_unless(b.compare("==", p, q))
    loop.leave_unless(b.truth(p))
    loop.close()
    return b.load(result)


# -- parts


def cut(f: Fn, base: Item, node: ast.Slice) -> Item:
    """`base[start:stop]` of text or an array: a copy."""
    if node.step is not None:
        f.fail(node.step, "a slice has no step here", "write text[start:stop], and index in a loop")
    base = resolve(f, base, node)
    refuse_maybe(f, base, node)
    start = f.expr(node.lower) if node.lower is not None else Py(0)
    stop = f.expr(node.upper) if node.upper is not None else None
    if isinstance(base, Py) and isinstance(base.obj, (str, bytes, tuple, list, range)):
        ends = [constant(i) if i is not None else None for i in (start, stop)]
        if (stop is not None and ends[1] is None) or ends[0] is None:
            f.fail(node, "a constant is sliced with constants only", "index it, or keep it in an Array map")
        return Py(base.obj[ends[0] : ends[1]])
    if isinstance(base, Ref) and isinstance(base.type, Array):
        place = part(f, base, start, stop, node)
        assert isinstance(place.ptr.type, Ptr)
        copy = f.b.local("slice", place.type)
        f.b.copy_into(copy, place.ptr)
        return Ref(copy)
    if not text.is_text(base):
        f.fail(node, f"{describe(base)} can't be sliced", "slices are of text and of array fields")
    return _cut_text(f, base, start, stop, node)


def part(f: Fn, base: Ref, start: Item, stop: Item | None, node: ast.AST) -> Ref:
    """The place of a slice in an array: with constant bounds, or `a[i:i + 4]`, of a length that is known."""
    of = base.type
    assert isinstance(of, Array)
    low, high = constant(start), of.n if stop is None else constant(stop)
    if low is None and (length := _length(node)) is not None:
        return _window(f, base, start, length, node)
    if low is None or high is None:
        f.fail(
            node,
            "the length of an array's slice must be known",
            "write `a[i:i + 4]`, with a constant length, or loop over it: `for x in a[i:j]`",
        )
    places = range(of.n)[low:high]
    if not len(places):
        f.fail(node, f"this slice of {of!r} is empty")
    f.escape(base)
    elem = f.b.index(base.ptr, places[0])
    assert isinstance(elem.type, Ptr)
    return Ref(f.b.recast(elem, Ptr(Array(of.elem, len(places)), elem.type.space)), shared=base.shared)


def _length(node: ast.AST) -> int | None:
    """The length of `i:i + 4`, 4: what is counted from is the same, and reading it twice changes nothing."""
    at = node.slice if isinstance(node, ast.Subscript) else node
    if not isinstance(at, ast.Slice) or at.lower is None or not isinstance(at.upper, ast.BinOp):
        return None
    start, more = at.upper.left, at.upper.right
    if not isinstance(at.upper.op, ast.Add) or any(
        isinstance(n, (ast.Call, ast.NamedExpr)) for n in ast.walk(at)
    ):
        return None
    if ast.dump(start) == ast.dump(at.lower) and isinstance(more, ast.Constant) and type(more.value) is int:
        return more.value
    return None


def _window(f: Fn, base: Ref, start: Item, length: int, node: ast.AST) -> Ref:
    """So many elements from one on that is known at run time: they have to lie in the array."""
    b, of = f.b, base.type
    assert isinstance(of, Array)
    last = of.n - length
    if length <= 0 or last < 0:
        f.fail(node, f"a slice of {length} elements of {of!r}", f"it has 1 to {of.n}")
    at = b.widen(number(f, start, node))
    low, high = f.interval(Num(at))
    if low < 0 or high > last:
        f.fail(
            node,
            f"this slice may reach over the ends of {of!r}, and be shorter then",
            f"test where it starts: `if 0 <= i <= {last}:`"
            if low < 0
            else f"test where it starts: `if i <= {last}:`",
        )
    f.escape(base)
    elem = b.index(b.opaque(base.ptr), b.limited(b.cast(at, U64), high=last))
    assert isinstance(elem.type, Ptr)
    return Ref(b.recast(elem, Ptr(Array(of.elem, length), elem.type.space)), shared=base.shared)


def _cut_text(f: Fn, base: Item, start: Item, stop: Item | None, node: ast.AST) -> Item:
    low, high = constant(start), constant(stop) if stop is not None else None
    where = _direct(f, base, node, "sliced")
    size = _size(where)
    if low is not None and low >= 0 and (stop is None or (high is not None and high >= 0)):
        end = size if high is None else min(high, size)
        if low >= end:
            return Py("")
        length = end - low
        held = f.b.local("slice", Chars(length))  # it may be written over what it comes from
        f.b.copy(held, f.b.index(where.ptr, low), length)
        return Ref(held)
    b = f.b
    where = _held(f, where, node, "sliced text")
    total = text.length(f, where, node)

    def bound(item: Item) -> ir.Value:
        """From the end if negative, and not outside."""
        n = b.cast(b.widen(number(f, item, node)), I64)
        zero = b.const(0)
        n = b.select(b.compare("<", n, zero), b.arith("+", n, total), n)
        n = b.select(b.compare("<", n, zero), zero, n)
        return b.select(b.compare(">", n, total), total, n)

    first = bound(start)
    last = bound(stop) if stop is not None else total
    from_, to_ = b.local("from", I64), b.local("to", I64)
    b.store(from_, first)
    b.store(to_, last)

    def moved(dst: ir.Value) -> None:
        assert isinstance(dst.type, Ptr)
        room = dst.type.to.size
        b.zero(dst)
        dst = b.opaque(dst)
        loop = _Loop(f, "slice", min(size, room))
        at = b.cast(b.arith("+", b.load(from_), loop.at()), U64)
        loop.leave_unless(b.compare("<", b.cast(at, I64), b.load(to_)))
        loop.leave_unless(b.compare("<", at, b.const(size, U64)))
        b.store(b.index(dst, loop.at()), b.load(b.index(where.ptr, b.summed(at))))
        loop.close()

    return TextCall("slice", size, moved)


# -- joining


def join(f: Fn, left: Item, right: Item, node: ast.AST) -> Item:
    """`left + right`."""
    b = f.b
    for side in (left, right):
        if not text.is_text(side):
            f.fail(
                node,
                f"text is joined with text, and this is {describe(side)}",
                'write a number into it with an f-string: f"{name}{n}"',
            )
    head = known(left)
    first = None if head is not None else _held(f, left, node, "joined")
    second = _held(f, right, node, "joined too")
    size = (len(head) if first is None and head is not None else _size(first)) + _size(second)  # type: ignore[arg-type]
    if size > LONGEST:
        f.fail(
            node, f"the text may have {size} bytes, too many for the stack", "cut the parts: text[:64] + …"
        )

    def fill(dst: ir.Value) -> None:
        assert isinstance(dst.type, Ptr)
        room = dst.type.to.size
        b.zero(dst)
        dst = b.opaque(dst)
        at = b.local("length", I64)
        if first is None:
            assert head is not None
            for i, c in enumerate(head[:room]):
                b.store(b.index(dst, i), b.const(c, U8))
            b.store(at, b.const(min(len(head), room)))
        else:
            b.store(at, b.const(0))
            _append(f, dst, room, at, first)
        _append(f, dst, room, at, second)

    return TextCall("joined text", size, fill)


def _held(f: Fn, item: Item, node: ast.AST, role: str) -> Ref:
    """The text in memory of its own: what is joined may be written over what it came from."""
    item = resolve(f, item, node)
    refuse_maybe(f, item, node)
    ref = _direct(f, item, node, role)
    if isinstance(item, (Py, TextCall)):
        return ref
    copy = f.b.local(role, Chars(_size(ref)))
    f.b.copy_into(copy, ref.ptr)
    return Ref(f.b.opaque(copy))


def _append(f: Fn, dst: ir.Value, room: int, at: ir.Local, source: Ref) -> None:
    b = f.b
    loop = _Loop(f, "append", min(_size(source), room))
    c = b.load(b.index(source.ptr, loop.at()))
    loop.leave_unless(b.truth(c))
    place = b.cast(b.load(at), U64)
    loop.leave_unless(b.compare("<", place, b.const(room, U64)))
    b.store(b.index(dst, place), c)
    b.store(at, b.arith("+", b.load(at), b.const(1)))
    loop.close()


# -- formats


def formatted(f: Fn, node: ast.JoinedStr) -> Item:
    """An f-string as a value: text that bpf_snprintf writes where it is wanted (Linux 5.13)."""
    line = printing.line(f, node)
    if not line.args:
        return Py(line.format.replace("%%", "%"))
    return _written(f, line, node)


def shown(f: Fn, item: Item, spec: str, node: ast.expr) -> Item:
    """`str(x)`, `hex(x)`."""
    line = printing.Line(f)
    line.value(item, spec, node)
    if not line.args:
        return Py(line.format.replace("%%", "%"))
    return _written(f, line, node)


def _written(f: Fn, line: printing.Line, node: ast.expr) -> Item:
    b = f.b
    if not f.unit.ktypes.has_helper("snprintf"):
        f.fail(
            node,
            "this kernel can't format text: it lacks bpf_snprintf (Linux 5.13)",
            "send the values in a record and format them in Python",
        )
    if len(line.args) > 12:
        f.fail(node, f"{len(line.args)} values: the kernel formats at most 12 at once", "join two f-strings")
    data = line.format.encode()
    values = b.local("formatted", Array(U64, len(line.args)))
    for i, arg in enumerate(line.args):
        b.write(b.index(values, i), arg if isinstance(arg.type, Int) else b.recast(arg, U64))

    def fill(dst: ir.Value) -> None:
        assert isinstance(dst.type, Ptr)
        b.zero(dst)
        size = b.const(dst.type.to.size)
        b.helper("snprintf", dst, size, b.string(data), values, b.const(8 * len(line.args)))

    return TextCall("f-string", min(line.room + 1, LONGEST), fill)


METHODS: dict[str, tuple[str, Callable[[Fn, Item, Item, ast.AST], Item]]] = {
    "startswith": ("startswith(text)", lambda f, of, arg, node: Num(_any(f, begins, of, arg, node))),
    "endswith": ("endswith(text)", lambda f, of, arg, node: Num(_any(f, ends, of, arg, node))),
    "find": ("find(text)", lambda f, of, arg, node: Num(find(f, of, arg, node))),
}


def ends(f: Fn, of: Item, tail: Item, node: ast.AST) -> ir.Value:
    """`of.endswith(tail)`."""
    if known(tail) == b"":
        return f.b.const(1, BOOL)
    return f.b.compare(">=", find(f, of, tail, node, at_end=True), f.b.const(0))


def _any(
    f: Fn, test: Callable[[Fn, Item, Item, ast.AST], ir.Value], of: Item, arg: Item, node: ast.AST
) -> ir.Value:
    if isinstance(arg, Py) and isinstance(arg.obj, tuple):
        return f.b.any_of([test(f, of, Py(one), node) for one in arg.obj])
    if not text.is_text(arg):
        f.fail(node, f"text is needed here, and this is {describe(arg)}", 'write a literal: "/tmp/"')
    return test(f, of, arg, node)


def is_text(item: Item) -> bool:
    """Text for certain: no pointer to bytes."""
    from .items import Pointer

    return text.is_text(item) and not isinstance(item, Pointer)
