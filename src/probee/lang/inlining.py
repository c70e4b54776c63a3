"""What LLVM has to be told of a module's functions before it optimises them one by one.

Its own inliner weighs each call while it simplifies everything again and again; which subprograms are worth
a call is as well said by their size here.
"""

from __future__ import annotations

from . import ir
from .walk import successors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LARGE = 50  # operations of a subprogram that is better called, if there are several calls of it
_CALL = 5  # what a call counts for: its arguments have to be put in their registers
_FREE = (ir.Cast, ir.Recast, ir.ElemAddr, ir.Offset, ir.Jump, ir.Return)


class Plan:
    """Names of functions: which to put into their callers, and which have loops (of their own or theirs)."""

    __slots__ = ("inline", "loops")

    def __init__(self, inline: list[str], loops: list[str]) -> None:
        self.inline = inline
        self.loops = loops


def plan(bodies: Mapping[ir.Function, list[ir.Block]], unrolled: int) -> Plan:
    """The plan for functions with their reachable blocks; copies over `unrolled` bytes are loops."""
    calls: dict[ir.Function, int] = dict.fromkeys(bodies, 0)
    held: set[ir.Function] = set()  # their address is needed
    for blocks in bodies.values():
        for block in blocks:
            for op in block.ops:
                if isinstance(op, ir.Call):
                    calls[op.fn] = calls.get(op.fn, 0) + 1
                if isinstance(op, (ir.Call, ir.Helper, ir.Kfunc)):
                    held.update(v.fn for v in op.args if isinstance(v, ir.FunctionRef))
    sizes: dict[ir.Function, int] = {}
    inline: dict[ir.Function, bool] = {}
    loops: set[ir.Function] = set()

    def size(fn: ir.Function) -> int:
        """Operations of a function with those of what goes into it."""
        if fn in sizes:
            return sizes[fn]
        sizes[fn] = total = 0
        if _loops(bodies[fn], unrolled):
            loops.add(fn)
        for block in bodies[fn]:
            for op in block.ops:
                if isinstance(op, ir.Call) and op.fn in bodies:
                    inner = size(op.fn)
                    total += inner if inline[op.fn] else _CALL
                    if inline[op.fn] and op.fn in loops:
                        loops.add(fn)
                elif isinstance(op, (ir.Helper, ir.Kfunc)):
                    total += _CALL
                elif not isinstance(op, _FREE) and not _moves(op):
                    total += 1
        sizes[fn] = total
        alone = calls[fn] == 1 and fn not in held
        inline[fn] = fn.inline and not fn.visible and calls[fn] > 0 and (alone or total <= LARGE)
        return total

    for fn in bodies:
        size(fn)
    return Plan([fn.name for fn in bodies if inline[fn]], [fn.name for fn in bodies if fn in loops])


def _moves(op: ir.Op) -> bool:
    """Does it but read or write a variable?"""
    return isinstance(op, (ir.Load, ir.Store)) and isinstance(op.ptr, ir.Local)


def _loops(blocks: list[ir.Block], unrolled: int) -> bool:
    seen: set[ir.Block] = set()
    for block in blocks:  # each after all that dominate it
        seen.add(block)
        if any(b in seen for b in successors(block)):
            return True
        if any(isinstance(op, (ir.Copy, ir.Zero)) and op.size > unrolled for op in block.ops):
            return True
    return False
