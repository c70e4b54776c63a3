"""Ways through the IR: blocks in order, operands of ops, uses of values."""

from __future__ import annotations

from operator import attrgetter

from . import ir
from .ir import Block, Function, Local, Op, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def successors(block: Block) -> list[Block]:
    end = block.ops[-1] if block.ops else None
    if isinstance(end, ir.Jump):
        return [end.target]
    if isinstance(end, (ir.Branch, ir.MayGoto)):
        return [end.yes, end.no]
    if isinstance(end, ir.Switch):
        return [*(b for _, b in end.cases), end.default]
    return []


def reachable(fn: Function) -> list[Block]:
    """The blocks that control can reach, each after all that dominate it (reverse post-order)."""
    entry = fn.blocks[0]
    seen = {entry}
    order: list[Block] = []
    stack = [(entry, successors(entry))]
    while stack:
        block, todo = stack[-1]
        while todo:
            nxt = todo.pop()
            if nxt not in seen:
                seen.add(nxt)
                stack.append((nxt, successors(nxt)))
                break
        else:
            stack.pop()
            order.append(block)
    order.reverse()
    return order


# What an op works on, by its class; `args` is a list of values.
_OPERANDS: dict[type, tuple[str, ...]] = {
    ir.Load: ("ptr",),
    ir.Store: ("ptr", "value"),
    ir.Atomic: ("ptr", "value"),
    ir.CompareExchange: ("ptr", "expected", "value"),
    ir.LoadAcquire: ("ptr",),
    ir.StoreRelease: ("ptr", "value"),
    ir.Mention: ("map",),
    ir.Copy: ("dst", "src"),
    ir.Zero: ("dst",),
    ir.FieldAddr: ("base",),
    ir.ElemAddr: ("base", "index"),
    ir.Offset: ("base", "bytes"),
    ir.Recast: ("value",),
    ir.Cast: ("value",),
    ir.Swap: ("value",),
    ir.Switch: ("value",),
    ir.Binary: ("a", "b"),
    ir.Compare: ("a", "b"),
    ir.Select: ("cond", "a", "b"),
    ir.Helper: ("args",),
    ir.Call: ("args",),
    ir.Kfunc: ("args",),
    ir.FieldInfo: ("field",),
    ir.Branch: ("cond",),
    ir.Return: ("value",),
}


def _reader(kind: type) -> Callable[[Any], Sequence[Value]]:
    """What gives the operands of a class of ops."""
    names = _OPERANDS.get(kind)
    if names is None:
        base = next((c for c in kind.__mro__ if c in _OPERANDS), None)
        names = _OPERANDS[kind] = _OPERANDS[base] if base is not None else ()
    if not names:
        return lambda op: ()
    get: Callable[[Any], Any] = attrgetter(*names)
    if names == ("args",) or len(names) > 1:
        return get
    if kind is ir.Return:
        return lambda op: () if op.value is None else (op.value,)
    return lambda op: (get(op),)


_READERS: dict[type, Callable[[Any], Sequence[Value]]] = {}


def operands(op: Op) -> Sequence[Value]:
    """The values an op works on."""
    kind = type(op)
    read = _READERS.get(kind)
    if read is None:
        read = _READERS[kind] = _reader(kind)
    return read(op)


def replace(op: Op, by: dict[Value, Value]) -> None:
    """Let an op work on other values."""
    if isinstance(op, (ir.Helper, ir.Call, ir.Kfunc)):
        op.args = [by.get(a, a) for a in op.args]
        return
    for value in operands(op):
        if value in by:
            for name in _OPERANDS[type(op)]:
                if getattr(op, name) is value:
                    setattr(op, name, by[value])


def retarget(op: Op, by: dict[Block, Block]) -> None:
    """Let a terminator lead to other blocks."""
    if isinstance(op, ir.Jump):
        op.target = by.get(op.target, op.target)
    elif isinstance(op, (ir.Branch, ir.MayGoto)):
        op.yes, op.no = by.get(op.yes, op.yes), by.get(op.no, op.no)
    elif isinstance(op, ir.Switch):
        op.cases = [(n, by.get(b, b)) for n, b in op.cases]
        op.default = by.get(op.default, op.default)


_LATER = (
    "timer_set_callback",
    "bpf_wq_set_callback_impl",
    "bpf_wq_set_callback",
    "bpf_task_work_schedule_resume_impl",
    "bpf_task_work_schedule_signal_impl",
)


def _later(op: Op) -> bool:
    return isinstance(op, (ir.Helper, ir.Kfunc)) and callee(op) in _LATER


def callee(op: ir.Helper | ir.Call | ir.Kfunc) -> str:
    """The name of what an op calls."""
    if isinstance(op, ir.Call):
        return op.fn.name
    return op.name if isinstance(op, ir.Helper) else op.extern.name


class Body:
    """A function's code, gone through once: its reachable blocks, its ops by class, who uses what."""

    __slots__ = ("blocks", "of", "ops")

    def __init__(self, fn: Function) -> None:
        self.blocks = reachable(fn)
        self.of: dict[Value, list[tuple[Block, int, Op]]] = {}  # but for constants
        self.ops: dict[type, list[Any]] = {}
        of, ops = self.of, self.ops
        for block in self.blocks:
            for i, op in enumerate(block.ops):
                kind = type(op)
                if (same := ops.get(kind)) is None:
                    ops[kind] = [op]
                    values = operands(op)
                else:
                    same.append(op)
                    values = _READERS[kind](op)
                for value in values:
                    if type(value) is ir.Const:
                        continue
                    if (uses := of.get(value)) is None:
                        of[value] = [(block, i, op)]
                    else:
                        uses.append((block, i, op))

    def called(self) -> list[Function]:
        """The functions that it calls, or hands on as callbacks that run before it ends."""
        out: dict[Function, None] = {op.fn: None for op in self.ops.get(ir.Call, ())}
        for value, uses in self.of.items():
            if type(value) is ir.FunctionRef and not all(_later(op) for _, _, op in uses):
                out[value.fn] = None
        return list(out)

    def reach(self, value: Value) -> list[tuple[Block, int, Op, Value]] | None:
        """All uses of an address and of those made of it; None if it goes where it cannot be followed."""
        out: list[tuple[Block, int, Op, Value]] = []
        work = [value]
        while work:
            address = work.pop()
            for block, i, op in self.of.get(address, ()):
                out.append((block, i, op, address))
                if isinstance(op, (ir.FieldAddr, ir.ElemAddr, ir.Offset)):
                    if op.base is address:
                        work.append(op)
                elif isinstance(op, ir.Recast):
                    work.append(op)
                elif isinstance(op, ir.Select) or (
                    isinstance(op, (ir.Store, ir.Atomic, ir.CompareExchange, ir.StoreRelease))
                    and op.value is address
                ):
                    return None
        return out

    def promoted(self, local: Local) -> bool:
        """LLVM keeps the variable in a register: it is only loaded and stored as a whole."""
        return all(
            (isinstance(op, ir.Load) and op.type.size == local.of.size)
            or (isinstance(op, ir.Store) and op.ptr is local and op.value is not local)
            for _, _, op in self.of.get(local, ())
        )

    def lifetime(self, local: Local) -> tuple[Op, Op] | None:
        """The first and last op that use a variable whose life is within one block, else None.

        The first must write all of it, or it might carry a value from one round of a loop to the next.
        """
        uses = self.reach(local)
        if not uses or any(u[0] is not uses[0][0] for u in uses):
            return None
        uses.sort(key=lambda u: u[1])
        first, last = uses[0][2], uses[-1][2]
        return (first, last) if _fills(first, local) and not isinstance(last, ir.TERMINATORS) else None


_FILLING = ("probe_read_kernel", "probe_read_user")  # helpers that write all of their first argument


def _fills(op: Op, local: Local) -> bool:
    if isinstance(op, ir.Store):
        return op.ptr is local
    if isinstance(op, (ir.Copy, ir.Zero)):
        return op.dst is local and op.size == local.of.size
    if isinstance(op, ir.Helper) and op.name in _FILLING:
        size = op.args[1]
        return op.args[0] is local and isinstance(size, ir.Const) and size.value == local.of.size
    return False


def bodies_of(module: ir.Module) -> dict[Function, Body]:
    """The code of all functions of a module."""
    return {fn: Body(fn) for fn in module.functions}
