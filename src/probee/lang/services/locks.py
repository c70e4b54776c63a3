"""Spin locks: `with value.lock:`."""

from __future__ import annotations

import ast
from contextlib import contextmanager

from .. import ir
from ..items import Ref
from ..scope import Fn
from ..types import VOID, Special
from ..with_ import Held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LOCKS = ("bpf_spin_lock", "bpf_res_spin_lock")
_ALLOWED = (
    "bpf_list_",
    "bpf_rbtree_",
    "bpf_refcount_acquire",
    "bpf_iter_num_",
    "bpf_res_spin",
)


def hold(f: Fn, lock: Ref, node: ast.expr) -> Held:
    """Take a lock; its body may call nothing but what guards lists and trees."""
    assert isinstance(lock.type, Special)
    if f.locked and lock.type.name == "bpf_spin_lock":
        f.fail(node, f"{f.locked} is held here, and a program holds one lock at a time", "leave that first")
    before = f.locked
    f.locked = ast.unparse(node)
    if lock.type.name == "bpf_res_spin_lock":
        return _resilient(f, lock, node, before)
    f.b.helper("spin_lock", lock.ptr, type=VOID)
    marks = {block: len(block.ops) for block in f.out.blocks}

    def ends(g: Fn) -> None:
        shown, g.locked = g.locked, before
        for block in g.out.blocks:
            for op in block.ops[marks.get(block, 0) :]:
                _check(g, op, shown)

    return Held(lambda: _unlock(f, lock.ptr), ends=ends)


def _unlock(f: Fn, lock: ir.Value) -> None:
    f.b.helper("spin_unlock", lock, type=VOID)


def _check(f: Fn, op: ir.Op, lock: str) -> None:
    name = ""
    if isinstance(op, ir.Helper) and op.name not in ("spin_lock", "spin_unlock"):
        name = f"bpf_{op.name}"
    elif isinstance(op, ir.Kfunc) and not op.extern.name.startswith(_ALLOWED):
        name = op.extern.name
    if name:
        f.fail(
            op.loc,
            f"{name} can't be called while {lock} is held: the kernel allows no calls there",
            "call it before or behind the `with`, and keep what it gives in a local",
        )


def _resilient(f: Fn, lock: Ref, node: ast.AST, before: str) -> Held:
    b = f.b
    failed = f.kfunc(node, "6.15", "bpf_res_spin_lock", lock.ptr)
    body, busy = b.new_block("locked"), b.new_block("busy")
    without = f.live.copy()
    b.branch(b.compare("==", failed, b.const(0)), body, busy)
    b.at(body)

    def ends(g: Fn) -> None:
        g.locked = before

    return Held(
        lambda: void(f.kfunc(node, "6.15", "bpf_res_spin_unlock", lock.ptr)),
        failed=(busy, without),
        ends=ends,
    )


def void(value: object) -> None:
    """For lambdas whose value nobody wants."""


def beside(f: Fn, head: Ref, node: ast.AST) -> ir.Value:
    """The lock in the struct that a list or tree is in."""
    field = head.ptr
    while isinstance(field, ir.ElemAddr):
        field = field.base
    if isinstance(field, ir.FieldAddr):
        for i, member in enumerate(field.struct.members):
            if isinstance(member.type, Special) and member.type.name == "bpf_spin_lock":
                return f.b.emit(ir.FieldAddr(field.base, i))
    f.fail(
        node,
        "a list or tree is guarded by a lock in the same struct, and there is none",
        "add a field `lock: bp.SpinLock` beside it",
    )


@contextmanager
def guarded(f: Fn, head: Ref, node: ast.AST) -> Iterator[None]:
    """Hold the lock of a list or tree for one operation, unless a `with` holds it already."""
    if f.locked:
        yield
        return
    lock = beside(f, head, node)
    f.b.helper("spin_lock", lock, type=VOID)
    yield
    _unlock(f, lock)
