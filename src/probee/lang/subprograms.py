"""Functions: programs on their hooks, and the plain Python functions they call.

A called function is compiled once for each combination of argument types. What the compiler knows of an
argument (a map, a text, a struct class) is part of the combination and is not passed at run time.
"""

from __future__ import annotations

import ast
from types import CellType, FunctionType

from . import assign, decl, ir, source, text
from .convert import common, constant, describe, number, refuse_maybe, resolve, wrap
from .items import Closure, Context, Entry, Group, Item, Num, Opt, Pointer, Py, Ref, TextCall
from .scope import Again, Fn, PyVar, Unit, is_none
from .types import BOOL, I64, U64, VOID, Array, Chars, Int, Ptr, Space, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

LIMIT = 5  # arguments in registers


class NeedsContext(Exception):
    """A program that shares a dispatcher wants the hook's context, which the dispatcher does not pass on."""


class Subprogram:
    """A compiled function. `ret` says what a call gives: a function from the call's value to an item."""

    def __init__(self, out: ir.Function, uses_ctx: bool, ret: Any) -> None:
        self.out = out
        self.uses_ctx = uses_ctx
        self.ret = ret


def context(f: Fn, node: ast.AST, what: str) -> ir.Value:
    """The program's context pointer, which also subprograms get when they need it."""
    if f.ctx is None:
        raise NeedsContext
    f.uses_ctx = True
    return f.ctx


class _Argument:
    """A prepared argument: `key` tells specialisations apart, `values` are passed."""

    def __init__(self, key: tuple[Any, ...], values: list[ir.Value], item: Item) -> None:
        self.key = key
        self.values = values
        self.item = item


def _prepare(f: Fn, item: Item, name: str, node: ast.AST, i: int) -> _Argument:
    if isinstance(item, Entry) and not isinstance(item.type, Chars):
        m = item.map.name
        f.fail(
            node,
            f"an entry of {m} as a whole can't be passed on",
            f"pass `{m}.get(key)`, or the map and the key",
        )
    item = resolve(f, item, node)
    if isinstance(item, Opt):
        refuse_maybe(f, item, node)
    if isinstance(item, TextCall):
        kind = Chars(item.size or text.LONGEST)
        slot = f.temp(f"argument {i}", kind)
        text.store(f, slot, item, node)
        item = Ref(slot)
    if isinstance(item, Py) and isinstance(item.obj, int):
        item = Num(number(f, item, node))
    if isinstance(item, Num):
        value = f.b.widen(item.v)
        return _Argument(("int", value.type), [value], item)
    if isinstance(item, Pointer):
        return _Argument(("pointer", item.v.type), [item.v], item)
    if isinstance(item, Ref):
        f.escape(item)
        return _Argument(("ref", item.ptr.type, bool(item.maybe), item.shared), [item.ptr], item)
    if isinstance(item, Context):
        values = [v for _, v in _held(item.obj)]
        return _Argument(("context", id(item.obj)), values, item)
    if isinstance(item, Py):
        f.unit.keep.append(item.obj)
        return _Argument(("python", id(item.obj)), [], item)
    f.fail(node, f"{describe(item)} can't be passed to a function")


def _held(obj: Any) -> list[tuple[str, ir.Value]]:
    """The run-time values inside a context object."""
    out = []
    for cls in type(obj).__mro__:
        for slot in getattr(cls, "__slots__", ()):
            value = getattr(obj, slot, None)
            if isinstance(value, ir.Value) and not isinstance(value, ir.Const):
                out.append((slot, value))
    return out


def call(f: Fn, fn: FunctionType, node: ast.Call) -> Item:
    """A call of a plain function."""
    with f.placed(node):
        src = source.of_function(fn)
    return _call(f, fn, src, arguments(f, fn, src, node), node)


def call_on(f: Fn, fn: FunctionType, items: list[Item], node: ast.Call) -> Item:
    """A call of a function of the library on what the compiler already has."""
    src = source.of_function(fn)
    names = [a.arg for a in src.node.args.args]
    return _call(f, fn, src, [(n, i, node) for n, i in zip(names, items, strict=True)], node)


def _call(
    f: Fn, fn: FunctionType, src: source.Source, given: list[tuple[str, Item, ast.AST]], node: ast.Call
) -> Item:
    prepared = [(name, _prepare(f, item, name, where, i)) for i, (name, item, where) in enumerate(given)]
    key = (fn, f.under_rcu, bool(f.locked), *(a.key for _, a in prepared))
    sub = f.unit.subprograms.get(key)
    if sub is None:
        if any(k[0] is fn for k in f.unit.compiling):
            f.fail(
                node, f"{fn.__name__} calls itself, and there is no recursion in the kernel", "write a loop"
            )
        if len(f.unit.compiling) > 32:
            f.fail(node, "calls are nested more than 32 deep")
        f.unit.compiling.append(key)
        try:
            sub = _compile(f, fn, src, prepared, node)
        finally:
            f.unit.compiling.pop()
        f.unit.subprograms[key] = sub
    values = [v for _, a in prepared for v in a.values]
    return _called(f, sub, values, prepared, fn.__name__, node)


def call_inner(f: Fn, closure: Closure, node: ast.Call) -> Item:
    """A call of a function defined inside this one."""
    from . import callbacks

    if len(f.unit.compiling) > 32 or any(k[0] is closure.code for k in f.unit.compiling):
        f.fail(node, f"{closure.name} calls itself, and there is no recursion in the kernel", "write a loop")
    src = source.Source(closure.node, f.source.file, f.source.lines)
    defaults = closure.node.args.defaults
    if defaults or any(d is not None for d in closure.node.args.kw_defaults):
        f.fail(closure.node, "a function inside a program has no defaults", "pass all its arguments")
    shell = FunctionType(
        closure.code, {}, closure.name, None, tuple(CellType() for _ in closure.code.co_freevars)
    )
    given = arguments(f, shell, src, node)
    prepared = [(name, _prepare(f, item, name, where, i)) for i, (name, item, where) in enumerate(given)]
    annotations = {p.arg: p.annotation for p in ast.walk(closure.node.args) if isinstance(p, ast.arg)}
    symbol = f.unit.unique("inner" if closure.name == "<lambda>" else closure.name, "__")
    held: list[Fn] = []

    def attempt(doubtful: set[str]) -> Subprogram:
        out = ir.Function(symbol, [], VOID, file=src.file, line=src.node.lineno)
        g = callbacks.inner(f, closure, out)
        g.doubtful = doubtful
        for name, arg in prepared:
            _parameter(f, g, name, arg, annotations.get(name), node)
        if g.outer_names:
            out.params.append(ir.Param(len(out.params), "captured", Ptr(VOID, Space.STACK)))
            callbacks.capture(f, g, out.params[-1], node)
        if f.ctx is not None:
            g.ctx = ir.Param(len(out.params), "ctx", f.ctx.type)
        body(g)
        if g.uses_ctx:
            assert isinstance(g.ctx, ir.Param)
            out.params.append(g.ctx)
        held[:] = [g]
        return Subprogram(out, g.uses_ctx, _results(g))

    f.unit.compiling.append((closure.code,))
    try:
        sub = again(attempt)
    finally:
        f.unit.compiling.pop()
    f.unit.module.functions.append(sub.out)
    values = [v for _, a in prepared for v in a.values]
    if held[0].outer_names:
        values.append(f.frame if f.frame is not None else ir.Const(Ptr(VOID, Space.STACK), 0))
    return _called(f, sub, values, prepared, closure.name, node, held[0])


def _called(
    f: Fn,
    sub: Subprogram,
    values: list[ir.Value],
    prepared: list[tuple[str, _Argument]],
    name: str,
    node: ast.Call,
    inner: Fn | None = None,
) -> Item:
    if sub.out in f.unit.throwing:
        if f.holds:
            f.fail(
                node,
                f"{name} may throw, and does not come back then to give back what the `with` or the loop "
                "around this call holds",
                "call it outside, or let it return",
            )
        f.unit.throwing.add(f.out)
    if sub.uses_ctx:
        values.append(context(f, node, name))
    if len(values) > LIMIT:
        f.fail(
            node,
            f"{name} takes {len(values)} values at run time, and BPF passes at most {LIMIT}",
            "pass a struct",
        )
    place: ir.Local | None = None
    if isinstance(sub.ret, Several):
        place = f.b.local(f"results of {name}", Array(U64, len(sub.ret.parts)))
        values.append(place)
    if len(values) > LIMIT:
        f.fail(
            node,
            f"{name} takes {len(values)} values at run time, with the place for its results",
            "pass a struct",
        )
    result = f.b.call(sub.out, *values)
    if inner is not None:
        from .callbacks import after

        after(f, inner)
    if place is not None:
        origin = _origin(prepared)
        items = [_part(f, place, i, part, origin) for i, part in enumerate(sub.ret.parts)]
        if not sub.ret.optional:
            return Group(items)
        present, value = items
        assert isinstance(present, Num)
        return Opt(f.b.truth(present.v), value, f"{name}(…)")
    item: Item = sub.ret(result)
    if isinstance(item, Ref):
        item.origin = _origin(prepared)
    return item


def _origin(prepared: list[tuple[str, _Argument]]) -> frozenset[object]:
    """What a reference that a function gives may refer to: what it got."""
    return frozenset().union(*(a.item.origin for _, a in prepared if isinstance(a.item, Ref)))


def _part(f: Fn, place: ir.Value, i: int, part: _Result, origin: frozenset[object]) -> Item:
    """One of several results."""
    if isinstance(part.type, Int):
        return Num(f.b.cast(f.b.read(f.b.index(place, i)), part.type))
    value = f.b.load(f.b.recast(f.b.index(place, i), Ptr(part.type, Space.STACK)))
    if part.pointer:
        return Pointer(value)
    return Ref(value, maybe=part.maybe, shared=part.shared, origin=origin)


def arguments(f: Fn, fn: FunctionType, src: source.Source, node: ast.Call) -> list[tuple[str, Item, ast.AST]]:
    """The call's arguments by parameter, in the function's order."""
    a = src.node.args
    name = fn.__name__
    if a.vararg or a.kwarg:
        f.fail(node, f"{name} takes a variable number of arguments", "give it a fixed number of parameters")
    positional = [p.arg for p in (*a.posonlyargs, *a.args)]
    names = [*positional, *(p.arg for p in a.kwonlyargs)]
    if len(node.args) > len(positional):
        f.fail(
            node,
            f"{name} takes {len(positional)} argument{'s'[: len(positional) != 1]}, not {len(node.args)}",
        )
    found: dict[str, tuple[Item, ast.AST]] = {}
    for word, arg in zip(positional, node.args, strict=False):
        if isinstance(arg, ast.Starred):
            f.fail(arg, "`*` can't unpack here", "write the arguments one by one")
        found[word] = (f.expr(arg), arg)
    for kw in node.keywords:
        if kw.arg is None:
            f.fail(kw.value, "`**` can't unpack here", "write the arguments one by one")
        if kw.arg not in names:
            from .diag import nearest

            f.fail(kw.value, f"{name} has no parameter {kw.arg!r}", nearest(kw.arg, names))
        if kw.arg in found:
            f.fail(kw.value, f"{name} gets {kw.arg} twice")
        found[kw.arg] = (f.expr(kw.value), kw.value)
    defaults = dict(zip(positional[::-1], (fn.__defaults__ or ())[::-1], strict=False))
    defaults.update(fn.__kwdefaults__ or {})
    missing = [n for n in names if n not in found and n not in defaults]
    if missing:
        f.fail(node, f"{name} needs {', '.join(missing)}", f"it takes ({', '.join(names)})")
    return [(n, *found.get(n, (Py(defaults.get(n)), node))) for n in names]


def _compile(
    f: Fn, fn: FunctionType, src: source.Source, prepared: list[tuple[str, _Argument]], node: ast.AST
) -> Subprogram:
    unit = f.unit
    plain = "".join(c if c.isascii() else "_" for c in fn.__name__)  # a symbol is ASCII
    symbol = unit.unique(plain, "__")
    annotations = {p.arg: p.annotation for p in ast.walk(src.node.args) if isinstance(p, ast.arg)}

    def attempt(doubtful: set[str]) -> Subprogram:
        out = ir.Function(symbol, [], VOID, file=src.file, line=src.node.lineno)
        g = Fn(unit, fn, src, out, doubtful)
        g.program = f.program
        g.under_rcu = f.under_rcu
        g.locked = f.locked
        g.b.loc = ir.Loc(src.node.lineno)
        for name, arg in prepared:
            _parameter(f, g, name, arg, annotations.get(name), node)
        if f.ctx is not None:
            g.ctx = ir.Param(len(out.params), "ctx", f.ctx.type)
        body(g)
        if g.uses_ctx:
            assert isinstance(g.ctx, ir.Param)
            out.params.append(g.ctx)
        return Subprogram(out, g.uses_ctx, _results(g))

    sub = again(attempt)
    unit.module.functions.append(sub.out)
    return sub


def again(attempt: Callable[[set[str]], T]) -> T:
    """Compile a function; once more when a loop turns out to set to None what was not None before it."""
    doubtful: set[str] = set()
    while True:
        try:
            return attempt(set(doubtful))
        except Again as e:
            doubtful |= e.names


def _parameter(f: Fn, g: Fn, name: str, arg: _Argument, annotation: ast.expr | None, node: ast.AST) -> None:
    """Bind a parameter at the start of the function."""
    want = assign.annotation(g, annotation) if annotation is not None else None
    item = arg.item

    def param(type: Type) -> ir.Param:
        p = ir.Param(len(g.out.params), name, type)
        g.out.params.append(p)
        return p

    bound: Item
    if isinstance(item, Num):
        _check_annotation(f, name, want, item, node)
        value = param(arg.values[0].type)
        if isinstance(want, Int):
            g.bind(name, Num(value), node, want)
            return
        bound = Num(value)
    elif isinstance(item, Pointer):
        _check_annotation(f, name, want, item, node)
        bound = Pointer(param(item.v.type))
    elif isinstance(item, Ref):
        _check_annotation(f, name, want, item, node)
        bound = Ref(param(item.ptr.type), maybe=name if item.maybe else "", shared=item.shared)
        bind_reference(g, name, bound, node)
        return
    elif isinstance(item, Context):
        from copy import copy  # it takes 3 ms to import, and this is rare

        obj = copy(item.obj)
        for slot, value_ in _held(item.obj):
            setattr(obj, slot, param(value_.type))
        bound = Context(obj)
    else:
        bound = item
        if isinstance(item, Py) and isinstance(item.obj, (str, bytes)):
            _check_annotation(f, name, want, item, node)
        if is_none(item):  # known at compile time: `if x is None` keeps one way
            g.vars[name] = PyVar(name, item)
            g.assigned(name)
            return
    g.bind(name, bound, node)


def bind_reference(g: Fn, name: str, bound: Ref, node: ast.AST) -> None:
    """A parameter that refers to the caller's memory: of a text, too, no copy is made."""
    if not isinstance(bound.type, Chars):
        g.bind(name, bound, node)
        return
    var = g.new_var(name, Ref(bound.ptr, maybe=name), node)
    g.vars[name] = var
    g.store_var(var, bound, node)
    g.assigned(name)
    if not bound.maybe:
        g.live.known.add(name)


def _check_annotation(f: Fn, name: str, want: Any, item: Item, node: ast.AST) -> None:
    if isinstance(want, Int) and (
        not isinstance(item, (Num, Py)) or (isinstance(item, Py) and isinstance(item.obj, (str, bytes)))
    ):
        f.fail(node, f"{name} is a {want!r}, and this is {describe(item)}")
    if isinstance(want, (decl.StructType, decl.CharType, decl.ArrayType)):
        kind = decl.ir_type(want)
        here = item.type if isinstance(item, Ref) else item.to if isinstance(item, Pointer) else None
        if here != kind and not (isinstance(kind, Chars) and text.is_text(item)):
            f.fail(node, f"{name} is a {want!r}, and this is {describe(item)}")
    from .calls import kernel_name

    word = kernel_name(want) if want is not None else ""
    if word:
        with f.placed(node):
            struct = f.unit.ktypes.struct(word)
        here = item.type if isinstance(item, Ref) else item.to if isinstance(item, Pointer) else None
        if here is not struct:
            f.fail(node, f"{name} is a {struct!r}, and this is {describe(item)}")


def body(g: Fn) -> None:
    """Compile the statements; a way that falls off the end returns nothing."""
    code = g.source.node
    statements = code.body
    g.block(statements)
    if g.flow is not None:
        last = statements[-1]
        g.b.loc = ir.Loc(getattr(last, "end_lineno", None) or last.lineno)
        g.returns.append((g.b.block, None, last))
    g.finish()


def _results(g: Fn) -> Any:
    """As `_returns`; the place for several results is one more parameter."""
    gives = _returns(g)
    if isinstance(gives, Several):
        g.out.params.append(gives.place)
    return gives


def _returns(g: Fn) -> Any:
    """Write the returns of a subprogram, now that all are known. Gives what makes an item of its result."""
    b, out, node = g.b, g.out, g.source.node
    items = [i for _, i, _ in g.returns]
    want, optional = _annotated(g)
    given = [i for i in items if i is not None]
    if not given:
        for block, _, _ in g.returns:
            b.at(block)
            b.ret()
        return lambda value: Py(None)
    if want is None:
        where = next(n for _, i, n in g.returns if i is not None)
        g.fail(where, f"{out.name} is annotated to return None", "drop the value, or the annotation")
    first = given[0]
    if isinstance(first, Group):
        return _several(g, first)
    if isinstance(first, (Num, Opt)):
        for _, item, where in g.returns:
            if (
                item is None
                and not optional
                and not (isinstance(where, ast.Return) and where.value is not None)
            ):
                g.fail(
                    where,
                    f"{out.name} returns a number on some ways and nothing here",
                    "return a number here too, or `return None` where there is none",
                )
            if isinstance(want, Int) and not optional and not isinstance(item, Num):
                g.fail(
                    where,
                    f"{out.name} is annotated to return a number, and this may be None",
                    "annotate it with `| None`, or return a number here too",
                )
        if optional or not all(isinstance(item, Num) for item in items):
            return _maybe_number(g, want if isinstance(want, Int) else None)
            if not isinstance(item, Num):
                g.fail(where, f"this returns {describe(item)}, and other ways return a number")
        narrow = want if isinstance(want, Int) else None
        if narrow is not None:
            kind = I64 if narrow.signed or narrow == BOOL else U64
        else:
            kind = common(g, [(i.given or i, i.v, n) for _, i, n in g.returns if isinstance(i, Num)])
        out.ret = kind
        for block, item, where in g.returns:
            assert isinstance(item, Num)
            b.at(block)
            b.loc = g.loc(where)
            b.ret(b.cast(b.widen(b.cast(item.v, narrow) if narrow is not None else item.v), kind))
        return Num
    kinds: list[Ptr] = []
    for _, item, where in g.returns:
        ptr = item.v if isinstance(item, Pointer) else item.ptr if isinstance(item, Ref) else None
        if item is not None and ptr is None:
            g.fail(where, f"this returns {describe(item)}, and other ways return {describe(first)}")
        if ptr is not None:
            assert isinstance(ptr.type, Ptr)
            kinds.append(ptr.type)
    if any((k.to, k.space) != (kinds[0].to, kinds[0].space) for k in kinds):
        g.fail(node, f"{out.name} returns pointers of different kinds", "return one kind")
    out.ret = Ptr(kinds[0].to, kinds[0].space, True)
    maybe = len(kinds) < len(items) or any(isinstance(i, Ref) and i.maybe for i in given)
    for block, item, where in g.returns:
        b.at(block)
        b.loc = g.loc(where)
        if item is None:
            b.ret(ir.Const(out.ret, 0))
        else:
            b.ret(item.v if isinstance(item, Pointer) else item.ptr if isinstance(item, Ref) else None)
    if isinstance(first, Pointer):
        return Pointer
    name = f"{out.name}(…)" if maybe else ""
    shared = any(isinstance(i, Ref) and i.shared for i in given)
    return lambda value: Ref(value, maybe=name, shared=shared)


class _Result:
    """One of several results: a number, a pointer, or a reference."""

    __slots__ = ("maybe", "pointer", "shared", "type")

    def __init__(
        self, type: Int | Ptr, *, pointer: bool = False, maybe: str = "", shared: bool = False
    ) -> None:
        self.type = type
        self.pointer = pointer
        self.maybe = maybe
        self.shared = shared


class Several:
    """A function of several results: they come back in `place`, memory of the caller's.

    With `optional`, they are one number that may be None: whether there is one, and the number.
    """

    __slots__ = ("optional", "parts", "place")

    def __init__(self, place: ir.Param, parts: list[_Result], *, optional: bool = False) -> None:
        self.place = place
        self.parts = parts
        self.optional = optional


def _place(g: Fn, n: int) -> ir.Param:
    return ir.Param(len(g.out.params), "results", Ptr(Array(U64, n), Space.STACK))


def _several(g: Fn, first: Group) -> Several:
    """`return a, b`: the results are written to memory that the caller gives."""
    b, n = g.b, len(first.items)
    place = _place(g, n)
    ways: list[tuple[ir.Block, list[Item], ast.AST]] = []
    for block, item, where in g.returns:
        if not isinstance(item, Group) or len(item.items) != n:
            here = "nothing" if item is None else describe(item)
            g.fail(where, f"this returns {here}, and other ways return {n} values", "return as many here")
        ways.append((block, item.items, where))
    parts = [_one_of_several(g, [(items[i], where) for _, items, where in ways], i) for i in range(n)]
    for block, items, where in ways:
        b.at(block)
        b.loc = g.loc(where)
        for i, (item, part) in enumerate(zip(items, parts, strict=True)):
            if isinstance(part.type, Int):
                assert isinstance(item, Num)
                b.write(b.index(place, i), b.cast(b.widen(item.v), part.type))
                continue
            value = item.v if isinstance(item, Pointer) else item.ptr if isinstance(item, Ref) else None
            slot = b.recast(b.index(place, i), Ptr(part.type, Space.STACK))
            b.store(slot, ir.Const(part.type, 0) if value is None else b.recast(value, part.type))
        b.ret()
    return Several(place, parts)


def _one_of_several(g: Fn, ways: list[tuple[Item, ast.AST]], i: int) -> _Result:
    """The kind of result `i`, which all ways give."""
    numbers = [(item.given or item, item.v, where) for item, where in ways if isinstance(item, Num)]
    if len(numbers) == len(ways):
        return _Result(common(g, numbers))
    known: Item | None = None
    maybe = shared = False
    for item, where in ways:
        if is_none(item):
            maybe = True
            continue
        known = known or item
        if isinstance(item, Num) or type(item) is not type(known) or _address(item) != _address(known):
            other = next(x for x, _ in ways if x is not item)
            g.fail(
                where,
                f"result {i + 1} is {describe(item)} here, and {describe(other)} on other ways",
                "return the same kind everywhere; a number that may be None is returned alone",
            )
        maybe = maybe or (isinstance(item, Ref) and bool(item.maybe))
        shared = shared or (isinstance(item, Ref) and item.shared)
    if known is None:
        g.fail(ways[0][1], f"result {i + 1} is always None", "drop it")
    to, space = _address(known)
    what = f"result {i + 1} of {g.out.name}(…)" if maybe else ""
    return _Result(Ptr(to, space, True), pointer=isinstance(known, Pointer), maybe=what, shared=shared)


def _address(item: Item) -> tuple[Type, Space]:
    """What an item points to, and where that is."""
    value = item.v if isinstance(item, (Pointer, Num)) else item.ptr if isinstance(item, Ref) else None
    return (
        (value.type.to, value.type.space)
        if value is not None and isinstance(value.type, Ptr)
        else (VOID, Space.CODE)
    )


def _maybe_number(g: Fn, want: Int | None) -> Several:
    """A number on some ways and None on others."""
    b = g.b
    place = _place(g, 2)
    numbers = [(i.item if isinstance(i, Opt) else i, where) for _, i, where in g.returns if i is not None]
    for given, where in numbers:
        if not isinstance(given, Num):
            g.fail(where, f"this returns {describe(given)}, and other ways return a number")
    if want is not None:
        kind = I64 if want.signed or want == BOOL else U64
    else:
        kind = common(g, [(i.given or i, i.v, where) for i, where in numbers if isinstance(i, Num)])
    for block, item, where in g.returns:
        b.at(block)
        b.loc = g.loc(where)
        present: ir.Value = b.const(0, U64)
        value: ir.Value = b.const(0, kind)
        if item is not None:
            present = b.cast(b.widen(item.present), U64) if isinstance(item, Opt) else b.const(1, U64)
            number_ = item.item if isinstance(item, Opt) else item
            assert isinstance(number_, Num)
            value = b.cast(number_.v, want) if want is not None else number_.v
        b.write(b.index(place, 0), present)
        b.write(b.index(place, 1), b.cast(b.widen(value), kind))
        b.ret()
    return Several(place, [_Result(U64), _Result(kind)], optional=True)


def _annotated(g: Fn) -> tuple[Any, bool]:
    """What the function is annotated to return, Ellipsis if it is not, and whether that may be None."""
    node = g.source.node.returns
    if node is None:
        return Ellipsis, False
    node = assign.unquoted(g, node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(other, ast.Constant) and other.value is None:
                return assign.annotation(g, one), True
    return assign.annotation(g, node), False


def returned(f: Fn, item: Item, node: ast.AST) -> Item:
    """What a `return` gives, checked while its place is known."""
    if isinstance(item, Py) and isinstance(item.obj, tuple):
        item = Group([Py(v) for v in item.obj])
    if isinstance(item, Group) and not f.out.section and f.out.ret is VOID and not f.out.visible:
        return Group([part if is_none(part) else returned(f, part, node) for part in item.items])
    item = resolve(f, item, node)
    if f.out.section or f.out.ret is not VOID or isinstance(item, Num) or constant(item) is not None:
        out = Num(number(f, item, node))
        out.given = item
        return out
    if isinstance(item, Opt) and isinstance(item.item, Num):
        return item
    if isinstance(item, Opt) and isinstance(item.item, Ref):
        there = item.item.ptr
        chosen = f.b.select(item.present, there, ir.Const(there.type, 0))
        item = Ref(chosen, maybe=item.name, shared=item.item.shared, origin=item.item.origin)
    if isinstance(item, Pointer):
        return item
    if isinstance(item, Ref):
        where = item.ptr.type
        assert isinstance(where, Ptr)
        if where.space in (Space.STACK, Space.RECORD) and item.origin and not isinstance(item.type, Chars):
            f.given_back.append((item.origin, describe(item), node))
        elif where.space in (Space.STACK, Space.RECORD):
            f.fail(
                node,
                f"{describe(item)} can't be returned: it ends with the function",
                "let the caller make it, and fill it in here",
            )
        return item
    if text.is_text(item):
        f.fail(node, "text can't be returned", "let the caller pass the struct whose field it goes to")
    f.fail(node, f"{describe(item)} can't be returned")


# -- programs


def program(unit: Unit, p: decl.ProgramDecl, hook: Any, name: str) -> ir.Function:
    """Compile a program for its hook."""
    return again(lambda doubtful: _attempt_program(unit, p, hook, name, doubtful))


def _attempt_program(
    unit: Unit, p: decl.ProgramDecl, hook: Any, name: str, doubtful: set[str]
) -> ir.Function:
    fn = p.fn
    assert isinstance(fn, FunctionType)
    src = source.of_function(fn)
    params = hook.params()
    out = ir.Function(name, params, hook.ret, section=hook.section)
    out.file, out.line = src.file, src.node.lineno
    f = Fn(unit, fn, src, out, doubtful)
    f.program = p
    first = params[0] if params else None
    if first is not None and isinstance(first.type, Ptr) and first.type.space is Space.CONTEXT:
        f.ctx = first
    a = src.node.args
    if a.vararg or a.kwarg or a.kwonlyargs:
        f.fail(
            a.vararg or a.kwarg or a.kwonlyargs[0],
            "a program's parameters are plain names",
            "name them one by one",
        )
    if a.defaults:
        f.fail(a.defaults[0], "a program's parameters have no defaults", "the hook gives their values")
    names = [x.arg for x in (*a.posonlyargs, *a.args)]
    types: dict[str, Any] = {}
    kernel: dict[str, tuple[str, ast.expr]] = {}  # annotations that name types of the kernel
    for x in (*a.posonlyargs, *a.args):
        if x.annotation is not None:
            want = assign.annotation(f, x.annotation)
            if _is_any(want):
                continue
            if named := getattr(want, "kernel_name", ""):
                kernel[x.arg] = (str(named), x.annotation)
                continue
            scalar = _scalar(want)
            if scalar is None and hook.takes(want):
                scalar = want
            if scalar is None:
                f.fail(x.annotation, f"the type of {x.arg} comes from the hook", "drop the annotation")
            types[x.arg] = scalar
    f.b.loc = ir.Loc(src.node.lineno)
    with f.placed(None):
        bound = hook.bind(f.b, params, names, types)
    for given in names:
        value = bound[given]
        if not isinstance(value, Item):
            value = wrap(f, value) if isinstance(value, ir.Value) else Context(value)
        if given in kernel:
            _check_kernel(f, given, value, *kernel[given])
        f.bind(given, value, src.node)
    body(f)
    for block, item, where in f.returns:
        f.b.at(block)
        f.b.loc = f.loc(where)
        f.b.ret(hook.result(f, item, where))
    return out


def _is_any(want: Any) -> bool:
    """`typing.Any`, or a class that says nothing: for type checkers only."""
    return want is object or getattr(want, "__module__", "") == "typing"


def _check_kernel(f: Fn, name: str, item: Item, want: str, node: ast.expr) -> None:
    """The hook gives a parameter its type; an annotation may only say the same."""
    want = want.removeprefix("struct ").removeprefix("union ")
    kind = item.to if isinstance(item, Pointer) else item.type if isinstance(item, Ref) else None
    if isinstance(item, Context) and want.startswith("trace_event_raw_"):
        return
    if not isinstance(kind, Struct) or kind.name != want:
        f.fail(node, f"{name} is {describe(item)} at this hook, not a {want}", "drop the annotation")


def _scalar(want: Any) -> decl.ScalarType | None:
    if isinstance(want, Int):
        if want == BOOL:
            return decl.u8
        return getattr(decl, f"{'i' if want.signed else 'u'}{want.bits}", None)
    return None
