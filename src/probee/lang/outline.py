"""Loops whose rounds the helper bpf_loop counts (Linux 5.17): a round becomes a function that it calls.

The front end compiles such a loop as a plain one, and marks it. Here the blocks of a round move to a
function of their own. What they share with those around goes through one struct on the stack of the function
that has the loop: variables that are numbers or pointers live there, of larger ones it holds the address, and
of values a copy. A round that leaves the loop writes down where to go on, and ends it.

A loop that can't be taken apart so stays a plain one: a round may not keep an address of its own stack for
later, nor jump to another program.
"""

from __future__ import annotations

from . import ir
from .types import I64, U64, VOID, Int, Ptr, Space, Struct, Type
from .walk import operands, reachable, replace, retarget, successors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LOOP = 181  # bpf_loop (enum bpf_func_id)


def outline(module: ir.Module, unique: Callable[[str, str], str]) -> None:
    """Take the marked loops of a module's functions apart; inner ones first."""
    for fn in list(module.functions):
        for region in reversed(fn.regions):
            made = _Outline(fn, region)
            if made.possible():
                module.functions.append(made.run(unique(f"{fn.name}_round", "__")))
        fn.regions.clear()


class _Outline:
    def __init__(self, fn: ir.Function, region: ir.Region) -> None:
        self.fn = fn
        self.region = region
        self.blocks = reachable(fn)
        self.inside = self._inside()
        self.within = set(self.inside)
        ops = [op for block in self.inside for op in block.ops]
        self.made: set[ir.Value] = set(ops)
        used = {v: None for op in ops for v in operands(op)}
        around = {
            v
            for block in self.blocks
            if block not in self.within and block is not region.next
            for op in block.ops
            for v in operands(op)
        }
        self.own = [v for v in used if isinstance(v, ir.Local) and v not in around and v is not region.index]
        self.shared = [v for v in used if isinstance(v, ir.Local) and v in around and v is not region.index]
        self.given = [v for v in used if isinstance(v, (ir.Op, ir.Param)) and v not in self.made]
        self.results = [v for v in ops if v in around]
        self.size = 0
        self.loc = region.head.ops[0].loc

    def _inside(self) -> list[ir.Block]:
        """The blocks of a round, in order."""
        stop = {self.region.next, self.region.head, *self.region.exits}
        found = {self.region.body}
        work = [self.region.body]
        while work:
            for block in successors(work.pop()):
                if block not in found and block not in stop:
                    found.add(block)
                    work.append(block)
        return [block for block in self.blocks if block in found]

    def possible(self) -> bool:
        """Can the round be a function of its own?"""
        if self.region.next not in self.blocks or any(_stack(v) for v in self.results):
            return False
        mine = set(self.own)
        for block in self.inside:
            for op in block.ops:
                if isinstance(op, ir.Return) or (isinstance(op, ir.Helper) and op.name == "tail_call"):
                    return False
                if isinstance(op, ir.Store) and _stack(op.value) and _variable(op.ptr) not in mine:
                    return False
        return True

    def place(self) -> int:
        """Room for one number or pointer in what is shared."""
        self.size += 8
        return self.size - 8

    def at(self, base: ir.Value, offset: int, type: Type) -> ir.Op:
        return self.op(ir.Offset(base, ir.Const(I64, offset), Ptr(type, Space.STACK)))

    def op(self, op: ir.Op) -> ir.Op:
        op.loc = self.loc
        return op

    def run(self, name: str) -> ir.Function:
        """Move the round; gives its function."""
        fn, region = self.fn, self.region
        struct = Struct("captured", 0, ())
        frame = ir.Local("what the rounds share", struct)
        base = ir.Param(1, "shared", Ptr(VOID, Space.STACK))
        out = ir.Function(
            name, [ir.Param(0, "index", U64), base], I64, file=fn.file, line=self.loc.line, inline=False
        )
        before: list[ir.Op] = []  # the call's
        entry = ir.Block("entry")
        outer: dict[ir.Value, ir.Value] = {}
        inner: dict[ir.Value, ir.Value] = {}
        for local in self.shared:
            if isinstance(local.of, (Int, Ptr)):
                offset = self.place()
                here, there = self.at(frame, offset, local.of), self.at(base, offset, local.of)
                fn.blocks[0].ops.insert(0, here)
                entry.ops.append(there)
                outer[local], inner[local] = here, there
        for value in (*(v for v in self.shared if v not in inner), *self.given):
            offset = self.place()
            slot = self.at(frame, offset, value.type)
            before += [slot, self.op(ir.Store(slot, value))]
            place = self.at(base, offset, value.type)
            inner[value] = self.op(ir.Load(place))
            entry.ops += [place, inner[value]]  # type: ignore[list-item]
        index = ir.Local("index", U64)
        inner[region.index] = index
        low = self.op(ir.Cast(out.params[0], Int(32, False)))
        wide = self.op(ir.Cast(low, U64))
        ends, ways = self._ends(base)
        entry.ops += [low, wide, self.op(ir.Store(index, wide))]
        last = self._begin(entry, base)
        for block in self.inside:
            for op in block.ops:
                replace(op, inner)
                retarget(op, ends)
        self._hand_back(frame, base)
        for block in self.blocks:
            if block not in self.within and block is not region.head:
                for op in block.ops:
                    replace(op, outer)
        for op in before:
            replace(op, outer)
        self._call(out, frame, before, ways, outer)
        struct.size = self.size
        self._variables(out, outer, inner)
        out.locals = [index, *self.own]
        out.blocks = [entry, *self.inside, *ends.values(), *last]
        fn.locals = [v for v in fn.locals if v not in set(self.own)] + [frame]
        gone = {*self.within, region.next}
        fn.blocks = [block for block in fn.blocks if block not in gone]
        return out

    def _variables(
        self, out: ir.Function, outer: dict[ir.Value, ir.Value], inner: dict[ir.Value, ir.Value]
    ) -> None:
        """Debuggers find the variables where they are now."""
        own, kept = set(self.own), []
        for v in self.fn.variables:
            if v.place in own:
                out.variables.append(v)
                continue
            if v.place in outer:
                out.variables.append(ir.Variable(v.name, inner[v.place], v.line))
                v.place = outer[v.place]
            kept.append(v)
        self.fn.variables = kept

    def _ends(self, base: ir.Value) -> tuple[dict[ir.Block, ir.Block], list[tuple[int, ir.Block]]]:
        """How a round goes where it did: the blocks that end it instead, and the numbers of the ways."""
        targets = {t: None for block in self.inside for t in successors(block) if t not in self.within}
        ends: dict[ir.Block, ir.Block] = {}
        ways: list[tuple[int, ir.Block]] = []
        self.way = self.place() if any(t is not self.region.next for t in targets) else -1
        for target in targets:
            end = ends[target] = ir.Block("round's end")
            if target is not self.region.next:
                ways.append((len(ways) + 1, target))
                slot = self.at(base, self.way, U64)
                end.ops += [slot, self.op(ir.Store(slot, ir.Const(U64, len(ways))))]
            end.ops.append(self.op(ir.Return(ir.Const(I64, int(target is not self.region.next)))))
        return ends, ways

    def _begin(self, entry: ir.Block, base: ir.Value) -> list[ir.Block]:
        """How a round goes to its first block. Gives other blocks that it may end in.

        The verifier does not take it that a round which ends the loop is the last one: it would follow what
        the round counts on and on.
        """
        if self.way < 0:
            entry.ops.append(self.op(ir.Jump(self.region.body)))
            return []
        over = ir.Block("over")
        over.ops.append(self.op(ir.Return(ir.Const(I64, 1))))
        slot = self.at(base, self.way, U64)
        left = self.op(ir.Load(slot))
        gone = self.op(ir.Compare("ne", left, ir.Const(U64, 0)))
        entry.ops += [slot, left, gone, self.op(ir.Branch(gone, over, self.region.body))]
        return [over]

    def _hand_back(self, frame: ir.Value, base: ir.Value) -> None:
        """Values of a round that are used behind the loop."""
        offsets = {value: self.place() for value in self.results}
        if not offsets:
            return
        for block in self.inside:
            ops: list[ir.Op] = []
            for op in block.ops:
                ops.append(op)
                if op in offsets:
                    slot = self.at(base, offsets[op], op.type)
                    ops += [slot, self.op(ir.Store(slot, op))]
            block.ops = ops
        for block in self.blocks:
            if block in self.within or block is self.region.head:
                continue
            ops = []
            for op in block.ops:
                by: dict[ir.Value, ir.Value] = {}
                for value in operands(op):
                    if value in offsets and value not in by:
                        slot = self.at(frame, offsets[value], value.type)
                        by[value] = self.op(ir.Load(slot))
                        ops += [slot, by[value]]  # type: ignore[list-item]
                replace(op, by)
                ops.append(op)
            block.ops = ops

    def _call(
        self,
        out: ir.Function,
        frame: ir.Value,
        before: list[ir.Op],
        ways: list[tuple[int, ir.Block]],
        outer: dict[ir.Value, ir.Value],
    ) -> None:
        """The head of the loop calls the helper, and goes on where the last round says."""
        ops, region = before, self.region
        way = self.at(frame, self.way, U64) if self.way >= 0 else None
        if way is not None:
            ops += [way, self.op(ir.Store(way, ir.Const(U64, 0)))]
        count = self.op(ir.Load(outer.get(region.rounds, region.rounds)))
        args = [count, ir.FunctionRef(out), frame, ir.Const(U64, 0)]
        ops += [count, self.op(ir.Helper(_LOOP, "loop", args))]
        if way is None:
            ops.append(self.op(ir.Jump(region.out)))
        else:
            left = self.op(ir.Load(way))
            ops += [left, self.op(ir.Switch(left, ways, region.out))]
        region.head.ops = ops


def _variable(ptr: ir.Value) -> ir.Value:
    """The variable that an address is within, or what it was made of."""
    while isinstance(ptr, (ir.FieldAddr, ir.ElemAddr, ir.Offset, ir.Recast)):
        ptr = ptr.value if isinstance(ptr, ir.Recast) else ptr.base
    return ptr


def _stack(value: ir.Value) -> bool:
    return isinstance(value.type, Ptr) and value.type.space is Space.STACK
