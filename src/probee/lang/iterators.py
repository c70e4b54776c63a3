"""The kernel's open-coded iterators: loops over tasks, memory areas, cgroups, bits and others.

Each is three kernel functions: `bpf_iter_NAME_new`, `_next` and `_destroy`. The last runs on every way out of
the loop. Kernel linked lists are here too: plain loops with a bound.
"""

from __future__ import annotations

import ast

from . import builtins, ir
from .calls import kernel_name
from .convert import constant, describe, number, refuse_maybe
from .items import Item, Num, Pointer, Py, Ref
from .loops import Rounds
from .scope import Fn
from .types import I64, U32, U64, VOID, Array, Int, Ptr, Space, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def of_call(f: Fn, node: ast.expr) -> Rounds | None:
    """The rounds of a loop over `bp.tasks()` and the like; None if it is no such call."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, (ast.Name, ast.Attribute)):
        return None
    callee = f.expr(node.func)
    name = builtins.name_of(callee.obj) if isinstance(callee, Py) else None
    maker = _ITERATORS.get(name or "")
    return maker(f, node) if maker is not None else None


class _Kernel(Rounds):
    """An iterator named `name`, which came with Linux `since`, over what pointers to `to` lead to."""

    def __init__(self, f: Fn, node: ast.expr, name: str, since: str, args: list[ir.Value], to: str) -> None:
        self.f = f
        self.node = node
        self.prefix = f"bpf_iter_{name}_"
        self.since = since
        self.args = args
        types = f.unit.ktypes
        if types.kfunc(self.prefix + "new") is None:
            f.fail(
                node, f"this kernel can't loop over {_WHAT[name]} in a program", f"it came with Linux {since}"
            )
        state = types.struct(f"struct bpf_iter_{name}")
        self.state = f.b.local("iterator", Array(U64, (state.size + 7) // 8))
        of = Int(32, True) if not to else types.struct(to)
        self.type = Ptr(of, Space.TRUSTED)
        self.found = f.b.local("found", self.type)

    def _call(self, what: str, *args: ir.Value, type: Ptr | None = None) -> ir.Value:
        return self.f.kfunc(self.node, self.since, self.prefix + what, self.state, *args, type=type)

    def start(self) -> None:
        self._call("new", *self.args)

    def test(self, body: ir.Block, out: ir.Block) -> None:
        b = self.f.b
        found = self._call("next", type=self.type)
        b.store(self.found, found)
        b.branch(b.truth(found), body, out)

    def finish(self) -> None:
        self._call("destroy")

    def item(self) -> Item:
        b = self.f.b
        value = b.load(self.found)
        if isinstance(self.type.to, Int):
            return Num(b.widen(b.load(value)))
        return Pointer(value)


_WHAT = {
    "task": "tasks",
    "task_vma": "memory areas",
    "css": "cgroups",
    "css_task": "the tasks of a cgroup",
    "bits": "bits",
    "dmabuf": "DMA buffers",
    "kmem_cache": "slab caches",
}


def _arguments(f: Fn, node: ast.Call, form: str, low: int, high: int) -> list[Item]:
    from .calls import arguments

    return arguments(f, node, form, low, high)


def _pointer(f: Fn, item: Item, to: str, node: ast.AST) -> ir.Value:
    """A pointer to a kernel struct that the verifier trusts."""
    refuse_maybe(f, item, node)
    value = item.v if isinstance(item, Pointer) else item.ptr if isinstance(item, Ref) else None
    want = f.unit.ktypes.struct(to)
    if value is None or not isinstance(value.type, Ptr) or value.type.to is not want:
        f.fail(node, f"a pointer to {to} is needed here, and this is {describe(item)}")
    if value.type.space is not Space.TRUSTED:
        f.fail(
            node,
            f"the verifier does not trust this pointer to {to}",
            "use one that a hook gave, or `bp.current_task()`",
        )
    return value


def _tasks(f: Fn, node: ast.Call) -> Rounds:
    _arguments(f, node, "tasks()", 0, 0)
    return _Kernel(f, node, "task", "6.7", [_null(f), f.b.const(0)], "struct task_struct")


def _threads(f: Fn, node: ast.Call) -> Rounds:
    items = _arguments(f, node, "threads([task])", 0, 1)
    if not items:
        return _Kernel(f, node, "task", "6.7", [_null(f), f.b.const(1)], "struct task_struct")
    task = _pointer(f, items[0], "struct task_struct", node.args[0])
    return _Kernel(f, node, "task", "6.7", [task, f.b.const(2)], "struct task_struct")


def _null(f: Fn) -> ir.Value:
    return ir.Const(Ptr(VOID, Space.TRUSTED), 0)


def _vmas(f: Fn, node: ast.Call) -> Rounds:
    items = _arguments(f, node, "vmas(task[, address])", 1, 2)
    task = _pointer(f, items[0], "struct task_struct", node.args[0])
    at = number(f, items[1], node.args[1]) if len(items) > 1 else f.b.const(0, U64)
    return _Kernel(f, node, "task_vma", "6.7", [task, f.b.cast(at, U64)], "struct vm_area_struct")


_ORDERS = {"descendants": "DESCENDANTS_PRE", "post": "DESCENDANTS_POST", "ancestors": "ANCESTORS_UP"}


def _css(f: Fn, node: ast.Call) -> Rounds:
    items = _arguments(f, node, "css(start[, order])", 1, 2)
    start = _pointer(f, items[0], "struct cgroup_subsys_state", node.args[0])
    order = items[1].obj if len(items) > 1 and isinstance(items[1], Py) else "descendants"
    if len(items) > 1 and order not in _ORDERS:
        f.fail(
            node.args[1],
            f"{describe(items[1])} is no order to go through cgroups in",
            f"it is one of {', '.join(repr(o) for o in _ORDERS)}",
        )
    numbers = f.unit.ktypes.enum("bpf_cgroup_iter_order") or {}
    flag = numbers.get("BPF_CGROUP_ITER_" + _ORDERS[order], 0)
    return _Kernel(f, node, "css", "6.7", [start, f.b.const(flag)], "struct cgroup_subsys_state")


def _css_tasks(f: Fn, node: ast.Call) -> Rounds:
    items = _arguments(f, node, "css_tasks(css[, flags])", 1, 2)
    css = _pointer(f, items[0], "struct cgroup_subsys_state", node.args[0])
    flags = number(f, items[1], node.args[1]) if len(items) > 1 else f.b.const(0)
    return _Kernel(f, node, "css_task", "6.7", [css, flags], "struct task_struct")


def _dmabufs(f: Fn, node: ast.Call) -> Rounds:
    _arguments(f, node, "dmabufs()", 0, 0)
    return _Kernel(f, node, "dmabuf", "6.17", [], "struct dma_buf")


def _kmem_caches(f: Fn, node: ast.Call) -> Rounds:
    _arguments(f, node, "kmem_caches()", 0, 0)
    return _Kernel(f, node, "kmem_cache", "6.13", [], "struct kmem_cache")


def _bits(f: Fn, node: ast.Call) -> Rounds:
    (item,) = _arguments(f, node, "bits(number or array)", 1, 1)
    refuse_maybe(f, item, node.args[0])
    if isinstance(item, Ref) and isinstance(item.type, Array) and item.type.elem in (U64, I64):
        f.escape(item)
        place: ir.Value = item.ptr
        words = item.type.n
    else:
        place = f.b.local("bits", U64)
        f.b.store(place, f.b.cast(number(f, item, node.args[0]), U64))
        words = 1
        if f.unit.ktypes.kfunc("bpf_iter_bits_new") is None:
            return _Shifted(f, place)
    return _Kernel(f, node, "bits", "6.11", [place, f.b.const(words, U32)], "")


class _Shifted(Rounds):
    """The bits of one number where the kernel has no iterator for them: 64 rounds."""

    count = 64
    holds = False

    def __init__(self, f: Fn, place: ir.Value) -> None:
        self.f = f
        self.place = place

    def start(self) -> None:
        b = self.f.b
        self.counter = b.local("bit", U64)
        b.store(self.counter, b.const(0, U64))

    def test(self, body: ir.Block, out: ir.Block) -> None:
        b = self.f.b
        b.branch(b.compare("<", b.load(self.counter), b.const(64, U64)), body, out)

    def step(self) -> None:
        b = self.f.b
        b.store(self.counter, b.arith("+", b.load(self.counter), b.const(1, U64)))

    def item(self) -> Item:
        f, b = self.f, self.f.b
        now = b.load(self.counter)
        found = b.new_block("set")
        bit = b.arith("&", b.binary("lshr", b.load(self.place), now), b.const(1, U64))
        f.loops[-1].continues.append(f.live.copy())
        b.branch(b.truth(bit), found, f.loops[-1].next)
        b.at(found)
        return Num(b.cast(now, I64))


# -- linked lists


class _List(Rounds):
    """A kernel list: `head` is a `list_head`, `member` the one in each item; at most `count` items."""

    holds = False

    def __init__(self, f: Fn, of: Struct, head: ir.Value, member: str, count: int, node: ast.AST) -> None:
        self.f = f
        self.of = of
        self.count = count
        self.head = f.b.recast(head, U64)
        offset = f.b.fact("byte_offset", of, member)
        assert offset is not None
        self.offset = offset

    def start(self) -> None:
        b = self.f.b
        self.end = b.local("list", U64)
        b.store(self.end, self.head)
        self.now = b.local("link", U64)
        b.store(self.now, self._next(self.head))
        self.counter = b.local("counter", U64)
        b.store(self.counter, b.const(0, U64))

    def _next(self, at: ir.Value) -> ir.Value:
        b = self.f.b
        return b.read(
            b.recast(at, Ptr(U64, Space.KERNEL))
        )  # `next` is the first of a list_head's two pointers

    def test(self, body: ir.Block, out: ir.Block) -> None:
        b = self.f.b
        some, more = b.new_block("some"), b.new_block("more")
        b.branch(b.compare("<", b.load(self.counter), b.const(self.count, U64)), more, out)
        b.at(more)
        b.branch(b.truth(b.load(self.now)), some, out)
        b.at(some)
        b.branch(b.compare("!=", b.load(self.now), b.load(self.end)), body, out)

    def step(self) -> None:
        b = self.f.b
        b.store(self.now, self._next(b.load(self.now)))
        b.store(self.counter, b.arith("+", b.load(self.counter), b.const(1, U64)))

    def item(self) -> Item:
        b = self.f.b
        return Pointer(b.recast(b.binary("sub", b.load(self.now), self.offset), Ptr(self.of, Space.KERNEL)))


def _list_of(f: Fn, node: ast.Call) -> Rounds:
    form = 'list_of("struct name", head, "member", most)'
    kind, head, member, most = _arguments(f, node, form, 4, 4)
    obj = kind.obj if isinstance(kind, Py) else None
    name = obj if isinstance(obj, str) else kernel_name(obj)
    if not name:
        f.fail(node.args[0], "the first argument names the struct of the items", f"write bp.{form}")
    with f.placed(node.args[0]):
        of = f.unit.ktypes.struct(name)
    word = member.obj if isinstance(member, Py) else None
    if not isinstance(word, str):
        f.fail(node.args[2], "the third argument names the list_head in each item", f"write bp.{form}")
    from .expr import field_type

    link = f.unit.ktypes.struct("struct list_head")
    if field_type(f, of, word, node.args[2]) is not link:
        f.fail(node.args[2], f"{word} of {of!r} is no struct list_head")
    count = constant(most)
    if count is None or count <= 0:
        f.fail(
            node.args[3],
            "how many items there are at most is a constant",
            "write a number, for example 100",
        )
    refuse_maybe(f, head, node.args[1])
    value = head.v if isinstance(head, Pointer) else head.ptr if isinstance(head, Ref) else None
    if value is None or not isinstance(value.type, Ptr) or value.type.to is not link:
        f.fail(node.args[1], f"the head of a list is a struct list_head, and this is {describe(head)}")
    return _List(f, of, value, word, int(count), node)


_ITERATORS: dict[str, Callable[[Fn, ast.Call], Rounds]] = {
    "tasks": _tasks,
    "threads": _threads,
    "vmas": _vmas,
    "css": _css,
    "css_tasks": _css_tasks,
    "bits": _bits,
    "dmabufs": _dmabufs,
    "kmem_caches": _kmem_caches,
    "list_of": _list_of,
}
