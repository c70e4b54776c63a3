"""What LLVM has to be told of a module's functions before it optimises them one by one.

Its own inliner weighs each call while it simplifies everything again and again; which subprograms are worth
a call is as well said by their size here.
"""

from __future__ import annotations

from . import ir
from .walk import Body, successors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LARGE = 50  # operations of a subprogram that is better called, if there are several calls of it
_CALL = 5  # what a call counts for: its arguments have to be put in their registers
_FREE = (ir.Call, ir.Cast, ir.Recast, ir.Opaque, ir.ElemAddr, ir.Offset, ir.Jump, ir.Return)


class Plan:
    """Names of functions: which to put into their callers, and which have loops (of their own or theirs)."""

    __slots__ = ("inline", "loops")

    def __init__(self, inline: list[str], loops: list[str]) -> None:
        self.inline = inline
        self.loops = loops


def plan(bodies: Mapping[ir.Function, Body], unrolled: int) -> Plan:
    """The plan for functions; copies over `unrolled` bytes are loops."""
    calls: dict[ir.Function, int] = dict.fromkeys(bodies, 0)
    held: set[ir.Function] = set()  # their address is needed
    for body in bodies.values():
        for call in body.ops.get(ir.Call, ()):
            calls[call.fn] += 1
        held.update(value.fn for value in body.of if type(value) is ir.FunctionRef)
    sizes: dict[ir.Function, int] = {}
    inline: dict[ir.Function, bool] = {}
    loops: set[ir.Function] = set()

    def size(fn: ir.Function) -> int:
        """Operations of a function with those of what goes into it."""
        if fn in sizes:
            return sizes[fn]
        body = bodies[fn]
        sizes[fn] = total = _size(body)
        if _loops(body, unrolled):
            loops.add(fn)
        for call in body.ops.get(ir.Call, ()):
            inner = size(call.fn)
            total += inner if inline[call.fn] else _CALL
            if inline[call.fn] and call.fn in loops:
                loops.add(fn)
        sizes[fn] = total
        alone = calls[fn] == 1 and fn not in held
        inline[fn] = fn.inline and not fn.visible and calls[fn] > 0 and (alone or total <= LARGE)
        return total

    for fn in bodies:
        size(fn)
    return Plan([fn.name for fn in bodies if inline[fn]], [fn.name for fn in bodies if fn in loops])


def _size(body: Body) -> int:
    """Operations of a function's own, without reads and writes of variables."""
    total = 0
    for kind, ops in body.ops.items():
        if kind is ir.Load or kind is ir.Store:
            total += sum(type(op.ptr) is not ir.Local for op in ops)
        elif kind is ir.Helper or kind is ir.Kfunc:
            total += _CALL * len(ops)
        elif kind not in _FREE:
            total += len(ops)
    return total


def _loops(body: Body, unrolled: int) -> bool:
    if any(op.size > unrolled for kind in (ir.Copy, ir.Zero) for op in body.ops.get(kind, ())):
        return True
    seen: set[ir.Block] = set()
    for block in body.blocks:  # each after all that dominate it
        seen.add(block)
        if any(b in seen for b in successors(block)):
            return True
    return False
