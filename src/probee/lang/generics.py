"""Global functions: compiled once, from their annotations alone, and verified by the kernel on their own.

What the verifier may take for granted inside is told by tags on the arguments: `arg:nonnull`, `arg:nullable`,
`arg:trusted`, `arg:ctx`.
"""

from __future__ import annotations

import ast

from . import assign, decl, ir, source, subprograms, text
from .calls import kernel_name
from .convert import describe, number, pointer, refuse_maybe
from .decl.arenas import ArenaPtrType
from .expr import in_arena
from .items import Item, Num, Pointer, Py, Ref
from .scope import Fn, is_none
from .types import BOOL, I32, I64, U64, Chars, Int, Ptr, Space, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .decl.functions import GlobalFunction


class _Parameter:
    __slots__ = ("name", "nullable", "type")

    def __init__(self, name: str, type: Type, nullable: bool) -> None:
        self.name = name
        self.type = type
        self.nullable = nullable


def call(f: Fn, function: GlobalFunction, node: ast.Call) -> Item:
    """A call of a global function."""
    fn = function.fn
    with f.placed(node):
        src = source.of_function(fn)
    key = ("global", fn)
    sub = f.unit.subprograms.get(key)
    if sub is None:
        if any(k[0] is fn for k in f.unit.compiling):
            f.fail(
                node, f"{fn.__name__} calls itself, and there is no recursion in the kernel", "write a loop"
            )
        f.unit.compiling.append((fn,))
        try:
            sub = subprograms.again(lambda doubtful: _compile(f, fn, src, doubtful))
        finally:
            f.unit.compiling.pop()
        f.unit.subprograms[key] = sub
        f.unit.module.functions.append(sub[0])
    out, params, uses_ctx, gives = sub
    given = subprograms.arguments(f, fn, src, node)  # type: ignore[arg-type]
    values = [_pass(f, p, item, where) for p, (_, item, where) in zip(params, given, strict=True)]
    if uses_ctx:
        values.append(subprograms.context(f, node, fn.__name__))
    if len(values) > subprograms.LIMIT:
        f.fail(node, f"{fn.__name__} takes {len(values)} values, and BPF passes at most 5", "pass a struct")
    result = f.b.call(out, *values)
    return Num(f.b.widen(result)) if gives else Py(None)


def _annotated(g: Fn, arg: ast.arg) -> _Parameter:
    note = arg.annotation
    if note is None:
        g.fail(
            arg,
            f"{arg.arg} has no type: the kernel verifies a global function without its callers",
            "annotate it",
        )
    nullable = False
    if isinstance(note, ast.BinOp) and isinstance(note.op, ast.BitOr):
        if not (isinstance(note.right, ast.Constant) and note.right.value is None):
            g.fail(note, "a parameter has one type, or is None", "write `Type | None`")
        note, nullable = note.left, True
    want = assign.annotation(g, note)
    if isinstance(want, Int):
        if nullable:
            g.fail(note, "a number can't be None here", "pass a number that stands for it")
        return _Parameter(arg.arg, I64 if want == BOOL else want, False)
    if isinstance(want, ArenaPtrType):
        return _Parameter(arg.arg, decl.ir_type(want), True)
    if isinstance(want, (decl.StructType, decl.CharType)):
        return _Parameter(arg.arg, Ptr(decl.ir_type(want), Space.MAP, nullable), nullable)
    name = kernel_name(want) if want is not None else ""
    if name:
        with g.placed(note):
            return _Parameter(arg.arg, Ptr(g.unit.ktypes.struct(name), Space.TRUSTED, nullable), nullable)
    g.fail(note, "this is no type for a parameter of a global function", "use integers, structs and Char[n]")


def _compile(
    f: Fn, fn: Any, src: source.Source, doubtful: set[str]
) -> tuple[ir.Function, list[_Parameter], bool, bool]:
    out = ir.Function(
        f.unit.unique(fn.__name__, "__"), [], I32, file=src.file, line=src.node.lineno, inline=False
    )
    out.visible = True
    g = Fn(f.unit, fn, src, out, doubtful)
    g.program = f.program
    g.b.loc = ir.Loc(src.node.lineno)
    args = src.node.args
    params = [_annotated(g, a) for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    for i, p in enumerate(params):
        param = ir.Param(i, p.name, p.type)
        out.params.append(param)
        if isinstance(p.type, Int):
            g.bind(p.name, Num(g.b.widen(param)), src.node)
            continue
        assert isinstance(p.type, Ptr)
        if p.type.space is Space.ARENA:
            out.tags[i] = ("arg:arena",)
            in_arena(g)
            g.bind(p.name, Pointer(param), src.node)
            continue
        core = isinstance(p.type.to, Struct) and p.type.to.core
        if core:
            out.tags[i] = ("arg:trusted", "arg:nullable") if p.nullable else ("arg:trusted",)
            g.bind(p.name, Pointer(param), src.node)
            continue
        out.tags[i] = () if p.nullable else ("arg:nonnull",)
        subprograms.bind_reference(
            g, p.name, Ref(param, maybe=p.name if p.nullable else "", shared=True), src.node
        )
    if f.ctx is not None:
        g.ctx = ir.Param(len(out.params), "ctx", f.ctx.type)
    subprograms.body(g)
    if g.uses_ctx:
        assert isinstance(g.ctx, ir.Param)
        out.tags[len(out.params)] = ("arg:ctx",)
        out.params.append(g.ctx)
    gives = [i for _, i, _ in g.returns if i is not None]
    numbers = [i for i in gives if isinstance(i, Num)]
    out.ret = I64 if all(i.v.type != U64 for i in numbers) and numbers else U64
    for block, item, where in g.returns:
        if gives and item is None:
            g.fail(
                where,
                f"{fn.__name__} returns a number on some ways and nothing here",
                "return a number here too",
            )
        g.b.at(block)
        g.b.loc = g.loc(where)
        g.b.ret(g.b.widen(item.v) if isinstance(item, Num) else None)
    return out, params, g.uses_ctx, bool(gives)


def _pass(f: Fn, p: _Parameter, item: Item, node: ast.AST) -> ir.Value:
    if isinstance(p.type, Int):
        return f.b.cast(number(f, item, node), p.type)
    assert isinstance(p.type, Ptr)
    if is_none(item):
        if not p.nullable:
            f.fail(node, f"{p.name} can't be None", f"annotate it `{p.name}: … | None`, and test it there")
        return ir.Const(p.type, 0)
    if p.type.space is Space.ARENA:
        return f.b.recast(pointer(f, item, p.type, node), p.type)
    if not p.nullable:
        refuse_maybe(f, item, node)
    if (
        isinstance(p.type.to, Chars)
        and text.is_text(item)
        and not (isinstance(item, Ref) and item.type == p.type.to)
    ):
        slot = f.temp(p.name, p.type.to)
        text.store(f, slot, item, node)
        return slot
    value = item.v if isinstance(item, Pointer) else item.ptr if isinstance(item, Ref) else None
    if value is None or not isinstance(value.type, Ptr) or value.type.to != p.type.to:
        f.fail(node, f"{p.name} is a {p.type.to!r}, and this is {describe(item)}")
    if (p.type.space is Space.TRUSTED) != (value.type.space is Space.TRUSTED) or value.type.space in (
        Space.KERNEL,
        Space.USER,
        Space.ARENA,
    ):
        f.fail(
            node,
            f"{p.name} can't be in {value.type.space.value}",
            "copy it into a struct of the program first",
        )
    f.escape(item)
    return value
