"""Maps in programs that are no tables: queues, filters, streams, redirect maps, storages, maps of maps."""

from __future__ import annotations

import ast

from . import decl, mapops
from .convert import describe, memory, number, refuse_maybe, resolve
from .decl import arenas, queues, redirects, storages
from .items import Item, Num, Opt, Pointer, Py, Ref
from .types import BOOL, U64, InnerMap, Int, Ptr, Space, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from . import ir
    from .scope import Fn

    Handler = Callable[[Fn, decl.MapDecl, list[Item], ast.Call], Item]

CURRENT_CPU = 0xFFFF_FFFF  # BPF_F_CURRENT_CPU of linux/bpf.h


# -- queues, stacks, Bloom filters


def _push(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    place = memory(f, args[0], mapops.value_type(f, m), node, "value")
    flags = number(f, args[1], node) if len(args) > 1 else f.b.const(0)
    return Num(f.b.helper("map_push_elem", mapops.handle(f, m), place, flags))


def _take(helper: str, word: str) -> Handler:
    def handler(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
        b, value = f.b, mapops.value_type(f, m)
        slot = b.local(word, value)
        result = b.helper(helper, mapops.handle(f, m), slot)
        present = b.compare("==", result, b.const(0))
        item: Item = Num(b.read(slot)) if isinstance(value, Int) else Ref(slot)
        return Opt(present, item, f"{m.name}.{word}()")

    return handler


def holds(f: Fn, m: decl.MapDecl, value: Item, node: ast.AST) -> ir.Value:
    """`value in bloom`: False if it surely was never added."""
    place = memory(f, value, mapops.value_type(f, m), node, "value")
    return f.b.compare("==", f.b.helper("map_peek_elem", mapops.handle(f, m), place), f.b.const(0))


# -- streams


def _perf_output(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    from . import subprograms

    b, record = f.b, mapops.value_type(f, m)
    refuse_maybe(f, args[0], node)
    place = memory(f, args[0], record, node, "record")
    flags = number(f, args[1], node) if len(args) > 1 else b.const(CURRENT_CPU, U64)
    ctx = subprograms.context(f, node, "output")
    result = b.helper("perf_event_output", ctx, mapops.handle(f, m), flags, place, b.const(record.size))
    mapops.count_failure(f, m, result)
    return Num(result)


def _perf_read(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    index = number(f, args[0], node) if args else f.b.const(CURRENT_CPU, U64)
    return Num(f.b.helper("perf_event_read", mapops.handle(f, m), index, type=U64))


def _ring_query(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    what = number(f, args[0], node)
    return Num(f.b.helper("ringbuf_query", mapops.handle(f, m), what, type=U64))


def _ring_output(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    return mapops.output(f, m, args[0], args[1] if len(args) > 1 else None, node)


def _ring_reserve(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    f.fail(node, "reserve() stands in a `with`", f"write `with {m.name}.reserve() as e:`")


def _ring_dynptr(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    f.fail(node, "reserve_dynptr() stands in a `with`", f"write `with {m.name}.reserve_dynptr(size) as d:`")


def _ring_discard(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    for ring, slot in reversed(f.records):
        if ring is m:
            f.b.store(slot, f.b.const(1, BOOL))
            return Py(None)
    f.fail(
        node,
        f"there is no record of {m.name} here to discard",
        f"call it inside `with {m.name}.reserve() as e:`; the record is thrown away when the body ends",
    )


# -- where packets and sockets go


def _redirect(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    flags = number(f, args[1], node) if len(args) > 1 else f.b.const(0)
    return Num(f.b.helper("redirect_map", mapops.handle(f, m), number(f, args[0], node), flags))


def _sock_redirect(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    from . import subprograms

    ctx = subprograms.context(f, node, "redirect")
    family = "msg" if f.program is not None and "msg" in f.program.kind else "sk"
    flags = number(f, args[1], node) if len(args) > 1 else f.b.const(0)
    if isinstance(m, redirects.SockHash):
        key = mapops.key_place(f, m, args[0], node)
        return Num(f.b.helper(f"{family}_redirect_hash", ctx, mapops.handle(f, m), key, flags))
    index = number(f, args[0], node)
    return Num(f.b.helper(f"{family}_redirect_map", ctx, mapops.handle(f, m), index, flags))


def _sock_update(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    from . import subprograms

    ctx = subprograms.context(f, node, "update")
    helper = "sock_hash_update" if isinstance(m, redirects.SockHash) else "sock_map_update"
    flags = number(f, args[1], node) if len(args) > 1 else f.b.const(0)
    key = mapops.key_place(f, m, args[0], node)
    return Num(f.b.helper(helper, ctx, mapops.handle(f, m), key, flags))


def _sock_get(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    f.fail(
        node,
        f"a socket of {m.name} has to be released",
        f"write `with {m.name}.get({ast.unparse(node.args[0])}) as sk:`, which releases it",
    )


def _select(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    from . import subprograms

    ctx = subprograms.context(f, node, "select")
    flags = number(f, args[1], node) if len(args) > 1 else f.b.const(0)
    key = mapops.key_place(f, m, args[0], node)
    return Num(f.b.helper("sk_select_reuseport", ctx, mapops.handle(f, m), key, flags))


def _has_current(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    index = number(f, args[0], node)
    result = f.b.helper("current_task_under_cgroup", mapops.handle(f, m), index)
    return Num(f.b.compare("==", result, f.b.const(1)))


def _has_packet(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    from . import subprograms

    ctx = subprograms.context(f, node, "has")
    result = f.b.helper("skb_under_cgroup", ctx, mapops.handle(f, m), number(f, args[0], node))
    return Num(f.b.compare("==", result, f.b.const(1)))


# -- storages


def owner(f: Fn, m: storages.Storage, key: Item, node: ast.AST) -> ir.Value:
    """The kernel object that a value belongs to."""
    key = resolve(f, key, node)
    refuse_maybe(f, key, node)
    value = key.v if isinstance(key, Pointer) else key.ptr if isinstance(key, Ref) else None
    what = f"the key of {m.name} is a pointer to a {m.owner}, and this is {describe(key)}"
    advice = {
        "task_struct": "write bp.current_task(), or take a typed argument of the hook",
        "sock": "take the socket of the hook's context, or a typed argument",
        "inode": "take a typed argument of the hook, or what it leads to: file.f_inode",
        "cgroup": "take a typed argument of the hook, or task.cgroups.dfl_cgrp",
    }.get(m.owner, "")
    if isinstance(m, storages.CgroupStorage):
        f.fail(node, f"{m.name} has the values of the cgroup it runs for only", f"write {m.name}.local()")
    if value is None or not isinstance(value.type, Ptr):
        f.fail(node, what, advice)
    to = value.type.to
    sockets = m.owner == "sock" and isinstance(to, Struct) and "sock" in to.name
    if not (isinstance(to, Struct) and (to.name == m.owner or sockets)):
        f.fail(node, what, advice)
    if value.type.space in (Space.KERNEL, Space.USER):
        f.fail(
            node,
            f"{m.name} needs a {m.owner} that the kernel vouches for, and this pointer was read as a number",
            advice,
        )
    return value


def storage_get(f: Fn, m: storages.Storage, place: ir.Value, *, create: bool) -> ir.Value:
    """The address of the value that belongs to the object, or NULL."""
    b = f.b
    word = {"task_struct": "task", "sock": "sk", "inode": "inode", "cgroup": "cgrp"}[m.owner]
    to = Ptr(mapops.value_type(f, m), Space.MAP, True)
    return b.helper(
        f"{word}_storage_get", mapops.handle(f, m), place, b.const(0), b.const(int(create)), type=to
    )


def storage_delete(f: Fn, m: storages.Storage, place: ir.Value) -> ir.Value:
    word = {"task_struct": "task", "sock": "sk", "inode": "inode", "cgroup": "cgrp"}[m.owner]
    return f.b.helper(f"{word}_storage_delete", mapops.handle(f, m), place)


def _local(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
    value = mapops.value_type(f, m)
    to = Ptr(value, Space.MAP)
    return Ref(
        f.b.helper("get_local_storage", mapops.handle(f, m), f.b.const(0), type=to), shared=not m.per_cpu
    )


# -- arenas


def _arena(name: str) -> Handler:
    def handler(f: Fn, m: decl.MapDecl, args: list[Item], node: ast.Call) -> Item:
        from .services import arenas

        return arenas.METHODS[name](f, m, args, node)

    return handler


# -- maps of maps


def as_map(f: Fn, item: Item, node: ast.AST) -> Item:
    """A map found in another one, as a map of its own."""
    if not isinstance(item, Ref) or not isinstance(item.type, InnerMap):
        return item
    refuse_maybe(f, item, node)
    of = item.type.map
    new = object.__new__(type(of))
    for cls in type(of).__mro__:
        for slot in getattr(cls, "__slots__", ()):
            if slot != "__weakref__":
                setattr(new, slot, getattr(of, slot))
    new.handle = item.ptr
    new.name = of.name or "the map inside"
    return Py(new)


# -- the methods

_KINDS: dict[type[decl.MapDecl], dict[str, tuple[str, int, int, Handler]]] = {
    queues.Queue: {
        "push": ("push(value[, flags])", 1, 2, _push),
        "pop": ("pop()", 0, 0, _take("map_pop_elem", "pop")),
        "peek": ("peek()", 0, 0, _take("map_peek_elem", "peek")),
    },
    queues.BloomFilter: {"add": ("add(value[, flags])", 1, 2, _push)},
    queues.PerfEventArray: {
        "output": ("output(record[, flags])", 1, 2, _perf_output),
        "read": ("read([index])", 0, 1, _perf_read),
    },
    decl.RingBuf: {
        "reserve": ("reserve()", 0, 0, _ring_reserve),
        "reserve_dynptr": ("reserve_dynptr(size)", 1, 1, _ring_dynptr),
        "output": ("output(record[, flags])", 1, 2, _ring_output),
        "discard": ("discard()", 0, 0, _ring_discard),
        "query": ("query(what)", 1, 1, _ring_query),
    },
    redirects.DevMap: {"redirect": ("redirect(key[, flags])", 1, 2, _redirect)},
    redirects.SockMap: {
        "get": ("get(key)", 1, 1, _sock_get),
        "redirect": ("redirect(key[, flags])", 1, 2, _sock_redirect),
        "update": ("update(key[, flags])", 1, 2, _sock_update),
    },
    redirects.ReuseportArray: {"select": ("select(key[, flags])", 1, 2, _select)},
    redirects.CgroupArray: {
        "has_current": ("has_current(index)", 1, 1, _has_current),
        "has": ("has(index)", 1, 1, _has_packet),
    },
    storages.CgroupStorage: {"local": ("local()", 0, 0, _local)},
    arenas.Arena: {
        "alloc_pages": ("alloc_pages(count, type[, address])", 2, 3, _arena("alloc_pages")),
        "new": ("new(type)", 1, 1, _arena("new")),
        "free_pages": ("free_pages(pointer, count)", 2, 2, _arena("free_pages")),
    },
    queues.UserRingBuf: {},
    decl.StackTrace: {},
    decl.ProgArray: {},
}
_KINDS[queues.Stack] = _KINDS[queues.Queue]
for _kind in (redirects.DevMapHash, redirects.CpuMap, redirects.XskMap):
    _KINDS[_kind] = _KINDS[redirects.DevMap]
_KINDS[redirects.SockHash] = _KINDS[redirects.SockMap]

NAMES = frozenset(name for methods in _KINDS.values() for name in methods)

_WHAT = {
    queues.Queue: "a queue",
    queues.Stack: "a stack",
    queues.BloomFilter: "a Bloom filter",
    queues.PerfEventArray: "a perf event array",
    queues.UserRingBuf: "a ring buffer that user space fills",
    decl.RingBuf: "a ring buffer",
    decl.StackTrace: "a stack trace map",
    decl.ProgArray: "a program array",
    arenas.Arena: "an arena",
}
_INSTEAD = {
    decl.RingBuf: "write `with {0}.reserve() as e:` or {0}.output(record)",
    decl.StackTrace: "bp.kstack({0}) and bp.ustack({0}) fill it; read it from Python",
    decl.ProgArray: "bp.tail_call({0}, index) jumps to its programs",
}


def methods(m: decl.MapDecl) -> dict[str, tuple[str, int, int, Handler]] | None:
    """The methods that a map has instead of those of tables; None for tables."""
    for cls in type(m).__mro__:
        if cls in _KINDS:
            return _KINDS[cls]
    return None


def no_entries(m: decl.MapDecl) -> tuple[str, str]:
    """Why a map has no entries to read or write, and what to do instead."""
    cls = next(c for c in type(m).__mro__ if c in _KINDS)
    what = _WHAT.get(cls, f"a {cls.__name__}")
    forms = [form for form, _, _, _ in _KINDS[cls].values()]
    instead = _INSTEAD.get(cls, "it has " + ", ".join(forms) if forms else "").format(m.name)
    return f"{m.name} is {what}, which has no entries to read or write here", instead


def call(f: Fn, m: decl.MapDecl, name: str, node: ast.Call) -> Item:
    """A method of such a map."""
    from .calls import arguments

    form, low, high, handler = (methods(m) or {})[name]
    return handler(f, m, arguments(f, node, f"{m.name}.{form}", low, high), node)


def found_inside(f: Fn, m: decl.MapDecl, found: ir.Value, name: str) -> Item:
    """What a map of maps gives: a map or None."""
    assert m.inner is not None
    return Ref(f.b.recast(found, Ptr(InnerMap(m.inner), Space.MAP, True)), maybe=name)
