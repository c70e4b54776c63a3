"""Arenas: pages from the kernel, pointers into them, and what ties a program to its arena."""

from __future__ import annotations

from types import FunctionType

from .. import decl, diag, expr, ir, mapops, subprograms
from ..convert import address, arena, constant, describe, number
from ..decl.arenas import Arena, ArenaPtrType
from ..items import Item, Num, Pointer, Py, Ref
from ..scope import Fn, Unit
from ..types import U64, Ptr, Space, Type
from ..walk import operands, reachable
from . import arena_library, kfuncs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

_ARENA = Arena.kind
_TAKE: FunctionType = arena_library.take  # type: ignore[assignment]
_ANY_NODE = 0xFFFF_FFFF  # NUMA_NO_NODE


def _alloc(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    """`arena.alloc_pages(count, type[, address])`: zeroed pages, None if there are none."""
    count = number(f, args[0], node.args[0])
    known = constant(args[0])
    if known is not None and not 0 < known <= m.max_entries:
        f.fail(node.args[0], f"{m.name} has {m.max_entries} pages, and this asks for {known}")
    of = _of(f, args[1], node.args[1], "alloc_pages")
    where: ir.Value = ir.Const(U64, 0)
    if len(args) > 2:
        where = f.b.recast(_pointer(f, args[2], node.args[2]), U64)
    extern, _ = kfuncs.checked(f, "bpf_arena_alloc_pages", node)
    b = f.b
    at = extern.params[1][1]
    made = b.kfunc(extern, mapops.handle(f, m), b.recast(where, at), count, b.const(_ANY_NODE), b.const(0))
    expr.in_arena(f)
    return Pointer(b.recast(b.recast(made, U64), Ptr(of, Space.ARENA)))


def _free(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    """`arena.free_pages(pointer, count)`."""
    where = f.b.recast(_pointer(f, args[0], node.args[0]), U64)
    count = number(f, args[1], node.args[1])
    extern, _ = kfuncs.checked(f, "bpf_arena_free_pages", node)
    f.b.kfunc(extern, mapops.handle(f, m), f.b.recast(where, extern.params[1][1]), count)
    return Py(None)


def _new(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    """`arena.new(Node)`: zeroed memory for one, of pages that all share; None if there is none."""
    of = _of(f, args[0], node.args[0], "new")
    size = (of.size + 7) // 8 * 8
    if size > arena_library.PAGE:
        f.fail(node.args[0], f"a {of!r} has more than a page of 4096 bytes", "write alloc_pages(count, type)")
    kfuncs.checked(f, "bpf_arena_alloc_pages", node)
    cursor = f.unit.cursors.get(id(m))
    if cursor is None:
        cursor = f.unit.cursors[id(m)] = decl.Global(decl.ArrayType(decl.u64, 1))
    place = Ref(ir.GlobalRef(f.unit.var(cursor, f"__next_in_{f.unit.map(m).name}")), shared=True)
    found = subprograms.call_on(f, _TAKE, [Py(m), place, Py(size)], node)
    assert isinstance(found, Num)
    expr.in_arena(f)
    return Pointer(f.b.recast(f.b.cast(found.v, U64), Ptr(of, Space.ARENA)))


def _of(f: Fn, item: Item, node: ast.AST, form: str) -> Type:
    """The type of what lies in memory that is asked for."""
    of = item.obj if isinstance(item, Py) else None
    if not hasattr(of, "_ir_") or isinstance(of, ArenaPtrType):
        f.fail(
            node,
            f"{form} takes the type of what lies in the memory, and this is {describe(item)}",
            "a struct of yours, u64, u8…",
        )
    return decl.ir_type(of)  # type: ignore[arg-type]


METHODS: dict[str, Callable[[Fn, decl.MapDecl, list[Item], ast.Call], Item]] = {
    "alloc_pages": _alloc,
    "free_pages": _free,
    "new": _new,
}


def _pointer(f: Fn, item: Item, node: ast.AST) -> ir.Value:
    value = address(f, item)
    if value is None or not arena(value):
        f.fail(node, f"a pointer into the arena is needed here, and this is {describe(item)}")
    return value


def cast(f: Fn, to: ArenaPtrType, item: Item, value: ir.Value, node: ast.Call) -> Item:
    """`bp.cast(bp.ArenaPtr[Node], address)`."""
    if isinstance(value.type, Ptr) and value.type.space is not Space.ARENA:
        f.fail(node.args[1], f"{describe(item)} does not lead into the arena", "an address is a number here")
    expr.in_arena(f)
    kind = decl.ir_type(to)
    assert isinstance(kind, Ptr)
    return Pointer(f.b.recast(value, kind))


# -- programs and their arena


def name_in_programs(unit: Unit, programs: list[decl.ProgramDecl]) -> None:
    """The kernel ties an arena to the programs that name it: those that only follow pointers do it too."""
    assert unit.into_arena is not None
    used = [m for m in unit.module.maps if m.kind == _ARENA]
    declared: dict[int, tuple[str, Arena]] = {}
    for p in programs:
        for name, value in p.fn.__globals__.items():
            if isinstance(value, Arena):
                declared[id(value)] = (name, value)
    where = unit.into_arena
    if not used and len(declared) == 1:
        ((name, one),) = declared.values()
        used = [unit.map(one, name)]
    if len(used) != 1:
        found = "none" if not (used or declared) else " and ".join(m.name or n for n, m in declared.values())
        raise diag.error(
            where[0],
            where[1],
            f"pointers lead into the one arena of the module, and here there is {found}",
            "declare it in the module: `arena = bp.Arena(pages=16)`"
            if not (used or declared)
            else "put all in one",
        )
    for fn in unit.module.functions:
        if fn.section and _unnamed(fn):
            first = fn.blocks[0].ops[0]
            op = ir.Mention(ir.MapRef(used[0]))
            op.loc = first.loc
            fn.blocks[0].ops.insert(0, op)


def _unnamed(fn: ir.Function) -> bool:
    """Does a program work on the arena without naming it?"""
    todo, seen, uses = [fn], {fn}, False
    while todo:
        for block in reachable(todo.pop()):
            for op in block.ops:
                if isinstance(op, ir.Call) and op.fn not in seen:
                    seen.add(op.fn)
                    todo.append(op.fn)
                for value in operands(op):
                    if isinstance(value, ir.MapRef) and value.map.kind == _ARENA:
                        return False
                    if isinstance(value, ir.GlobalRef) and value.var.arena:
                        return False
                    if isinstance(value, ir.FunctionRef) and value.fn not in seen:
                        seen.add(value.fn)
                        todo.append(value.fn)
                    uses = uses or (isinstance(value.type, Ptr) and value.type.space is Space.ARENA)
    return uses
