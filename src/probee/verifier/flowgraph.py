"""The shape of a program, found before the walk: subprograms, where jumps may go, points to compare states
at,
registers that matter at each instruction, and loops.
"""

from __future__ import annotations

from probee.isa.insn import (
    ALU,
    ALU64,
    ATOMIC,
    CALL,
    CMPXCHG,
    EXIT,
    FETCH,
    JA,
    JCOND,
    JMP,
    JMP32,
    LD,
    LD_IMM64,
    LDX,
    LOAD_ACQUIRE,
    MOV,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    ST,
    STORE_RELEASE,
    STX,
    XCHG,
    X,
)
from probee.verifier.errors import Reject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probee.isa.insn import Insn

SYNC_CALLBACKS = {164, 180, 181, 209}  # for_each_map_elem, find_vma, loop, user_ringbuf_drain
TIMER_SET_CALLBACK = 170
TAIL_CALL = 12
_FLOW = (JMP, JMP32, LD)


class Subprogram:
    """A function of the program: instructions `start` up to `end`."""

    __slots__ = (
        "end",
        "has_ld_abs",
        "has_tail_call",
        "is_callback",
        "is_exception_callback",
        "start",
        "tail_call_reachable",
    )

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = 0
        self.has_tail_call = False
        self.has_ld_abs = False
        self.is_callback = False
        self.is_exception_callback = False
        self.tail_call_reachable = False


class Graph:
    """What the analysis before the walk found. Sets hold instruction indexes."""

    __slots__ = (
        "calls_callback",
        "checkpoints",
        "count",
        "insns",
        "iter_next",
        "jump_points",
        "live",
        "loop_of",
        "may_gotos",
        "prune_points",
        "start_of",
        "subprogs",
    )

    def __init__(self, insns: Sequence[Insn]) -> None:
        self.insns = insns
        self.count = len(insns)
        self.subprogs: list[Subprogram] = []
        self.start_of: dict[int, int] = {}
        self.prune_points: set[int] = set()
        self.jump_points: set[int] = set()
        self.checkpoints: set[int] = set()
        self.calls_callback: set[int] = set()
        self.iter_next: set[int] = set()
        self.may_gotos: set[int] = set()
        self.live: list[int] = []
        self.loop_of: list[int] = []

    def subprog_at(self, index: int) -> int:
        """The number of the subprogram that the instruction is in."""
        for number, sub in enumerate(self.subprogs):
            if sub.start <= index < sub.end:
                return number
        return -1

    def points(self) -> bytes:
        """For each instruction, 1 if states are compared there, 2 if it goes into a path's history, 4 if a
        state is always remembered, and why: 8 steps of iterators, 16 may_goto, 32 calls that call back.
        """
        marks = bytearray(self.count)
        for mark, indexes in (
            (1, self.prune_points),
            (2, self.jump_points),
            (4, self.checkpoints),
            (8, self.iter_next),
            (16, self.may_gotos),
            (32, self.calls_callback),
        ):
            for index in indexes:
                marks[index] |= mark
        return bytes(marks)


def jump_target(insn: Insn, index: int) -> int:
    """Where the jump at `index` goes. `gotol` keeps its distance in `imm`."""
    return index + 1 + (insn.imm if insn.opcode == JMP32 | JA else insn.off)


def find_subprograms(graph: Graph) -> None:
    """Subprograms begin where calls and function references point to.

    Raises:
        Reject: a call leaves the program, or there are too many subprograms.
    """
    starts = {0}
    for index, insn in enumerate(graph.insns):
        call = insn.opcode == JMP | CALL and insn.src == PSEUDO_CALL
        if call or (insn.opcode == LD_IMM64 and insn.src == PSEUDO_FUNC):
            to = index + insn.imm + 1
            if not 0 <= to < graph.count:
                raise Reject("call to invalid destination", index)
            starts.add(to)
            if len(starts) > 256:
                raise Reject("too many subprograms", index)
    ordered = sorted(starts)
    graph.subprogs = [Subprogram(start) for start in ordered]
    for sub, end in zip(graph.subprogs, [*ordered[1:], graph.count], strict=True):
        sub.end = end
    graph.start_of = {start: number for number, start in enumerate(ordered)}


def check_subprograms(graph: Graph) -> None:
    """Jumps stay in their subprogram, which ends in an exit or a jump.

    Raises:
        Reject: they don't.
    """
    for sub in graph.subprogs:
        index = sub.start
        for index in range(sub.start, sub.end):
            insn = graph.insns[index]
            kind = insn.opcode & 7
            if kind not in _FLOW:
                continue
            op = insn.opcode & 0xF0
            if insn.opcode == JMP | CALL and insn.imm == TAIL_CALL and insn.src == 0:
                sub.has_tail_call = True
            if kind == LD and insn.opcode & 0xE0 in (0x20, 0x40):
                sub.has_ld_abs = True
            if kind in (JMP, JMP32) and op not in (CALL, EXIT):
                to = jump_target(insn, index)
                if not sub.start <= to < sub.end:
                    raise Reject(f"jump out of range from insn {index} to {to}", index)
        last = graph.insns[sub.end - 1].opcode
        if last not in (JMP | EXIT, JMP | JA, JMP32 | JA):
            raise Reject("last insn is not an exit or jmp", sub.end - 1)


def check_flow(
    graph: Graph, is_iter_next: Callable[[int], bool], is_callback_kfunc: Callable[[int], str]
) -> None:
    """Every instruction is reached, none from within a wide immediate; marks the points to compare states at.

    `is_callback_kfunc` says "sync", "async" or "" of a kernel function's call.

    Raises:
        Reject: an unreachable instruction, a jump into the middle of one.
    """
    insns, count = graph.insns, graph.count
    prune, jumps = graph.prune_points, graph.jump_points
    seen = [False] * count
    stack = [sub.start for sub in graph.subprogs if sub.is_exception_callback] + [0]
    while stack:
        index = stack.pop()
        while not seen[index] and insns[index].opcode & 7 not in _FLOW:
            seen[index] = True
            index += 1
            if index >= count:
                raise Reject(f"jump out of range from insn {index - 1} to {index}", index - 1)
        if seen[index]:
            continue
        seen[index] = True
        following = _visit(graph, index, is_iter_next, is_callback_kfunc)
        for to, branch in following:
            if not 0 <= to < count:
                raise Reject(f"jump out of range from insn {index} to {to}", index)
            if branch:
                prune.add(to)
                jumps.add(to)
            if not seen[to]:
                stack.append(to)
    index = 0
    while index < count:
        if not seen[index]:
            raise Reject(f"unreachable insn {index}", index)
        if insns[index].opcode == LD_IMM64:
            if index + 1 < count and seen[index + 1]:
                raise Reject(f"jump into the middle of ldimm64 insn {index}", index)
            index += 1
        index += 1


def _visit(
    graph: Graph,
    index: int,
    is_iter_next: Callable[[int], bool],
    is_callback_kfunc: Callable[[int], str],
) -> list[tuple[int, bool]]:
    """What may come after the instruction: (index, whether by a branch); the one to look at last comes
    first.
    """
    insn = graph.insns[index]
    prune, jumps = graph.prune_points, graph.jump_points
    kind, op = insn.opcode & 7, insn.opcode & 0xF0
    if insn.opcode == LD_IMM64 and insn.src == PSEUDO_FUNC:
        prune.update((index + 2, index))
        jumps.add(index + 2)
        return [(index + insn.imm + 1, True), (index + 2, False)]
    if kind not in (JMP, JMP32) or op > JCOND:
        return [(index + (2 if insn.opcode == LD_IMM64 else 1), False)]
    if op == EXIT:
        return []
    if op == CALL:
        if insn.src == PSEUDO_CALL:
            prune.update((index + 1, index))
            jumps.add(index + 1)
            return [(index + insn.imm + 1, True), (index + 1, False)]
        callback = ""
        if insn.src == 0:
            if insn.imm in SYNC_CALLBACKS:
                callback = "sync"
            elif insn.imm == TIMER_SET_CALLBACK:
                callback = "async"
        elif insn.src == PSEUDO_KFUNC_CALL:
            callback = is_callback_kfunc(index)
            if is_iter_next(index):
                prune.add(index)
                graph.checkpoints.add(index)
                graph.iter_next.add(index)
        if callback == "async":
            prune.add(index)
        elif callback == "sync":
            graph.calls_callback.add(index)
            graph.checkpoints.add(index)
            prune.add(index)
            jumps.add(index)
        prune.add(index + 1)
        jumps.add(index + 1)
        return [(index + 1, False)]
    if op == JA:
        to = jump_target(insn, index)
        prune.add(to)
        jumps.add(to)
        return [(to, False)]
    prune.add(index)
    if op == JCOND:
        graph.checkpoints.add(index)
        graph.may_gotos.add(index)
    return [(jump_target(insn, index), True), (index + 1, False)]


def successors(graph: Graph, index: int) -> tuple[int, ...]:
    """Where control goes inside the subprogram; calls go on behind themselves."""
    insn = graph.insns[index]
    kind, op = insn.opcode & 7, insn.opcode & 0xF0
    if insn.opcode == LD_IMM64:
        return (index + 2,)
    if kind not in (JMP, JMP32) or op == CALL:
        return (index + 1,) if index + 1 < graph.count else ()
    if op == EXIT:
        return ()
    if op == JA:
        return (jump_target(insn, index),)
    return (index + 1, jump_target(insn, index))


_ARGS, _CALLER_SAVED = 0x3E, 0x3F


def uses_and_sets(
    insn: Insn, call_args: Callable[[Insn], int], fastcall: Callable[[Insn], bool]
) -> tuple[int, int]:
    """(bits of the registers an instruction reads, bits of those it writes)."""
    kind, op = insn.opcode & 7, insn.opcode & 0xF0
    dst, src = 1 << insn.dst, 1 << insn.src
    if kind in (ALU, ALU64):
        if op == 0xD0 or op == 0x80:
            return dst, dst
        if op == MOV:
            return (src if insn.opcode & X else 0), dst
        return dst | (src if insn.opcode & X else 0), dst
    if kind == LD:
        mode = insn.opcode & 0xE0
        if mode == 0x20:
            return 1 << 6, _CALLER_SAVED
        if mode == 0x40:
            return 1 << 6 | src, _CALLER_SAVED
        return 0, dst if mode == 0 else 0
    if kind == LDX:
        return src, dst
    if kind == ST:
        return dst, 0
    if kind == STX:
        if insn.opcode & 0xE0 == ATOMIC:
            if insn.imm == CMPXCHG:
                return dst | src | 1, 1
            if insn.imm == LOAD_ACQUIRE:
                return src, dst
            if insn.imm == STORE_RELEASE:
                return dst | src, 0
            return dst | src, src if insn.imm & FETCH or insn.imm == XCHG else 0
        return dst | src, 0
    if op == EXIT:
        return 1, 0
    if op == CALL:
        used = call_args(insn)
        return used, 1 if fastcall(insn) else _CALLER_SAVED
    if op in (JA, JCOND):
        return 0, 0
    return dst | (src if insn.opcode & X else 0), 0


class Jumps:
    """Where control goes from instructions that it doesn't just go on behind (`after`), and the stretches
    that all of a loop lies in: from the ends of its jumps backwards to these, put together where they
    overlap.
    """

    __slots__ = ("after", "spans")

    def __init__(self, graph: Graph) -> None:
        self.after: dict[int, tuple[int, ...]] = {
            index: successors(graph, index)
            for index, insn in enumerate(graph.insns)
            if insn.opcode & 7 in (JMP, JMP32) or insn.opcode == LD_IMM64
        }
        self.spans: list[list[int]] = []
        spans = self.spans
        edges = [(to, index) for index, targets in self.after.items() for to in targets if to <= index]
        for start, end in sorted(edges):
            if spans and start <= spans[-1][1]:
                spans[-1][1] = max(spans[-1][1], end)
            else:
                spans.append([start, end])


# What instructions other than calls and atomic ones read and write, by opcode and registers.
_flows: dict[int, tuple[int, int]] = {}


def find_live(
    graph: Graph, jumps: Jumps, call_args: Callable[[Insn], int], fastcall: Callable[[Insn], bool]
) -> None:
    """`graph.live`: bits of the registers whose value is read later, before each instruction."""
    count = graph.count
    flows: list[tuple[int, int]] = []
    for insn in graph.insns:
        opcode = insn.opcode
        if opcode & 7 == STX or opcode & 0xF7 == JMP | CALL:
            flows.append(uses_and_sets(insn, call_args, fastcall))
            continue
        key = opcode | insn.dst << 8 | insn.src << 16
        flow = _flows.get(key)
        if flow is None:
            flow = _flows[key] = uses_and_sets(insn, call_args, fastcall)
        flows.append(flow)
    live = [0] * (count + 1)
    end = count
    for start, last in reversed(jumps.spans):
        _flow_back(live, jumps.after, flows, last + 1, end)
        while _flow_back(live, jumps.after, flows, start, last + 1):
            pass
        end = start
    _flow_back(live, jumps.after, flows, 0, end)
    live.pop()
    graph.live = live


def _flow_back(
    live: list[int],
    after: dict[int, tuple[int, ...]],
    flows: list[tuple[int, int]],
    start: int,
    end: int,
) -> bool:
    """What is read after instructions `start` up to `end`, from the last to the first. Whether any is new."""
    changed = False
    count = len(flows)
    follow = after.get
    out = live[end]
    for index in range(end - 1, start - 1, -1):
        to = follow(index)
        if to is not None:
            out = 0
            for each in to:
                if each < count:
                    out |= live[each]
        use, define = flows[index]
        out = out & ~define | use
        if out != live[index]:
            live[index] = out
            changed = True
    return changed


def find_loops(graph: Graph, jumps: Jumps) -> None:
    """`graph.loop_of`: the number of the loop (strongly connected component) of each instruction, 0 for
    none.
    """
    graph.loop_of = [0] * graph.count
    loops = 0
    for start, end in jumps.spans:
        loops = _components(graph.loop_of, jumps.after, start, end, loops)


def _components(
    component: list[int], after: dict[int, tuple[int, ...]], start: int, end: int, loops: int
) -> int:
    """Numbers the loops among instructions `start` to `end` from `loops` + 1 on. The last number."""
    size = end - start + 1
    order = [0] * size
    low = [0] * size
    on_stack = bytearray(size)
    stack: list[int] = []
    clock = 0
    for root in range(size):
        if order[root]:
            continue
        work = [(root, 0)]
        while work:
            at, edge = work.pop()
            if not edge:
                clock += 1
                order[at] = low[at] = clock
                stack.append(at)
                on_stack[at] = 1
            targets = after.get(start + at)
            if targets is None:
                targets = (start + at + 1,)
            advanced = False
            for number in range(edge, len(targets)):
                to = targets[number] - start
                if not 0 <= to < size:
                    continue
                if not order[to]:
                    work.append((at, number + 1))
                    work.append((to, 0))
                    advanced = True
                    break
                if on_stack[to] and order[to] < low[at]:
                    low[at] = order[to]
            if advanced:
                continue
            if low[at] == order[at]:
                first = len(stack) - 1
                while stack[first] != at:
                    first -= 1
                members = stack[first:]
                del stack[first:]
                loop = len(members) > 1 or start + at in targets
                loops += loop
                for member in members:
                    on_stack[member] = 0
                    if loop:
                        component[start + member] = loops
            if work:
                caller = work[-1][0]
                if low[at] < low[caller]:
                    low[caller] = low[at]
    return loops
