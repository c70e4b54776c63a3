"""Atomic operations that tell what was there before: `bp.atomic.add(total.value, 1)`."""

from __future__ import annotations

import ast

from .. import assign, ir, mapops
from ..convert import arena, constant, describe, integer, pointer
from ..items import Item, Num, Pointer, Py
from ..scope import Fn
from ..types import BOOL, Int, Kptr, Ptr, Space, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MEMORY = (Space.MAP, Space.GLOBAL, Space.ARENA, Space.STACK, Space.RECORD)
_RESULTS = "check_mtu"  # a helper of the version that brought them, 5.12
_ORDERED = "bpf_res_spin_lock"  # a kernel function of the version that brought them, 6.15


def _place(f: Fn, node: ast.expr, form: str) -> assign.MemoryPlace | assign.MapPlace:
    """What stands in the call's first argument: a place that can be assigned to."""
    if not isinstance(node, (ast.Attribute, ast.Subscript)):
        advice = "a local is this program's alone: write `old = n`, and change n"
        f.fail(node, f"bp.{form} works on memory that others see", advice)
    found = assign.place(f, node)
    assert isinstance(found, (assign.MemoryPlace, assign.MapPlace))
    return found


def _type(f: Fn, where: assign.MemoryPlace | assign.MapPlace) -> Type:
    return where.type if isinstance(where, assign.MapPlace) else where.ref.type


def _check(f: Fn, where: ir.Value, node: ast.AST, form: str, *, narrow: bool, pointers: bool) -> None:
    """Refuse what atomic instructions don't work on."""
    assert isinstance(where.type, Ptr)
    to = where.type.to
    if where.type.space not in _MEMORY:
        f.fail(node, f"bp.{form} can't work on {where.type.space.value}", "a Global, a map's value, an arena")
    fits = isinstance(to, Int) and to != BOOL and (narrow or to.bits >= 32)
    if not fits and not (pointers and isinstance(to, Ptr) and not isinstance(to, Kptr)):
        kinds = "numbers of 8 to 64 bits" if narrow else "numbers of 32 and 64 bits"
        f.fail(
            node,
            f"bp.{form} works on {kinds}{', and pointers' if pointers else ''}, and this is {to!r}",
            "make it a u32 or u64",
        )
    if mapops.shares_word(where):
        f.fail(node, f"bp.{form} works on whole numbers in the host's order, and this is a part of one")
    if not mapops.aligned(where, to.size):
        f.fail(node, f"bp.{form} works on aligned numbers, and a packed struct may place this one anywhere")


def _at(
    f: Fn,
    where: assign.MemoryPlace | assign.MapPlace,
    node: ast.AST,
    act: Callable[[ir.Value], ir.Value | None],
) -> Item:
    """Do it at the place; 0 is the result where there is no such entry or element."""
    if isinstance(where, assign.MemoryPlace) and where.inside is None:
        f.live.use(where.ref.fresh, where.ref.offset, where.ref.type.size)
        return _item(act(where.ref.ptr))
    b = f.b
    kind = _type(f, where)
    assert isinstance(kind, (Int, Ptr))
    wide = kind if isinstance(kind, Ptr) else Int(64, kind.signed)
    slot = b.local("before", wide)
    b.store(slot, ir.Const(wide, 0))
    gives = False

    def keep(place: ir.Value) -> None:
        nonlocal gives
        value = act(place)
        if value is not None:
            gives = True
            b.store(slot, value)

    if isinstance(where, assign.MapPlace):
        mapops.at_entry(f, where.map, where.key, where.path, where.type, node, keep)
    else:
        f.live.use(where.ref.fresh, where.ref.offset, where.ref.type.size)
        where.guarded(f, lambda: keep(where.ref.ptr))
    return _item(b.load(slot) if gives else None)


def _item(value: ir.Value | None) -> Item:
    if value is None:
        return Py(None)
    return Pointer(value) if isinstance(value.type, Ptr) else Num(value)


def _values(f: Fn, node: ast.Call, form: str, count: int, kind: Type) -> list[ir.Value]:
    """The arguments behind the place, as what lies there."""
    from ..calls import arguments

    rest = ast.Call(func=node.func, args=node.args[1:], keywords=node.keywords)
    ast.copy_location(rest, node)
    items = arguments(f, rest, form, count, count)
    out = []
    for item, where in zip(items, node.args[1:], strict=True):
        if isinstance(kind, Ptr):
            out.append(pointer(f, item, kind, where))
        else:
            assert isinstance(kind, Int)
            known = constant(item)
            if known is not None and not -(1 << (kind.bits - 1)) <= known < 1 << kind.bits:
                f.fail(where, f"{describe(item)} does not fit into {kind!r}")
            out.append(integer(f, item, kind, where))
    return out


def _first(f: Fn, node: ast.Call, form: str, count: int) -> assign.MemoryPlace | assign.MapPlace:
    if len(node.args) != count or node.keywords:
        f.fail(node, f"bp.{form} takes {count} argument{'' if count == 1 else 's'}", f"write bp.{form}")
    return _place(f, node.args[0], form)


def _needs_results(f: Fn, node: ast.AST, form: str) -> None:
    if not f.unit.ktypes.has_helper(_RESULTS):
        f.fail(
            node,
            f"this kernel has no atomic operations with a result, as bp.{form} needs",
            "they came with Linux 5.12; `+=` of a shared number is atomic in all",
        )


def _change(op: str, form: str) -> Callable[[Fn, ast.Call], Item]:
    def handler(f: Fn, node: ast.Call) -> Item:
        where = _first(f, node, form, 2)
        kind = _type(f, where)
        _needs_results(f, node, form)
        exchange = op == "xchg"
        if not isinstance(kind, Int) and not (exchange and isinstance(kind, Ptr)):
            _check(f, _typed(kind, where), node.args[0], form, narrow=False, pointers=exchange)
        (value,) = _values(f, node, form, 1, kind)
        if op == "sub":
            value = f.b.neg(value)

        def act(place: ir.Value) -> ir.Value:
            _check(f, place, node.args[0], form, narrow=False, pointers=exchange)
            if op in ("and", "or", "xor") and arena(place) and f.unit.ktypes.arch == "x86_64":
                f.fail(
                    node,
                    f"bp.{form} can't work in an arena on x86-64, where it would be a loop",
                    "write `|=`, `&=`, `^=` if nobody needs the result; else loop with compare_exchange",
                )
            return f.b.atomic("add" if op == "sub" else op, place, value, fetch=True)

        return _at(f, where, node, act)

    return handler


def _typed(kind: Type, where: assign.MemoryPlace | assign.MapPlace) -> ir.Value:
    """Some place of the type, to say what is wrong with it."""
    return ir.Const(Ptr(kind, Space.MAP), 0) if isinstance(where, assign.MapPlace) else where.ref.ptr


def _compare_exchange(f: Fn, node: ast.Call) -> Item:
    form = "atomic.compare_exchange(place, expected, value)"
    where = _first(f, node, form, 3)
    kind = _type(f, where)
    _needs_results(f, node, form)
    if not isinstance(kind, (Int, Ptr)):
        _check(f, _typed(kind, where), node.args[0], form, narrow=False, pointers=True)
    expected, value = _values(f, node, form, 2, kind)

    def act(place: ir.Value) -> ir.Value:
        _check(f, place, node.args[0], form, narrow=False, pointers=True)
        return f.b.compare_exchange(place, expected, value)

    return _at(f, where, node, act)


def _wide(place: ir.Value) -> bool:
    assert isinstance(place.type, Ptr)
    return place.type.to.size >= 4


def _ordered(f: Fn, place: ir.Value, node: ast.AST, form: str) -> bool:
    """Has the kernel the instruction? Else a full barrier does, which is more than is asked for."""
    if f.unit.ktypes.kfunc(_ORDERED) is not None:
        return True
    if not _wide(place):
        f.fail(node, f"this kernel has bp.{form} for 32 and 64 bits only", "for less it came with Linux 6.15")
    _needs_results(f, node, form)
    return False


def _load(f: Fn, node: ast.Call) -> Item:
    form = "atomic.load(place)"
    where = _first(f, node, form, 1)

    def act(place: ir.Value) -> ir.Value:
        _check(f, place, node.args[0], form, narrow=True, pointers=True)
        if _ordered(f, place, node, form):
            return f.b.load_acquire(place)
        return f.b.compare_exchange(place, f.b.const(0), f.b.const(0))  # leaves what is there

    return _at(f, where, node, act)


def _store(f: Fn, node: ast.Call) -> Item:
    form = "atomic.store(place, value)"
    where = _first(f, node, form, 2)
    kind = _type(f, where)
    if not isinstance(kind, (Int, Ptr)):
        _check(f, _typed(kind, where), node.args[0], form, narrow=True, pointers=True)
    (value,) = _values(f, node, form, 1, kind)

    def act(place: ir.Value) -> None:
        _check(f, place, node.args[0], form, narrow=True, pointers=True)
        if _ordered(f, place, node, form):
            f.b.store_release(place, value)
        else:
            f.b.atomic("xchg", place, value, fetch=True)

    return _at(f, where, node, act)


HANDLERS: dict[str, Callable[[Fn, ast.Call], Item]] = {
    **{
        f"atomic.{word}": _change(op, f"atomic.{word}(place, value)")
        for word, op in {
            "add": "add",
            "sub": "sub",
            "or_": "or",
            "and_": "and",
            "xor": "xor",
            "exchange": "xchg",
        }.items()
    },
    "atomic.compare_exchange": _compare_exchange,
    "atomic.load": _load,
    "atomic.store": _store,
}


def call(f: Fn, node: ast.Call, name: str) -> Item:
    """A call of `bp.atomic.…`."""
    return HANDLERS[name](f, node)
