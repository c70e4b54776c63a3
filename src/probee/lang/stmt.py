"""Statements."""

from __future__ import annotations

import ast

from . import cond, decl, expr, ir, mapops, text
from .convert import constant, describe, far, integer, literal, number, refuse_maybe, store
from .flow import Flow, merge
from .items import Context, Entry, Group, Item, Num, Opt, Pointer, Py, Ref
from .scope import Again, Fn, Loop, PyVar, Site, is_none
from .types import BOOL, I64, U64, Array, Chars, Int, Ptr, Space, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_REFUSED: dict[type[ast.stmt], tuple[str, str]] = {
    ast.FunctionDef: (
        "a function can't be defined inside a program",
        "define it in the module, and call it from here",
    ),
    ast.AsyncFunctionDef: ("`async` has no meaning in the kernel", "define a plain function in the module"),
    ast.ClassDef: ("a class can't be defined inside a program", "declare structs in the module"),
    ast.Try: ("there are no exceptions in the kernel", "test for the case with `if`"),
    ast.TryStar: ("there are no exceptions in the kernel", "test for the case with `if`"),
    **dict.fromkeys(
        [getattr(ast, name) for name in ("TypeAlias",) if hasattr(ast, name)],
        ("a type can't be named inside a program", "name it in the module"),
    ),
    ast.Raise: (
        "there are no exceptions in the kernel",
        "`return`, or send a record that says what happened",
    ),
    ast.Global: (
        "`global` can't be used: Python's globals are not in the kernel",
        "declare `total = bp.Global[u64](0)` in the module and use total.value",
    ),
    ast.Nonlocal: (
        "`nonlocal` can't be used: Python's variables are not in the kernel",
        "declare a bp.Global in the module and use its .value",
    ),
    ast.Import: ("a program can't import", "import at the top of the module"),
    ast.ImportFrom: ("a program can't import", "import at the top of the module"),
    ast.AsyncFor: ("`async` has no meaning in the kernel", "write a plain `for`"),
    ast.AsyncWith: ("`async` has no meaning in the kernel", "write a plain `with`"),
}


def block(f: Fn, body: list[ast.stmt]) -> None:
    """Statements in order; what no way leads to is not compiled."""
    for node in body:
        if f.flow is None:
            return
        statement(f, node)


def statement(f: Fn, node: ast.stmt) -> None:
    handler = _HANDLERS.get(type(node))
    if handler is None:
        message, advice = _REFUSED.get(
            type(node), (f"{type(node).__name__} statements are not part of the language", "")
        )
        f.fail(node, message, advice)
    f.b.loc = f.loc(node)
    handler(f, node)


# -- assignment


def _assign(f: Fn, node: ast.Assign) -> None:
    item = f.expr(node.value)
    if len(node.targets) > 1 and isinstance(item, (Entry,)):
        item = mapops.read_entry(f, item, node.value)
    for target in node.targets:
        assign(f, target, item, node)


def assign(f: Fn, target: ast.expr, item: Item, node: ast.AST) -> None:
    f.b.loc = f.loc(node)
    if isinstance(target, ast.Name):
        bind(f, target.id, item, node)
    elif isinstance(target, (ast.Tuple, ast.List)):
        _unpack(f, target, item, node)
    elif isinstance(target, (ast.Attribute, ast.Subscript)):
        place(f, target).write(f, item, node)
    elif isinstance(target, ast.Starred):
        f.fail(target, "`*` can't unpack here", "write the targets one by one")
    else:
        f.fail(target, "this can't be assigned to")


def bind(f: Fn, name: str, item: Item, node: ast.AST) -> None:
    hidden = f.python.__globals__.get(name)
    if isinstance(hidden, decl.Global) and name not in f.loaded:
        f.fail(
            node,
            f"this makes a local {name}, and the module's Global {name} stays as it is",
            f"write `{name}.value = …`, or give the local another name",
        )
    if isinstance(item, Entry):
        if not isinstance(item.type, Chars):
            m = item.map.name
            f.fail(
                node,
                f"an entry of {m} as a whole can't be kept in a local",
                f"write `{name} = {m}.get(key)`, a reference or None, or take its fields",
            )
        item = mapops.read_entry(f, item, node)
    if isinstance(item, Group):
        f.fail(node, "a tuple can't be kept in a local", "use one local for each value, or a struct")
    f.bind(name, item, node)


def _unpack(f: Fn, target: ast.Tuple | ast.List, item: Item, node: ast.AST) -> None:
    if isinstance(item, Group):
        items = item.items
    elif isinstance(item, Py) and isinstance(item.obj, (tuple, list)):
        items = [Py(v) for v in item.obj]
    else:
        f.fail(node, f"{describe(item)} can't be unpacked", "only tuples written here can")
    if any(isinstance(t, ast.Starred) for t in target.elts):
        f.fail(target, "`*` can't unpack here", "write the targets one by one")
    if len(items) != len(target.elts):
        f.fail(target, f"{len(items)} values for {len(target.elts)} targets")
    if isinstance(item, Group):
        rest = zip(items[1:], target.elts[1:], strict=True)
        items = [*items[:1], *(_settled(f, i, t, node) for i, t in rest)]
    for t, i in zip(target.elts, items, strict=True):
        assign(f, t, i, node)


def _settled(f: Fn, item: Item, target: ast.expr, node: ast.AST) -> Item:
    """The item as it is now: an assignment left of it may change the memory it refers to."""
    if isinstance(item, Group) and isinstance(target, (ast.Tuple, ast.List)):
        pairs = zip(item.items, target.elts, strict=False)
        return Group([_settled(f, i, t, node) for i, t in pairs] + item.items[len(target.elts) :])
    if isinstance(item, Entry):
        named = isinstance(target, ast.Name) and not isinstance(item.type, Chars)
        return item if named else mapops.read_entry(f, item, node)
    if not isinstance(item, Ref) or item.maybe or not item.type.size:
        return item
    if isinstance(item.type, Chars) or not isinstance(target, ast.Name):
        f.escape(item)
        held = f.b.local("unpacked", item.type)
        f.b.copy_into(held, item.ptr)
        return Ref(held)
    return item


def scalar_annotation(f: Fn, node: ast.expr) -> Int:
    """The integer type an annotation names."""
    found = annotation(f, node)
    if isinstance(found, Int):
        return found
    f.fail(node, "only integers can be annotated here", "use u8 … u64, i8 … i64, int or bool")


def annotation(f: Fn, node: ast.expr) -> Any:
    """What an annotation means: an IR integer, or the Python object it names."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            parsed = ast.parse(node.value, mode="eval").body
        except SyntaxError:
            f.fail(node, f"the annotation {node.value!r} is not an expression")
        for part in ast.walk(parsed):
            ast.copy_location(part, node)
        node = parsed
    if isinstance(node, ast.Subscript):
        base = f.expr(node.value)
        index = f.expr(node.slice)
        if expr.is_kernel(base):
            found = f.expr(node)
            return found.obj if isinstance(found, Py) else None
        if isinstance(base, Py) and isinstance(index, Py):
            try:
                return base.obj[index.obj]
            except Exception as e:
                f.fail(node, f"this annotation can't be evaluated: {e}")
    item = f.expr(node)
    obj = item.obj if isinstance(item, Py) else None
    if isinstance(obj, decl.ScalarType):
        return Int(obj.bits, obj.signed)
    if obj is int:
        return I64
    if obj is bool:
        return BOOL
    if obj is float:
        f.fail(
            node, "the kernel has no floating point", "use a scaled integer, for example microseconds in u64"
        )
    return obj


def _ann_assign(f: Fn, node: ast.AnnAssign) -> None:
    if not isinstance(node.target, ast.Name):
        f.fail(node, "only a local's own name can be annotated", "drop the annotation")
    name = node.target.id
    what = annotation(f, node.annotation)
    if node.value is None:
        f.fail(node, f"{name} has a type here, but no value", f"write `{name}: … = 0`")
    item = f.expr(node.value)
    if isinstance(what, Int):
        have = f.vars.get(name)
        from .scope import IntVar

        if have is not None and not (isinstance(have, IntVar) and have.slot.of == what):
            f.fail(node, f"{name} has another type already", "annotate its first assignment")
        f.bind(name, Num(number(f, item, node.value)), node, what)
        return
    if isinstance(what, decl.CharType):
        if not text.is_text(item):
            f.fail(node.value, f"text is needed here, and this is {describe(item)}")
        slot = f.temp(f"text {name}", Chars(what.size))
        text.store(f, slot, item, node)
        f.bind(name, Ref(slot), node)
        return
    if isinstance(what, decl.StructType) and isinstance(item, Ref) and item.type == decl.ir_type(what):
        f.bind(name, item, node)
        return
    f.fail(node.annotation, "this is not a type for a local", "use u8 … u64, i8 … i64, int or bool")


def _aug_assign(f: Fn, node: ast.AugAssign) -> None:
    op = expr.OPS[type(node.op)]
    if op in ("/", "@"):
        expr.binary(f, op, Num(f.b.const(1)), Num(f.b.const(1)), node)
    if isinstance(node.target, ast.Name):
        name = node.target.id
        if name not in f.local_names:
            f.fail(node, f"{name} is not a local")
        old = f.read_local(name, node.target)
        if isinstance(old, Py) and isinstance(old.obj, (decl.Var, decl.MapDecl)):
            f.fail(node, f"{describe(old)} can't be changed as a whole", "")
        f.bind(name, expr.binary(f, op, old, f.expr(node.value), node), node)
        return
    where = place(f, node.target)
    if any(isinstance(n, (ast.Call, ast.NamedExpr)) for n in ast.walk(node.value)):
        first = where.read_first(f)
        if first is not None:
            where.write(f, expr.binary(f, op, first, f.expr(node.value), node), node)
            return
    where.change(f, op, f.expr(node.value), node)


# -- places to assign to


class Place:
    """What stands left of `=`."""

    def write(self, f: Fn, item: Item, node: ast.AST) -> None:
        raise NotImplementedError

    def change(self, f: Fn, op: str, item: Item, node: ast.AST) -> None:
        raise NotImplementedError

    def read_first(self, f: Fn) -> Item | None:
        """The value before the right side of `+=` is evaluated; None where the change is atomic."""
        return None


class MapPlace(Place):
    """`m[k]`, and what lies in it."""

    def __init__(self, m: decl.MapDecl, key: Item, path: tuple[str | Item, ...], type: Type) -> None:
        self.map = m
        self.key = key
        self.path = path
        self.type = type

    def write(self, f: Fn, item: Item, node: ast.AST) -> None:
        if self.path:
            mapops.set_entry(f, Entry(self.map, self.key, self.type, self.path), item, node)
        else:
            mapops.set_item(f, self.map, self.key, item, node)

    def change(self, f: Fn, op: str, item: Item, node: ast.AST) -> None:
        mapops.change_entry(f, self.map, self.key, self.path, op, item, node, self.type)


class MemoryPlace(Place):
    """A field or element in memory that programs may write; `inside` says whether a run-time index fits."""

    def __init__(self, ref: Ref, inside: ir.Value | None = None) -> None:
        self.ref = ref
        self.inside = inside

    def write(self, f: Fn, item: Item, node: ast.AST) -> None:
        def act() -> None:
            store(f, self.ref.ptr, item, node)

        if isinstance(self.ref.type, Int):
            item = Num(integer(f, item, self.ref.type, node))
        self._guarded(f, act)
        f.live.wrote(self.ref.fresh, self.ref.offset, self.ref.type.size)

    def change(self, f: Fn, op: str, item: Item, node: ast.AST) -> None:
        f.live.use(self.ref.fresh, self.ref.offset, self.ref.type.size)
        if isinstance(self.ref.type, Int):
            item = Num(number(f, item, node))
        self._guarded(f, lambda: mapops.change(f, self.ref.ptr, op, item, node, atomic=self.ref.shared))

    def read_first(self, f: Fn) -> Item | None:
        if self.ref.shared or self.inside is not None or not isinstance(self.ref.type, Int):
            return None
        return expr.read_place(f, self.ref)

    def _guarded(self, f: Fn, act: Callable[[], None]) -> None:
        if self.inside is None:
            act()
            return
        b = f.b
        yes, end = b.new_block("inside"), b.new_block("end")
        before = f.live.copy()
        b.branch(self.inside, yes, end)
        b.at(yes)
        act()
        b.jump(end)
        b.at(end)
        f.flow = merge([f.flow, before])


def place(f: Fn, target: ast.expr) -> Place:
    if isinstance(target, ast.Attribute):
        return _field_place(f, target)
    if isinstance(target, ast.Subscript):
        return _element_place(f, target)
    f.fail(target, "this can't be assigned to")


def _field_place(f: Fn, target: ast.Attribute) -> Place:
    base = f.expr(target.value)
    name = target.attr
    if isinstance(base, Py) and isinstance(base.obj, decl.Var):
        var = base.obj
        if isinstance(var, decl.Const):
            f.fail(
                target, f"{var.name} is a Const: programs can only read it", "use bp.Global to change it here"
            )
        if name != "value":
            f.fail(target, f"{describe(base)} has no attribute {name!r}", f"write {var.name}.value")
        return MemoryPlace(Ref(ir.GlobalRef(f.unit.var(var)), shared=True))
    if isinstance(base, Entry) and isinstance(base.type, Struct):
        kind = expr.field_type(f, base.type, name, target)
        return MapPlace(base.map, base.key, (*base.path, name), kind)
    if isinstance(base, Context):
        f.fail(target, "the program's argument can't be changed", "keep the value in a local")
    if isinstance(base, Opt) or (isinstance(base, Ref) and base.maybe):
        refuse_maybe(f, base, target)
    if isinstance(base, (Ref, Pointer)):
        found = expr.field_place(f, base, name, target)
        _writable(f, found, target)
        return MemoryPlace(found)
    if (isinstance(base, Py) and isinstance(base.obj, (type, decl.MapDecl))) or (
        isinstance(base, Py) and hasattr(base.obj, "__dict__")
    ):
        f.fail(
            target,
            f"{describe(base)} is a Python object: a program can't change it",
            "declare a bp.Global in the module and use its .value",
        )
    f.fail(target, f"{describe(base)} has no attribute {name!r} to assign to")


def _element_place(f: Fn, target: ast.Subscript) -> Place:
    base = f.expr(target.value)
    if isinstance(target.slice, ast.Slice):
        f.fail(target.slice, "slices are not supported", "assign one element, or in a loop")
    if isinstance(base, Py) and isinstance(base.obj, decl.MapDecl):
        mapops.needs_entries(f, base.obj, target)
        return MapPlace(base.obj, f.expr(target.slice), (), mapops.value_type(f, base.obj))
    index = f.expr(target.slice)
    if isinstance(base, Entry) and isinstance(base.type, (Array, Chars)):
        elem = base.type.elem if isinstance(base.type, Array) else Int(8, False)
        step = Num(number(f, index, target))
        return MapPlace(base.map, base.key, (*base.path, step), elem)
    refuse_maybe(f, base, target)
    if isinstance(base, Ref) and isinstance(base.type, (Array, Chars)):
        _writable(f, base, target)
        found, inside = expr.elem_place(f, base, index, target)
        return MemoryPlace(found, inside)
    if isinstance(base, Pointer):
        _writable(f, Ref(base.v), target)
    f.fail(target, f"elements of {describe(base)} can't be assigned to")


def _writable(f: Fn, ref: Ref, node: ast.AST) -> None:
    where = ref.ptr.type
    assert isinstance(where, Ptr)
    if where.space is Space.USER:
        f.fail(
            node, "user memory is written with a helper", "write bp.probe_write_user(address, value, size)"
        )
    if far(where):
        f.fail(node, "kernel memory can only be read", "keep the value in a local, a map or a record")
    if where.space is Space.CONTEXT:
        f.fail(node, "the program's argument can't be changed", "keep the value in a local")
    if isinstance(ref.ptr, ir.GlobalRef) and ref.ptr.var.const:
        f.fail(
            node,
            f"{ref.ptr.var.name} is a Const: programs can only read it",
            "use bp.Global to change it here",
        )


def _delete(f: Fn, node: ast.Delete) -> None:
    for target in node.targets:
        if isinstance(target, ast.Subscript):
            base = f.expr(target.value)
            if isinstance(base, Py) and isinstance(base.obj, decl.MapDecl):
                mapops.delete(f, base.obj, f.expr(target.slice), target)
                continue
        f.fail(target, "`del` deletes entries of maps only", "write `del m[key]`")


# -- control flow


def _if(f: Fn, node: ast.If) -> None:
    b = f.b
    yes, no = b.new_block("then"), b.new_block("else")
    y, n = cond.branch(f, node.test, yes, no)
    ends: list[tuple[ir.Block, Flow]] = []
    for start, flow, body in ((yes, y, node.body), (no, n, node.orelse)):
        if flow is None:
            continue
        f.enter(start, flow)
        block(f, body)
        if f.flow is not None:
            ends.append((b.block, f.flow))
    _meet(f, ends, "endif")


def _meet(f: Fn, ends: list[tuple[ir.Block, Flow]], name: str) -> None:
    """Go on where some ways end."""
    if not ends:
        f.flow = None
        return
    if len(ends) == 1:
        f.enter(*ends[0])
        return
    end = f.b.new_block(name)
    for last, _ in ends:
        f.b.at(last)
        f.b.jump(end)
    f.enter(end, merge([flow for _, flow in ends]))


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


def _while(f: Fn, node: ast.While) -> None:
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
        block(f, node.body)
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
        block(f, node.orelse)
    f.join(loop.end, loop.breaks)


def _for(f: Fn, node: ast.For) -> None:
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
        block(f, node.body)
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
        block(f, node.body)
        f.loops.pop()
        f.join(loop.next, loop.continues)
    if f.flow is not None:
        block(f, node.orelse)
    breaks = [flow for loop in loops for flow in loop.breaks]
    f.join(end, breaks)
    name = node.target.id if isinstance(node.target, ast.Name) else ""
    if isinstance(f.vars.get(name), PyVar) and breaks and f.flow is not None:
        f.flow.set.discard(name)
        f.notes[name] = (
            f"which of the loop's constants {name} is here is known only at run time",
            "use it inside the loop, before the `break`, or in a function that takes it",
        )


def _break(f: Fn, node: ast.Break) -> None:
    _leave(f, f.loops[-1].end, f.loops[-1].breaks)


def _continue(f: Fn, node: ast.Continue) -> None:
    _leave(f, f.loops[-1].next, f.loops[-1].continues)


def _leave(f: Fn, to: ir.Block, flows: list[Flow | None]) -> None:
    for cleanup in reversed(f.cleanups[f.loops[-1].cleanups :]):
        cleanup()
    flows.append(f.flow)
    f.b.jump(to)
    f.flow = None


def _return(f: Fn, node: ast.Return) -> None:
    item: Item | None = None
    if node.value is not None:
        item = f.expr(node.value)
        if is_none(item):
            item = None
        else:
            item = f.returned(item, node.value)
    f.b.loc = f.loc(node)
    for cleanup in reversed(f.cleanups):
        cleanup()
    f.returns.append((f.b.block, item, node))
    f.flow = None


def _with(f: Fn, node: ast.With) -> None:
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
    block(f, node.body)
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


# -- match


def _match(f: Fn, node: ast.Match) -> None:
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
            block(f, case.body)
            if f.flow is not None:
                ends.append((b.block, f.flow))
        f.enter(no, merge(misses))
    if f.flow is not None:
        ends.append((b.block, f.flow))
    _meet(f, ends, "endmatch")


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


# -- the rest


def _assert(f: Fn, node: ast.Assert) -> None:
    item = f.expr(node.test)
    value: Any
    if isinstance(item, Py) and not callable(item.obj) and not isinstance(item.obj, (decl.MapDecl, decl.Var)):
        value = bool(item.obj)
    elif isinstance(item, Num) and isinstance(item.v, ir.Const):
        value = bool(item.v.value)
    else:
        f.fail(
            node.test,
            "an assert is checked at compile time, and this is known only at run time",
            "write `if not …: return`",
        )
    if not value:
        message = ""
        if node.msg is not None:
            said = f.expr(node.msg)
            message = f": {said.obj}" if isinstance(said, Py) else ""
        f.fail(node, f"the assertion does not hold{message}")


_VALUES = (ast.Compare, ast.BinOp, ast.Name, ast.Attribute, ast.UnaryOp, ast.Subscript, ast.Tuple)


def _expr(f: Fn, node: ast.Expr) -> None:
    if isinstance(node.value, ast.Constant):
        if isinstance(node.value.value, str):
            return  # a docstring, or a comment in its shape
        f.fail(node, "this value is not used", "drop the line, or write `pass` for an empty body")
    value = node.value
    item = f.expr(value)
    if isinstance(value, _VALUES):
        hint = "drop the line"
        if isinstance(value, ast.Compare):
            hint = "did you mean `=`?"
        elif isinstance(item, Py) and callable(item.obj):
            hint = "to call it, add ()"
        elif isinstance(value, ast.UnaryOp) and isinstance(value.operand, ast.UnaryOp):
            inner = value.operand.operand
            sign = {ast.UAdd: "+", ast.USub: "-"}.get(type(value.op))
            if sign and isinstance(inner, (ast.Name, ast.Attribute, ast.Subscript)):
                hint = f"Python has no `{sign}{sign}`: write `{ast.unparse(inner)} {sign}= 1`"
        f.fail(node, "this value is not used", hint)


def _pass(f: Fn, node: ast.Pass) -> None:
    pass


_HANDLERS: dict[type[ast.stmt], Callable[[Fn, Any], None]] = {
    ast.Assign: _assign,
    ast.AnnAssign: _ann_assign,
    ast.AugAssign: _aug_assign,
    ast.Delete: _delete,
    ast.If: _if,
    ast.While: _while,
    ast.For: _for,
    ast.Break: _break,
    ast.Continue: _continue,
    ast.Return: _return,
    ast.With: _with,
    ast.Match: _match,
    ast.Assert: _assert,
    ast.Expr: _expr,
    ast.Pass: _pass,
}
