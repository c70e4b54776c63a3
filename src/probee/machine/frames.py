"""What is known of a function before it runs: which registers point into its stack frame, and which values
are still needed.

A frame whose address never leaves the function needs no place in the machine's memory: native code keeps it
in registers.
"""

from __future__ import annotations

from .env import FRAME_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .code import Function
    from .maps import Layout
    from .ops import Op

_CALLS = frozenset({"helper", "local", "kfunc", "callx", "packet"})
_ENDS = frozenset({"exit", "ja", "gotox"})
_MEMORY = frozenset({"load", "store", "acquire", "release", "atomic"})

_FRAME, _CONSTANT = "frame", "constant"
_LOOKUP = 1  # the number of bpf_map_lookup_elem

# What a register is known to hold: a place in the frame, by its distance from the end, or a number.
Known = dict[int, tuple[str, int]]


class Frames:
    """`private`: only loads and stores at known places of the frame are made. `used`: r10 is read at all.
    `cleared`: how many bytes at the frame's end have to be zero when the function starts. `lookups`: the
    slots of look-ups in maps whose layout is known. `calls`: whether other functions or Python are called.
    """

    def __init__(self, function: Function, layouts: Mapping[int, Layout] | None = None) -> None:
        self.function = function
        self.lookups: dict[int, Layout] = {}
        self.used = False
        self.private = True
        self._at: dict[int, Known] = {}
        self._live: dict[int, frozenset[int]] = {}
        self._flow()
        for slot, op in function.ops.items():
            kind, number = self._at.get(slot, {}).get(1, ("", 0))
            if op.kind == "helper" and op.imm == _LOOKUP and kind == _CONSTANT and layouts:
                layout = layouts.get(number)
                if layout is not None:
                    self.lookups[slot] = layout
        self.calls = any(
            op.kind in _CALLS and not self.key_in_frame(slot) for slot, op in function.ops.items()
        )
        self._liveness()
        self._judge()

    def offset(self, slot: int, register: int) -> int | None:
        """Where in the frame a register points before an instruction: 0 is its end; None if not known."""
        kind, number = self._at.get(slot, {}).get(register, ("", 0))
        return number if kind == _FRAME else None

    def key_in_frame(self, slot: int) -> bool:
        """Whether an instruction is a look-up, in a map of known layout, of a key in the stack frame."""
        layout = self.lookups.get(slot)
        place = self.offset(slot, 2)
        return layout is not None and place is not None and -FRAME_SIZE <= place <= -layout.key_size

    def live_at(self, slot: int) -> frozenset[int]:
        """The registers whose values matter from an instruction on."""
        return self._live.get(slot, frozenset())

    def successors(self, op: Op) -> list[int]:
        """The slots that may come next."""
        if op.kind in ("exit", "trap"):
            return []
        if op.kind == "ja":
            return [op.target]
        if op.kind in ("jump", "may_goto"):
            return [op.next, op.target]
        if op.kind == "gotox":
            return self.function.leaders
        return [op.next]

    def _flow(self) -> None:
        ops = self.function.ops
        waiting = [self.function.start]
        self._at[self.function.start] = {10: (_FRAME, 0)}
        while waiting:
            slot = waiting.pop()
            after = _after(ops[slot], self._at[slot])
            for target in self.successors(ops[slot]):
                known = self._at.get(target)
                if known is None:
                    self._at[target] = dict(after)
                    waiting.append(target)
                    continue
                both = {r: off for r, off in known.items() if after.get(r) == off}
                if both != known:
                    self._at[target] = both
                    waiting.append(target)

    def _liveness(self) -> None:
        ops = self.function.ops
        before: dict[int, set[int]] = {slot: set() for slot in ops}
        order = sorted(ops, reverse=True)
        changed = True
        while changed:
            changed = False
            for slot in order:
                op = ops[slot]
                live: set[int] = set()
                for target in self.successors(op):
                    live |= before[target]
                live -= writes(op)
                live |= reads(op)
                if live != before[slot]:
                    before[slot] = live
                    changed = True
        self._live = {slot: frozenset(live) for slot, live in before.items()}

    def _judge(self) -> None:
        lowest, reading = 0, False
        for slot, op in self.function.ops.items():
            at = {r: off for r, (kind, off) in self._at.get(slot, {}).items() if kind == _FRAME}
            needed = reads(op)
            if self.key_in_frame(slot):
                needed = {2}
                lowest, reading = min(lowest, at[2]), True
            if 10 in needed:
                self.used = True
            inside = {r for r in needed if r in at}
            moved = op.kind == "alu" and op.dst in inside and self._keeps(op)
            base = (op.src if op.kind in ("load", "acquire") else op.dst) if op.kind in _MEMORY else -1
            if base in inside:
                start = at[base] + op.off
                fits = -FRAME_SIZE <= start <= -op.size
                aligned = op.kind not in ("atomic", "acquire", "release")
                self.private = self.private and fits and aligned
                lowest = min(lowest, start) if fits else -FRAME_SIZE
                reading = reading or op.kind not in ("store", "release")
                inside.discard(base)
                if op.kind in ("store", "atomic", "release") and op.src in at:
                    self.private = False
            elif self.key_in_frame(slot) or (op.kind == "alu" and op.wide and self._keeps(op)):
                inside.clear()
            if inside and not (op.kind == "alu" and op.op == "mov" and op.wide):
                self.private = False
            after = _after(op, self._at.get(slot, {}))
            if moved and op.dst not in after:
                self.private = False  # moved so far away that its place is no longer known
            # A frame's address that gets lost where two ways meet may be used later, unseen.
            for target in self.successors(op):
                there = self._at[target]
                lost = {r for r, value in after.items() if value[0] == _FRAME and there.get(r) != value}
                if lost & self._live[target]:
                    self.private = False
        if not self.private:
            lowest, reading = -FRAME_SIZE, self.used
        self.cleared = -lowest if reading else 0

    def _keeps(self, op: Op) -> bool:
        """Whether a place in the frame, changed like this, is a known place again."""
        return op.src < 0 and op.op in ("add", "sub")


def _after(op: Op, at: Known) -> Known:
    changed = writes(op)
    if not changed:
        return at
    after = {r: value for r, value in at.items() if r not in changed}
    if op.kind == "lddw":
        after[op.dst] = (_CONSTANT, op.imm)
    elif op.kind == "alu" and op.wide:
        if op.op == "mov" and op.src >= 0 and op.src in at:
            after[op.dst] = at[op.src]
        elif op.op in ("add", "sub") and op.src < 0 and op.dst in at:
            imm = op.imm - (1 << 64) if op.imm >> 63 else op.imm
            kind, offset = at[op.dst]
            offset += imm if op.op == "add" else -imm
            # Where a loop moves a pointer, its place is not known: there is an end to the search.
            if kind == _FRAME and -FRAME_SIZE <= offset <= FRAME_SIZE:
                after[op.dst] = (kind, offset)
    return after


def reads(op: Op) -> set[int]:
    """The registers an operation needs."""
    kind = op.kind
    if kind == "alu":
        found = set() if op.op in ("mov", "movsx") else {op.dst}
        return found | ({op.src} if op.src >= 0 else set())
    if kind == "jump":
        return {op.dst} | ({op.src} if op.src >= 0 else set())
    if kind in ("load", "acquire", "cast"):
        return {op.src}
    if kind in ("store", "release"):
        return {op.dst} | ({op.src} if op.src >= 0 else set())
    if kind == "atomic":
        return {op.dst, op.src} | ({0} if op.op == "cmpxchg" else set())
    if kind == "packet":
        return {6} | ({op.src} if op.src >= 0 else set())
    if kind in ("helper", "local", "kfunc"):
        return {1, 2, 3, 4, 5}
    if kind == "callx":
        return {1, 2, 3, 4, 5, op.dst}
    if kind == "gotox":
        return {op.dst}
    return {0} if kind == "exit" else set()


def writes(op: Op) -> set[int]:
    """The registers an operation changes."""
    kind = op.kind
    if kind in ("alu", "lddw", "cast", "load", "acquire"):
        return {op.dst}
    if kind == "atomic":
        if op.op == "cmpxchg":
            return {0}
        return {op.src} if op.fetch else set()
    if kind in _CALLS:
        return {0, 1, 2, 3, 4, 5}
    return set()
