"""Which numbers a verdict hung on, traced back along the path.

Two states are alike although a number differs in them, as long as nothing asked what it is. Where something
does (an offset, a decided branch, a size), the path is walked back to what the number came from, and the
remembered states on the way are told that their copy of it counts.
"""

from __future__ import annotations

from probee.isa.insn import (
    ALU,
    ALU64,
    ATOMIC,
    CALL,
    CMPXCHG,
    END,
    EXIT,
    FETCH,
    JCOND,
    JMP,
    JMP32,
    LD,
    LDX,
    LOAD_ACQUIRE,
    MOV,
    NEG,
    PSEUDO_CALL,
    ST,
    STORE_RELEASE,
    STX,
    X,
)
from probee.verifier.errors import Unsupported
from probee.verifier.state import SCALAR, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.walk import Walk

ON_STACK, DST_STACK, SRC_STACK = 1, 2, 4
_ARGS = 0x3E


class _GiveUp(Exception):
    """The number came from where it can't be followed."""


class Masks:
    """What is looked for: bits of registers and of stack slots, frame by frame; `frame` is where the trace
    is.
    """

    __slots__ = ("frame", "regs", "slots")

    def __init__(self, frame: int) -> None:
        self.frame = frame
        self.regs = [0] * 9
        self.slots = [0] * 9

    @property
    def empty(self) -> bool:
        at = self.frame
        return not self.regs[at] and not self.slots[at] and not any(self.regs) and not any(self.slots)

    @property
    def code(self) -> int:
        """All masks in one number."""
        found = 0
        for at in range(self.frame, -1, -1):
            found = found << 80 | self.slots[at] << 16 | self.regs[at]
        return found


def mark_precise(w: Walk, number: int) -> None:
    """The value of scalar register `number` at the current instruction matters."""
    state = w.state
    if state.frames[-1].regs[number].type != SCALAR:
        return
    masks = Masks(len(state.frames) - 1)
    masks.regs[masks.frame] = 1 << number
    trace(w, state, w.index, masks)


def trace(w: Walk, state: State, last: int, masks: Masks) -> bool:
    """Marks what `masks` asks for in the states before `state`, from instruction `last` back. Whether any
    was new.
    """
    start: State | None = state
    current = state
    first = current.first_insn
    following = -1
    skip = True
    changed = False
    if masks.empty:
        return False
    insns = w.insns
    regs, slots = masks.regs, masks.slots
    traced = state.traced
    here = (len(state.history), last, masks.frame)
    wanted = masks.code
    known = traced.get(here, 0)
    if not wanted & ~known:
        return False
    traced[here] = known | wanted
    while True:
        if last < 0:
            if not masks.frame and not masks.slots[0] and not masks.regs[0] & ~_ARGS:
                entry = current.frames[0]
                for number in range(1, 6):
                    if masks.regs[0] >> number & 1 and entry.regs[number].type == SCALAR:
                        entry.precise |= 1 << number
                return changed
            raise Unsupported("precision traced beyond a function's entry")
        history = current.history
        left = len(history)
        index = last
        while True:
            if skip:
                skip = False
            else:
                entry_ = history[left - 1] if left and history[left - 1][0] == index else None
                insn = insns[index]
                kind = insn.opcode & 7
                at = masks.frame
                # Most instructions have nothing to do with what is looked for.
                if (kind == 7 or kind == 4) and (entry_ is None or not entry_[4]):
                    if regs[at] >> insn.dst & 1:
                        _back(w, index, following, entry_, masks)
                elif kind == 5 and insn.opcode == 5:
                    pass
                else:
                    try:
                        _back(w, index, following, entry_, masks)
                    except _GiveUp:
                        _mark_all(start)
                        return True
            at = masks.frame
            if not regs[at] and not slots[at] and masks.empty:
                return changed
            # Where the rest of the way was gone before, looking for the same, there's nothing to add.
            if following >= 0 and current is state:
                known = traced.get((left, index, at), 0)
                if known and not masks.code & ~known:
                    return changed
            following = index
            if index == current.first_insn and (not left or (left == 1 and history[0][0] == index)):
                break
            if left and history[left - 1][0] == index:
                left -= 1
                index = history[left][1]
            else:
                index -= 1
            if index >= w.graph.count or index < 0:
                break
        parent = current.parent
        if parent is None:
            break
        current = parent
        for number in range(masks.frame, -1, -1):
            frame = current.frames[number]
            bits = masks.regs[number]
            if bits:
                keep = 0
                for reg in range(11):
                    if bits >> reg & 1 and frame.regs[reg].type == SCALAR and not frame.precise >> reg & 1:
                        keep |= 1 << reg
                frame.precise |= keep
                masks.regs[number] = keep
                changed = changed or bool(keep)
            bits = masks.slots[number]
            if bits:
                keep = 0
                for spi, slot in frame.stack.items():
                    if (
                        bits >> spi & 1
                        and slot.kinds[0] == 1
                        and slot.reg.type == SCALAR
                        and not frame.precise_slots >> spi & 1
                    ):
                        keep |= 1 << spi
                frame.precise_slots |= keep
                masks.slots[number] = keep
                changed = changed or bool(keep)
        if masks.empty:
            return changed
        following = first
        last = current.last_insn
        first = current.first_insn
    if not masks.empty:
        _mark_all(start)
        return True
    return changed


def _mark_all(state: State | None) -> None:
    """Every number in every state before: what to do where the trace is lost."""
    state = state.parent if state is not None else None
    while state is not None:
        for frame in state.frames:
            frame.precise = 0x3FF
            for spi in frame.stack:
                frame.precise_slots |= 1 << spi
        state = state.parent


def _sync_linked(
    masks: Masks, entry: tuple[int, int, int, int, tuple[tuple[int, bool, int], ...]] | None
) -> None:
    """If one of the registers tied together at this instruction counts, all do."""
    if entry is None or not entry[4]:
        return
    if any(
        (masks.regs if is_reg else masks.slots)[frame] >> number & 1 for frame, is_reg, number in entry[4]
    ):
        for frame, is_reg, number in entry[4]:
            (masks.regs if is_reg else masks.slots)[frame] |= 1 << number


def _back(
    w: Walk,
    index: int,
    following: int,
    entry: tuple[int, int, int, int, tuple[tuple[int, bool, int], ...]] | None,
    masks: Masks,
) -> None:
    """What has to be known before the instruction, for what is asked of after it."""
    insn = w.insns[index]
    opcode = insn.opcode
    if not opcode:
        return
    kind, op = opcode & 7, opcode & 0xF0
    dst, src = 1 << insn.dst, 1 << insn.src
    _sync_linked(masks, entry)
    frame = masks.frame
    regs = masks.regs
    flags = entry[2] if entry is not None else 0
    if kind in (ALU, ALU64):
        if not regs[frame] & dst or op in (END, NEG):
            return
        if op == MOV:
            regs[frame] &= ~dst
            if opcode & X and insn.src != 10:
                regs[frame] |= src
        elif opcode & X and insn.src != 10:
            regs[frame] |= src
    elif kind == LDX or (
        kind == STX
        and opcode & 0xE0 == ATOMIC
        and (insn.imm & FETCH or insn.imm == LOAD_ACQUIRE)
        and insn.imm != STORE_RELEASE
    ):
        loaded = dst
        if kind == STX and insn.imm != LOAD_ACQUIRE:
            loaded = 1 if insn.imm == CMPXCHG else src
        if not regs[frame] & loaded:
            return
        regs[frame] &= ~loaded
        if flags & ON_STACK:
            masks.slots[flags >> 4 & 15] |= 1 << (flags >> 8)
    elif kind in (STX, ST):
        if regs[frame] & dst:
            raise _GiveUp
        if not flags & ON_STACK:
            return
        where, slot = flags >> 4 & 15, 1 << (flags >> 8)
        if not masks.slots[where] & slot:
            return
        masks.slots[where] &= ~slot
        if kind == STX:
            regs[frame] |= src
    elif kind in (JMP, JMP32):
        if opcode == JMP | CALL and insn.src == PSEUDO_CALL:
            callee = w.graph.start_of[index + insn.imm + 1]
            if w.context.is_global(callee):
                if regs[frame] & _ARGS:
                    raise _GiveUp
                regs[frame] &= ~1
                return
            if regs[frame] & ~_ARGS or masks.slots[frame] or not frame:
                raise _GiveUp
            regs[frame - 1] |= regs[frame] & _ARGS
            regs[frame] = 0
            masks.frame -= 1
            return
        if op == CALL and index in w.graph.calls_callback and index != following - 1:
            if regs[frame] & ~_ARGS or masks.slots[frame] or not frame:
                raise _GiveUp
            regs[frame] = 0
            masks.frame -= 1
            return
        if op == CALL:
            regs[frame] &= ~1
            if regs[frame] & _ARGS and not w.context.is_fastcall(insn):
                raise _GiveUp
            return
        if op == EXIT:
            before = w.insns[following - 1] if following > 0 else None
            from_call = before is not None and before.opcode == JMP | CALL and before.src == PSEUDO_CALL
            result = from_call and regs[frame] & 1
            if from_call and regs[frame] & _ARGS:
                raise _GiveUp
            regs[frame] &= ~1
            if masks.frame >= 8:
                raise _GiveUp
            masks.frame += 1
            if result:
                regs[masks.frame] |= 1
            return
        if op != JCOND and opcode & X:
            if not regs[frame] & (dst | src):
                return
            if not flags & SRC_STACK:
                regs[frame] |= src
            if not flags & DST_STACK:
                regs[frame] |= dst
    elif kind == LD:
        mode = opcode & 0xE0
        if mode == 0:
            regs[frame] &= ~dst
            return
        if mode in (0x20, 0x40):
            if regs[frame] & dst:
                raise _GiveUp
            if following != index + 1:
                masks.frame += 1
            return
    _sync_linked(masks, entry)
