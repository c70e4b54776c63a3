"""Steps of jumps: which way a comparison goes, and what is learnt on either."""

from __future__ import annotations

from operator import attrgetter

from probee.isa.insn import JA, JCOND, JEQ, JGE, JGT, JLE, JLT, JMP, JMP32, JNE, X
from probee.verifier import branches
from probee.verifier.alu import read
from probee.verifier.errors import Reject
from probee.verifier.flowgraph import jump_target
from probee.verifier.precision import mark_precise
from probee.verifier.prune import previous_entry, widen
from probee.verifier.scalars import Num, const, raw, s32
from probee.verifier.state import (
    ADD_CONST,
    AT_PACKET_END,
    BASE,
    BEYOND_PACKET_END,
    BTF_ID,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    NON_OWN_REF,
    NOT_INIT,
    PACKET,
    PACKET_END,
    PACKET_META,
    RCU,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    TRUSTED,
    UNTRUSTED,
    XDP_SOCK,
    ZERO_REG,
    Reg,
    Slot,
    State,
    tied,
)
from probee.verifier.walk import DST_STACK, SRC_STACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.isa.insn import Insn
    from probee.verifier.walk import Walk

    Step = Callable[[], int]

Linked = tuple[tuple[int, bool, int], ...]
_MOST_LINKED = 6
_MAX_PACKET = 0xFFFF
_SURE = {SOCKET, TCP_SOCK, MAP_VALUE, MAP_KEY, SOCK_COMMON, MAP_PTR}


def make(w: Walk, index: int, insn: Insn) -> Step:
    """The step of a jump (not of calls and exit)."""
    kind, op = insn.opcode & 7, insn.opcode & 0xF0
    if op == JA:
        return _goto(w, index, insn)
    if op == JCOND:
        return _may_goto(w, index, insn)
    if op > JCOND:
        return _refuse(f"invalid BPF_JMP/JMP32 opcode {op:x}")
    if insn.opcode & X:
        return _compare_regs(w, index, insn, kind == JMP32)
    return _compare_imm(w, index, insn, kind == JMP32)


def _refuse(message: str) -> Step:
    def step() -> int:
        raise Reject(message)

    return step


def _goto(w: Walk, index: int, insn: Insn) -> Step:
    to = jump_target(insn, index)
    far = insn.opcode & 7 == JMP32
    if insn.opcode & X or insn.src or insn.dst or (insn.off if far else insn.imm):
        return _refuse("BPF_JA uses reserved fields")

    def step() -> int:
        w.jumps += 1
        return to

    return step


def _may_goto(w: Walk, index: int, insn: Insn) -> Step:
    to = jump_target(insn, index)
    if insn.opcode != JMP | JCOND or insn.src or insn.dst or insn.imm or not insn.off:
        return _refuse(f"invalid may_goto off {insn.off} imm {insn.imm}")

    def step() -> int:
        w.jumps += 1
        before = previous_entry(w.state.parent.parent if w.state.parent else None, index, w.state)
        other = w.fork(index + 1, index)
        other.may_goto_depth += 1
        if before is not None:
            widen(w, before, other)
        return to

    return step


def never_null(w: Walk, reg: Reg) -> bool:
    """Whether the pointer is known not to be NULL."""
    type = reg.type
    if type & MAYBE_NULL:
        return False
    base = type & BASE
    if not w.context.at_least(6, 2):
        return base in _SURE and base != MAP_PTR
    return (
        base in _SURE
        or (base == BTF_ID and (bool(type & TRUSTED) or bool(reg.ref)))
        or (base == MEM and not type & UNTRUSTED)
    )


def _compare_imm(w: Walk, index: int, insn: Insn, is32: bool) -> Step:
    dst, op = insn.dst, insn.opcode & 0xF0
    following, to = index + 1, jump_target(insn, index)
    if insn.src:
        return _refuse("BPF_JMP/JMP32 uses reserved fields")
    value = const(insn.imm)
    taken, sides = w.context.numbers.taken, w.context.numbers.sides
    null_check = not is32 and insn.imm == 0 and op in (JEQ, JNE)
    exact = branches.EXACT[op]
    part = (
        ("s32min" if op in branches.SIGNED else "u32min")
        if is32
        else ("smin" if op in branches.SIGNED else "umin")
    )
    wanted = getattr(value, part)
    own = attrgetter(part)

    def step() -> int:
        w.jumps += 1
        regs = w.regs
        reg = regs[dst] if dst <= 10 else read(regs, dst)
        if reg.type == SCALAR:
            if reg.num.mask:
                way = taken(op, is32, reg.num, value)
            else:
                way = exact(own(reg.num), wanted)
            if way >= 0:
                mark_precise(w, dst)
                return to if way else following
            linked: Linked = ()
            if reg.id:
                linked = collect(w, reg.id)
                reg = regs[dst]
            if linked:
                w.note(0, linked)
            other = w.fork(to, index)
            yes, _, no, _ = sides(op, is32, reg.num, value)
            regs[dst] = _learnt(reg, no)
            other.frames[-1].regs[dst] = _learnt(reg, yes)
            if linked:
                sync_linked(w, w.state, regs[dst], linked)
                sync_linked(w, other, other.frames[-1].regs[dst], linked)
            return following
        if reg.type == NOT_INIT:
            raise Reject(f"R{dst} !read_ok")
        if reg.type == STACK:
            w.note(DST_STACK)
        if null_check and never_null(w, reg):
            return to if op == JNE else following
        other = w.fork(to, index)
        if null_check and reg.type & MAYBE_NULL:
            settle_null(w, w.state, dst, op == JNE)
            settle_null(w, other, dst, op == JEQ)
        return following

    return step


def _learnt(reg: Reg, num: Num) -> Reg:
    return tied(num, reg.id, reg.off)


def _compare_regs(w: Walk, index: int, insn: Insn, is32: bool) -> Step:
    dst, src, op = insn.dst, insn.src, insn.opcode & 0xF0
    following, to = index + 1, jump_target(insn, index)
    if insn.imm:
        return _refuse("BPF_JMP/JMP32 uses reserved fields")
    taken, sides = w.context.numbers.taken, w.context.numbers.sides
    infers = w.context.at_least(6, 2)

    def step() -> int:
        w.jumps += 1
        regs = w.regs
        a, b = read(regs, dst), read(regs, src)
        flags = (SRC_STACK if b.type == STACK else 0) | (DST_STACK if a.type == STACK else 0)
        if flags:
            w.note(flags)
        numbers = a.type == SCALAR and b.type == SCALAR
        way = taken(op, is32, a.num, b.num) if numbers else _pointers_taken(w, op, is32, a, b)
        if way >= 0:
            if a.type == SCALAR:
                mark_precise(w, dst)
            if b.type == SCALAR:
                mark_precise(w, src)
            return to if way else following
        linked: Linked = ()
        if b.type == SCALAR and b.id:
            linked = collect(w, b.id)
        if a.type == SCALAR and regs[dst].id:
            linked += tuple(item for item in collect(w, regs[dst].id, len(linked)) if item not in linked)
        if len(linked) > 1:
            w.note(0, linked)
        a, b = regs[dst], regs[src]
        other = w.fork(to, index)
        theirs = other.frames[-1].regs
        if numbers:
            yes_a, yes_b, no_a, no_b = sides(op, is32, a.num, b.num)
            regs[dst], regs[src] = _learnt(a, no_a), _learnt(b, no_b)
            theirs[dst], theirs[src] = _learnt(a, yes_a), _learnt(b, yes_b)
            if dst == src:
                regs[dst], theirs[dst] = _learnt(a, no_b), _learnt(a, yes_b)
        if len(linked) > 1:
            for number, before in ((src, b), (dst, a)):
                if before.type == SCALAR and before.id:
                    sync_linked(w, w.state, regs[number], linked)
                    sync_linked(w, other, theirs[number], linked)
        pointers = a.type != SCALAR and b.type != SCALAR and BTF_ID not in (a.type & BASE, b.type & BASE)
        if infers and not is32 and pointers and op in (JEQ, JNE):
            equal = theirs if op == JEQ else regs
            if never_null(w, a) and b.type & MAYBE_NULL:
                equal[src] = not_null(w, b)
            if never_null(w, b) and a.type & MAYBE_NULL:
                equal[dst] = not_null(w, a)
        if not is32:
            _match_packet(w, op, dst, src, w.state, other)
        return following

    return step


def _is_packet(reg: Reg) -> bool:
    return reg.type in (PACKET, PACKET_META, PACKET_END)


def _pointers_taken(w: Walk, op: int, is32: bool, a: Reg, b: Reg) -> int:
    if is32:
        return -1
    if _is_packet(a) and _is_packet(b):
        if b.type == PACKET_END:
            packet = a
        elif a.type == PACKET_END:
            packet, op = b, branches.FLIP[op]
        else:
            return -1
        if packet.range >= 0:
            return -1
        if op in (JLE, JGT) and packet.range == BEYOND_PACKET_END:
            return int(op == JGT)
        if op in (JLT, JGE):
            return int(op == JGE)
        return -1
    if b.type != SCALAR or b.num.mask:
        a, b, op = b, a, branches.FLIP[op]
    if b.type != SCALAR or b.num.mask or b.num.value or a.type == SCALAR or not never_null(w, a):
        return -1
    return 0 if op == JEQ else 1 if op == JNE else -1


# Numbers that are the same, or the same but for a constant


def collect(w: Walk, id: int, taken_already: int = 0) -> Linked:
    """Registers and slots tied to `id`; what is beyond the few that are followed is untied."""
    id &= ~ADD_CONST
    found: list[tuple[int, bool, int]] = []
    limit = _MOST_LINKED - taken_already
    frames = w.state.frames
    highest = -1 if w.context.old_stack else 0  # before 6.8 only whole slots were looked at
    for number in range(len(frames) - 1, -1, -1):
        frame = frames[number]
        regs = frame.regs
        for at in range(10):
            reg = regs[at]
            if reg.type == SCALAR and reg.id and reg.id & ~ADD_CONST == id:
                if len(found) < limit:
                    found.append((number, True, at))
                else:
                    regs[at] = tied(reg.num, 0)
        for spi in sorted(frame.stack):
            slot = frame.stack[spi]
            reg = slot.reg
            if reg.id and slot.kinds[highest] == 1 and reg.type == SCALAR and reg.id & ~ADD_CONST == id:
                if len(found) < limit:
                    found.append((number, False, spi))
                else:
                    frame.stack[spi] = Slot(slot.kinds, tied(reg.num, 0))
    if len(found) <= 1 and not taken_already:
        return ()
    return tuple(found)


def sync_linked(w: Walk, state: State, known: Reg, linked: Linked) -> None:
    """Gives what was learnt of `known` to the registers tied to it."""
    base = known.id & ~ADD_CONST
    for number, is_reg, at in linked:
        frame = state.frames[number]
        reg = frame.regs[at] if is_reg else frame.stack[at].reg
        if reg.type != SCALAR or reg is known or not reg.id or reg.id & ~ADD_CONST != base:
            continue
        if not (reg.id | known.id) & ADD_CONST or reg.off == known.off:
            new = known
        else:
            delta = const(s32(reg.off) - s32(known.off))
            # The sum as it is before its bounds are brought in line.
            new = tied(raw(*w.context.numbers.add_fields(known.num, delta)), reg.id, reg.off)
        if is_reg:
            frame.regs[at] = new
        else:
            frame.stack[at] = Slot(frame.stack[at].kinds, new)


# Pointers that may be NULL


def not_null(w: Walk, reg: Reg) -> Reg:
    """The pointer once it is known not to be NULL."""
    if reg.type & BASE == MAP_VALUE and reg.map is not None:
        kind = reg.map.type
        inner = reg.map.inner
        if inner is not None and kind in (12, 13):
            record = w.context.record(inner)
            uid = reg.id if record.has("timer", "wq", "task_work") else 0
            return reg.but(type=MAP_PTR, map=inner, uid=uid)
        if kind == 17:
            return reg.but(type=XDP_SOCK)
        if kind in (15, 18):
            return reg.but(type=SOCKET)
        return reg.but(type=MAP_VALUE)
    return reg.but(type=reg.type & ~MAYBE_NULL)


def settle_null(w: Walk, state: State, number: int, is_null: bool) -> None:
    """On one side of a check for NULL: all copies of the pointer become 0, or sure."""
    reg = state.frames[-1].regs[number]
    id, ref = reg.id, reg.ref
    if ref and ref == id and is_null:
        state.held = tuple(item for item in state.held if item[1] != id)

    def settle(other: Reg) -> Reg | None:
        if not other.type & MAYBE_NULL or other.id != id:
            return None
        if is_null:
            return ZERO_REG
        sure = not_null(w, other)
        if not _may_hold_lock(w, sure):
            sure = sure.but(id=0)
        return sure

    w.replace(state, settle)


def _may_hold_lock(w: Walk, reg: Reg) -> bool:
    return w.context.record_of(reg).has("spin_lock", "res_spin_lock")


# Packets


def _match_packet(w: Walk, op: int, dst: int, src: int, this: State, other: State) -> bool:
    """A comparison of a packet pointer with the packet's end tells how many bytes are there."""
    a, b = this.frames[-1].regs[dst], this.frames[-1].regs[src]
    if op not in (JGT, JLT, JGE, JLE):
        return False
    forward = (a.type == PACKET and b.type == PACKET_END) or (a.type == PACKET_META and _is_start(b))
    backward = (a.type == PACKET_END and b.type == PACKET) or (_is_start(a) and b.type == PACKET_META)
    if not forward and not backward:
        return False
    # Below, `pointer > end` is: true side (other) has nothing, false side (this) has the range.
    number = dst if forward else src
    if backward:
        op = branches.FLIP[op]
    good, bad = (this, other) if op in (JGT, JGE) else (other, this)
    open_end = op in (JGE, JLT)
    reg = a if forward else b
    _good_packet(w, good, reg, open_end)
    _packet_end(bad, number, op in (JGT, JLE))
    return True


def _is_start(reg: Reg) -> bool:
    return reg.type == PACKET and not reg.off and not reg.num.mask and not reg.num.value and not reg.id


def _packet_end(state: State, number: int, beyond: bool) -> None:
    regs = state.frames[-1].regs
    if regs[number].type == PACKET:
        regs[number] = regs[number].but(range=BEYOND_PACKET_END if beyond else AT_PACKET_END)


def _good_packet(w: Walk, state: State, pointer: Reg, open_end: bool) -> None:
    if pointer.off < 0 or (pointer.off == 0 and open_end):
        return
    if pointer.num.umax > _MAX_PACKET or pointer.num.umax + pointer.off > _MAX_PACKET:
        return
    reach = pointer.off + (1 if open_end else 0)
    type, id = pointer.type, pointer.id

    def widen_range(reg: Reg) -> Reg | None:
        if reg.type == type and reg.id == id and reg.range < reach:
            return reg.but(range=reach)
        return None

    w.replace(state, widen_range)


__all__ = ["JMP", "NON_OWN_REF", "RCU", "make", "never_null", "not_null"]
