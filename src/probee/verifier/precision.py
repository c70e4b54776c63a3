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
from probee.verifier.state import SCALAR, Frame, State

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
        for at in range(self.frame + 1):
            found = found << 80 | self.slots[at] << 16 | self.regs[at]
        return found


def mark_precise(w: Walk, number: int) -> None:
    """The value of scalar register `number` at the current instruction matters."""
    state = w.state
    frames = state.frames
    if frames[-1].regs[number].type == SCALAR:
        trace_frame(w, state, w.index, len(frames) - 1, 1 << number, 0)


def trace(w: Walk, state: State, last: int, masks: Masks) -> bool:
    """Marks what `masks` asks for in the states before `state`, from instruction `last` back. Whether any
    was new.
    """
    at = masks.frame
    if not any(masks.regs[:at]) and not any(masks.slots[:at]):
        return trace_frame(w, state, last, at, masks.regs[at], masks.slots[at])
    here = (len(state.history), last, at)
    wanted = masks.code
    known = state.traced.get(here, 0)
    if not wanted & ~known:
        return False
    state.traced[here] = known | wanted
    w.traced_from[last] = 1
    return _walk_back(w, state, state, last, len(state.history), -1, masks, changed=False)


# What instructions do to the masks of one frame (`_shape`).
_NOTHING, _CLEAR, _MOVE, _JOIN, _COMPARE, _COMPARE_REGS, _LOAD, _STORE, _CALL, _OTHER = range(10)


def _shape(w: Walk, index: int) -> tuple[int, int, int]:
    """(what the instruction does to masks, bit of its destination, bit of its source)."""
    insn = w.insns[index]
    opcode = insn.opcode
    kind, op = opcode & 7, opcode & 0xF0
    dst, src = 1 << insn.dst, 1 << insn.src
    from_reg = bool(opcode & X) and insn.src != 10
    code = _OTHER
    if not opcode:
        code = _NOTHING
    elif kind in (ALU, ALU64):
        if op == MOV:
            code = _MOVE if from_reg else _CLEAR
        else:
            code = _JOIN if from_reg and op not in (END, NEG) else _NOTHING
    elif kind == LDX:
        code = _LOAD
    elif kind == ST or (kind == STX and opcode & 0xE0 != ATOMIC):
        code = _STORE
        if kind == ST:
            src = 0
    elif kind == LD and not opcode & 0xE0:
        code = _CLEAR
    elif kind in (JMP, JMP32):
        if op == CALL:
            own = opcode == JMP | CALL and insn.src == PSEUDO_CALL
            if not own and index not in w.graph.calls_callback:
                code, src = _CALL, 0 if w.context.is_fastcall(insn) else _ARGS
        elif op != EXIT:
            code = _COMPARE_REGS if op != JCOND and opcode & X else _COMPARE
    w.shapes[index] = shape = (code, dst, src)
    return shape


def trace_frame(w: Walk, state: State, last: int, at: int, bits: int, slots: int) -> bool:
    """`trace` for registers `bits` and stack slots `slots` of the one frame `at`: the usual case, as long as
    the way goes through no calls.
    """
    wanted = slots << 16 | bits
    history = state.history
    left = len(history)
    traced = state.traced
    here = (left, last, at)
    known = traced.get(here, 0)
    if not wanted & ~known:
        return False
    traced[here] = known | wanted
    traced_from = w.traced_from
    traced_from[last] = 1
    shapes = w.shapes
    current = state
    changed = False
    index = last
    first = state.first_insn
    top = history[left - 1][0] if left else -1  # the next entry of the history belongs to it
    while True:
        if index != first or left > 1 or (left and top != index):
            following = index
            if index == top:
                left -= 1
                index = history[left][1]
                top = history[left - 1][0] if left else -1
            else:
                index -= 1
        else:
            index = -1
        if index < 0:
            parent = current.parent
            if parent is None:
                _mark_all(state)
                return True
            frame = parent.frames[at]
            if bits:
                bits = _mark_regs(frame, bits)
            if slots:
                slots = _mark_slots(frame, slots)
            if not bits and not slots:
                return changed
            changed = True
            current = parent
            following = first
            first = parent.first_insn
            index = parent.last_insn
            history = parent.history
            left = len(history)
            top = history[left - 1][0] if left else -1
            code = _OTHER
            if index >= 0:
                code, dst, src = shapes[index] or _shape(w, index)
        else:
            code, dst, src = shapes[index] or _shape(w, index)
        if code:
            if code <= _JOIN:
                if bits & dst:
                    if code == _JOIN:
                        bits |= src
                    else:
                        bits &= ~dst
                        if code == _MOVE:
                            bits |= src
                        elif not bits and not slots:
                            return changed
            elif code == _COMPARE:
                if index == top and history[left - 1][4]:
                    code = _OTHER
            elif code == _COMPARE_REGS:
                if index == top and (history[left - 1][2] or history[left - 1][4]):
                    code = _OTHER
                elif bits & (dst | src):
                    bits |= dst | src
            elif code == _LOAD:
                if bits & dst:
                    flags = history[left - 1][2] if index == top else 0
                    if flags & ON_STACK:
                        if flags >> 4 & 15 != at:
                            code = _OTHER
                        else:
                            bits &= ~dst
                            slots |= 1 << (flags >> 8)
                    else:
                        bits &= ~dst
                        if not bits and not slots:
                            return changed
            elif code == _STORE:
                if bits & dst:
                    code = _OTHER
                elif slots and index == top:
                    flags = history[left - 1][2]
                    if flags & ON_STACK and flags >> 4 & 15 == at and slots >> (flags >> 8) & 1:
                        slots &= ~(1 << (flags >> 8))
                        bits |= src
                        if not bits and not slots:
                            return changed
            elif code == _CALL:
                if bits & src:
                    code = _OTHER
                else:
                    bits &= ~1
                    if not bits and not slots:
                        return changed
            if code == _OTHER:
                masks = Masks(at)
                masks.regs[at] = bits
                masks.slots[at] = slots
                return _walk_back(w, state, current, index, left, following, masks, changed=changed)
        # What the rest of the way was gone for before needn't be followed.
        if current is state and (index == top or traced_from[index]):
            here = (left, index, at)
            wanted = slots << 16 | bits
            known = traced.get(here, 0)
            if known:
                bits &= ~known
                slots &= ~(known >> 16)
                if not bits and not slots:
                    return changed
            if index == top:
                traced[here] = known | wanted


def _mark_regs(frame: Frame, bits: int) -> int:
    """Says of a remembered state that these registers count; which of them are numbers that didn't so far."""
    keep = 0
    bits &= ~frame.precise
    regs = frame.regs
    for number in range(11):
        if bits >> number & 1 and regs[number].type == SCALAR:
            keep |= 1 << number
    frame.precise |= keep
    return keep


def _mark_slots(frame: Frame, bits: int) -> int:
    keep = 0
    bits &= ~frame.precise_slots
    if bits:
        for spi, slot in frame.stack.items():
            if bits >> spi & 1 and slot.kinds[0] == 1 and slot.reg.type == SCALAR:
                keep |= 1 << spi
        frame.precise_slots |= keep
    return keep


def _walk_back(
    w: Walk,
    state: State,
    current: State,
    last: int,
    left: int,
    following: int,
    masks: Masks,
    *,
    changed: bool,
) -> bool:
    """Goes on with the trace from `state` at instruction `last` of `current`'s path, of whose history `left`
    entries are before it. `following` is the instruction that was looked at before (-1: none; then `last`
    is where the trace begins, which isn't looked at itself).
    """
    skip = following < 0
    first = current.first_insn
    regs, slots = masks.regs, masks.slots
    traced, traced_from, shapes = state.traced, w.traced_from, w.shapes
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
        index = last
        while True:
            here = left > 0 and history[left - 1][0] == index
            touched = False
            if skip:
                skip = False
            else:
                code, dst, src = shapes[index] or _shape(w, index)
                bits = regs[masks.frame]
                if code <= _JOIN or code == _LOAD:
                    touched = bool(code and bits & dst)
                elif code == _COMPARE:
                    touched = here and bool(history[left - 1][4])
                elif code == _COMPARE_REGS:
                    touched = bool(bits & (dst | src)) or (here and bool(history[left - 1][4]))
                elif code == _STORE:
                    touched = bool(bits & dst) or (here and bool(history[left - 1][2] & ON_STACK))
                elif code == _CALL:
                    touched = bool(bits & (1 | src))
                else:
                    touched = True
                if touched:
                    try:
                        _back(w, index, following, history[left - 1] if here else None, masks)
                    except _GiveUp:
                        _mark_all(state)
                        return True
                    at = masks.frame
                    if not regs[at] and not slots[at] and masks.empty:
                        return changed
            if following >= 0 and current is state and (here or traced_from[index]):
                at = masks.frame
                known = traced.get((left, index, at), 0)
                wanted = masks.code
                if known and not wanted & ~known:
                    return changed
                if here:
                    traced[left, index, at] = known | wanted
            following = index
            if index == current.first_insn and (not left or (left == 1 and history[0][0] == index)):
                break
            if here:
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
        left = len(current.history)
        for number in range(masks.frame, -1, -1):
            frame = current.frames[number]
            if regs[number]:
                regs[number] = _mark_regs(frame, regs[number])
                changed = changed or bool(regs[number])
            if slots[number]:
                slots[number] = _mark_slots(frame, slots[number])
                changed = changed or bool(slots[number])
        if masks.empty:
            return changed
        following = first
        last = current.last_insn
        first = current.first_insn
    if not masks.empty:
        _mark_all(state)
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
