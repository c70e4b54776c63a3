"""The walk over all paths of a program: which instruction comes next, in which state, and what is put aside
for later.

Paths are taken depth first, the one that falls through before the one that jumps, as Linux does: the first
refusal met is the one it reports.
"""

from __future__ import annotations

from probee.verifier import prune
from probee.verifier.errors import Reject
from probee.verifier.state import (
    REF_LOCK,
    REF_PTR,
    UNINIT,
    UNKNOWN_REG,
    Frame,
    Reg,
    Slot,
    State,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probee.isa.helpers import Prototype
    from probee.verifier.context import Context
    from probee.verifier.flowgraph import Graph
    from probee.verifier.kfunc_arguments import Plan
    from probee.verifier.log import Log

MAX_PROCESSED = 1_000_000
MAX_PENDING = 8192

# What a step gives instead of the next instruction.
ENDED, SWITCHED = -1, -2

# Flags of an entry of the history: which slot of which frame was filled from or spilled to, and pointers
# compared.
ON_STACK, DST_STACK, SRC_STACK = 1, 2, 4


class Pending:
    """A path put aside: its state and where it goes on."""

    __slots__ = ("index", "length", "logged", "previous", "state")

    def __init__(
        self, state: State, index: int, previous: int, length: int, logged: tuple[int, int] = (0, 0)
    ) -> None:
        self.logged = logged
        self.length = length  # instructions on the way there
        self.state = state
        self.index = index
        self.previous = previous


class Walk:
    """The state of verifying one program (and, one after another, its global functions)."""

    __slots__ = (
        "context",
        "explored",
        "facts",
        "frame",
        "fresh_entry",
        "graph",
        "helpers",
        "index",
        "insn_types",
        "insns",
        "jumps",
        "kfunc_params",
        "last_jumps",
        "last_processed",
        "log",
        "next_base",
        "next_id",
        "path_start",
        "peak_states",
        "pending",
        "previous",
        "processed",
        "regs",
        "seen_branches",
        "seen_insns",
        "shapes",
        "stack_depth",
        "state",
        "steps",
        "test_state_freq",
        "total_states",
        "traced_from",
        "visits",
        "worst_path",
    )

    def __init__(self, context: Context, graph: Graph) -> None:
        self.context = context
        self.graph = graph
        self.insns = graph.insns
        self.steps: list[Callable[[], int]] = []
        self.shapes: list[tuple[int, int, int] | None] = [None] * graph.count  # of `precision`
        self.kfunc_params: dict[str, Plan] = {}
        self.helpers: dict[int, tuple[Prototype, str]] = {}  # those the program may call, with their names
        self.test_state_freq = context.test_state_freq
        self.traced_from = bytearray(graph.count)  # instructions that a trace of precision began at
        self.state = State()
        self.frame: Frame = Frame(0, 0, -1)
        self.regs: list[Reg] = self.frame.regs
        self.index = 0
        self.previous = -1
        self.pending: list[Pending] = []
        self.explored: dict[tuple[int, int], list[State]] = {}
        self.processed = 0
        self.path_start = 0  # what was processed when the current path began, as if it was walked alone
        self.worst_path = 0
        self.jumps = 0
        self.last_processed = 0
        self.last_jumps = 0
        self.total_states = 0
        self.peak_states = 0
        self.next_id = 0
        self.next_base = 0
        self.fresh_entry = False
        self.stack_depth = [0] * len(graph.subprogs)
        self.log: Log | None = None
        self.facts: dict[int, set[str]] = {}
        self.visits: dict[tuple[tuple[int, ...], int], prune.Visit] = {}
        self.seen_branches: dict[int, int] = {}
        self.seen_insns = bytearray(graph.count)
        self.insn_types: dict[int, int] = {}

    # Identities

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def jumps_since(self) -> int:
        """Branches since a state was last remembered."""
        return self.jumps - self.last_jumps

    # Paths

    def use(self, state: State) -> None:
        self.state = state
        self.frame = state.frames[-1]
        self.regs = self.frame.regs

    def fork(self, index: int, previous: int) -> State:
        """Puts a copy of the current state aside, to go on at `index`."""
        state = self.state.copy()
        parent = state.parent
        if parent is not None:
            parent.branches += 1
        state.branches = 0
        self.pending.append(
            Pending(
                state,
                index,
                previous,
                self.processed - self.path_start,
                self.log.length if self.log is not None else (0, 0),
            )
        )
        if len(self.pending) > MAX_PENDING:
            raise Reject(f"The sequence of {len(self.pending)} jumps is too complex.")
        return state

    def note(self, flags: int, linked: tuple[tuple[int, bool, int], ...] = ()) -> None:
        """Writes the instruction into the path's history, which precision is traced back by."""
        history = self.state.history
        if self.fresh_entry:
            last = history[-1]
            history[-1] = (last[0], last[1], last[2] | flags, 0, last[4] or linked)
            return
        history.append((self.index, self.previous, flags, 0, linked))
        self.fresh_entry = True

    def run(self) -> None:
        """All paths from the current state on.

        Raises:
            Reject: Linux refuses the program.
            Unsupported: something isn't modelled.
        """
        steps = self.steps
        points = self.graph.points()
        visited = prune.visited
        log = self.log
        index, previous = self.index, self.previous
        processed = self.processed
        seen = self.seen_insns
        while True:
            self.index = index
            self.previous = previous
            self.fresh_entry = False
            processed += 1
            self.processed = processed
            if processed > MAX_PROCESSED:
                raise Reject(f"BPF program is too large. Processed {processed} insn", index)
            following = 0
            point = points[index]
            if point:
                state = self.state
                if point & 1:
                    state.last_insn = previous
                    state.insn = index
                    if visited(self, index, point):
                        following = ENDED
                        if log is not None:
                            log.safe(previous, index)
                if point & 2 and not following:
                    state.history.append((index, previous, 0, 0, ()))
                    self.fresh_entry = True
            if not following:
                if log is not None:
                    log.step(previous, index)
                seen[index] = 1
                following = steps[index]()
            if following >= 0:
                previous = index
                index = following
                continue
            if following == SWITCHED:
                previous, index = index, self.index
                continue
            prune.path_ended(self)
            self.worst_path = max(self.worst_path, processed - self.path_start)
            if not self.pending:
                return
            item = self.pending.pop()
            self.path_start = processed - item.length
            self.use(item.state)
            index, previous = item.index, item.previous
            if self.log is not None:
                self.log.resume(item)

    def enter_function(self, subprog: int) -> None:
        """Begins the walk of a function by itself."""
        if self.log is not None:
            self.log.begin(subprog)

    def read_slots(self, frame: int, mask: int) -> None:
        """The instruction reads these stack slots of a frame."""

    def path(self) -> list[tuple[int, bool]]:
        """The branches on the way to where the walk stopped; of those that went on, only some are known."""
        entries = []
        state: State | None = self.state
        while state is not None:
            entries.append(state.history)
            state = state.parent
        found: list[tuple[int, bool]] = []
        branches: dict[int, bool] = {-1: False}
        for history in reversed(entries):
            for entry in history:
                previous = entry[1]
                branch = branches.get(previous)
                if branch is None:
                    opcode = self.insns[previous].opcode
                    branch = opcode & 7 in (5, 6) and opcode & 0xF0 not in (0, 0x80, 0x90)
                    branches[previous] = branch
                if branch:
                    found.append((previous, entry[0] != previous + 1))
        return found

    # Registers and slots

    def all_regs(self, state: State) -> Iterator[tuple[Frame, int, bool, Reg]]:
        """Every register and spilled register: (frame, number, whether a register, what it holds)."""
        for frame in state.frames:
            for number, reg in enumerate(frame.regs):
                yield frame, number, True, reg
            for number, slot in frame.stack.items():
                if slot.kinds[0] == 1:
                    yield frame, number, False, slot.reg

    def replace(self, state: State, change: Callable[[Reg], Reg | None]) -> None:
        """Puts `change(reg)` in the place of every register that it isn't None for."""
        for frame in state.frames:
            regs = frame.regs
            for number in range(11):
                reg = regs[number]
                if reg.type > 1:
                    new = change(reg)
                    if new is not None:
                        regs[number] = new
            stack = frame.stack
            for number, slot in stack.items():
                if slot.kinds[0] == 1 and slot.reg.type > 1:
                    new = change(slot.reg)
                    if new is not None:
                        stack[number] = Slot(slot.kinds, new)

    # References

    def acquire(self, kind: int = REF_PTR, what: object = None) -> int:
        new = self.new_id()
        self.state.held = (*self.state.held, (kind, new, self.index, what))
        return new

    def drop_held(self, id: int, kind: int = REF_PTR) -> bool:
        held = self.state.held
        kept = tuple(item for item in held if not (item[0] == kind and item[1] == id))
        self.state.held = kept
        return len(kept) != len(held)

    def release(self, ref: int) -> bool:
        """Gives a reference back: nothing may use pointers to it any more."""
        if not self.drop_held(ref):
            return False
        self.forget(ref)
        return True

    def forget(self, ref: int) -> None:
        """Registers that stand for the reference become unknown numbers."""
        self.replace(self.state, lambda reg: UNKNOWN_REG if reg.ref == ref else None)

    def holds_refs(self) -> bool:
        return any(item[0] == REF_PTR for item in self.state.held)

    @property
    def in_rcu(self) -> bool:
        state = self.state
        return bool(state.rcu) or bool(state.locks) or not self.sleepable

    @property
    def sleepable(self) -> bool:
        return self.context.sleepable or self.state.in_sleepable

    @property
    def may_sleep(self) -> bool:
        """Whether this point is in a sleepable context."""
        state = self.state
        return not state.rcu and not state.preempt and not state.locks and not state.irq_id and self.sleepable

    def grow_stack(self, frame: Frame, depth: int) -> None:
        if self.stack_depth[frame.subprog] < depth:
            self.stack_depth[frame.subprog] = depth

    def kill_caller_saved(self) -> None:
        regs = self.regs
        regs[0] = regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = UNINIT


LOCKS = REF_LOCK
