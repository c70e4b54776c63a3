"""Whether a state was already walked through, in this form or a wider one.

States are remembered at the points the flow analysis marked. A state whose path is finished covers another
if everything it relied on holds there too; one still being walked means a loop, which is either shown to
come round or refused.
"""

from __future__ import annotations

from probee.verifier import tnum
from probee.verifier.errors import Reject
from probee.verifier.precision import Masks, trace, trace_frame
from probee.verifier.scalars import Num
from probee.verifier.state import (
    ADD_CONST,
    ALL_INVALID,
    ALL_SPILL,
    ARENA,
    BASE,
    BUF,
    DYN,
    EMPTY_SLOT,
    INVALID,
    IRQ,
    ITER,
    MAP_KEY,
    MAP_VALUE,
    MEM,
    MISC,
    NOT_INIT,
    PACKET,
    PACKET_META,
    SCALAR,
    SPILL,
    STACK,
    TP_BUFFER,
    UNKNOWN_REG,
    ZERO,
    Frame,
    Reg,
    Slot,
    State,
    scalar,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.walk import Walk

NOT_EXACT, EXACT, RANGE = 0, 1, 2
ACTIVE, DRAINED = 1, 2
# Marks of instructions.
PRUNE, JUMP, CHECKPOINT, ITER_NEXT, MAY_GOTO, CALLS_BACK = 1, 2, 4, 8, 16, 32
_RANGED = {MAP_KEY, MAP_VALUE, MEM, BUF, TP_BUFFER}


class Visit:
    """A loop being walked: the state it was entered by, and the states that came round to earlier ones."""

    __slots__ = ("backedges", "entry")

    def __init__(self) -> None:
        self.entry: State | None = None
        self.backedges: list[State] = []


class Ids:
    """Which id of the old state answers to which of the new one."""

    __slots__ = ("back", "map", "temporary")

    def __init__(self, temporary: int) -> None:
        self.map: dict[int, int] = {}
        self.back: dict[int, int] = {}
        self.temporary = temporary

    def same(self, old: int, new: int) -> bool:
        if not old or not new:
            return old == new
        known = self.map.get(old)
        if known is not None:
            return known == new
        if new in self.back:
            return False
        self.map[old] = new
        self.back[new] = old
        return True

    def same_scalar(self, old: int, new: int) -> bool:
        if not old:
            return True
        if not new:
            self.temporary += 1
            new = self.temporary
        if not self.same(old, new):
            return False
        if old & ADD_CONST:
            return self.same(old & ~ADD_CONST, new & ~ADD_CONST)
        return True


def covers(old: Num, new: Num) -> bool:
    """Every value the new number may have is one of the old one's."""
    if old is new:
        return True
    return (
        old.umin <= new.umin
        and old.umax >= new.umax
        and old.smin <= new.smin
        and old.smax >= new.smax
        and old.u32min <= new.u32min
        and old.u32max >= new.u32max
        and old.s32min <= new.s32min
        and old.s32max >= new.s32max
        and tnum.contains((old.value, old.mask), (new.value, new.mask))
    )


def _same_fields(old: Reg, new: Reg) -> bool:
    return (
        old.type == new.type
        and old.off == new.off
        and old.range == new.range
        and old.size == new.size
        and old.map is new.map
        and old.uid == new.uid
        and old.btf is new.btf
        and old.btf_id == new.btf_id
        and old.detail == new.detail
    )


def _exact(old: Reg, new: Reg, ids: Ids) -> bool:
    return (
        (old.num is new.num or old.num.fields == new.num.fields)
        and _same_fields(old, new)
        and ids.same(old.id, new.id)
        and ids.same(old.ref, new.ref)
    )


def reg_safe(old: Reg, new: Reg, precise: int, ids: Ids, exact: int) -> bool:
    """Whether `new` may stand where `old` was found safe."""
    if exact == EXACT:
        return _exact(old, new, ids) and (old.type != STACK or old.frame == new.frame)
    type = old.type
    if type == NOT_INIT and (exact == NOT_EXACT or new.type == NOT_INIT):
        return True
    if type != new.type:
        return False
    if type == SCALAR:
        if not precise and exact == NOT_EXACT:
            return True
        if old.id & ADD_CONST:
            if not new.id & ADD_CONST or old.off != new.off:
                return False
        elif old.id and new.id & ADD_CONST:
            return False
        return ids.same_scalar(old.id, new.id) and covers(old.num, new.num)
    base = type & BASE
    if base in _RANGED:
        return (
            _same_fields(old, new)
            and covers(old.num, new.num)
            and ids.same(old.id, new.id)
            and ids.same(old.ref, new.ref)
        )
    if base in (PACKET, PACKET_META):
        if old.range < 0 or new.range < 0:
            if old.range != new.range:
                return False
        elif old.range > new.range:
            return False
        return old.off == new.off and ids.same(old.id, new.id) and covers(old.num, new.num)
    if base == ARENA:
        return True
    return _exact(old, new, ids) and (base != STACK or old.frame == new.frame)


def _as_scalar(slot: Slot) -> Reg | None:
    kinds = slot.kinds
    if kinds == b"\1\1\1\1\1\1\1\1":
        return slot.reg if slot.reg.type == SCALAR else None
    return UNKNOWN_REG if _loose(kinds) else None


def _loose(kinds: bytes) -> bool:
    """Nothing in a slot but bytes that anything may stand for."""
    found = _loose_kinds.get(kinds)
    if found is None:
        found = _loose_kinds[kinds] = all(kind in (MISC, INVALID) for kind in kinds)
    return found


_loose_kinds: dict[bytes, bool] = {}


def _stack_differs(old: Frame, new: Frame, ids: Ids, exact: int) -> int:
    """The slot in which `new` isn't covered by `old` (a high number: as a whole), -1 if it is."""
    reach = new.allocated
    if exact != NOT_EXACT and old.allocated > reach:
        return _NO_SLOT
    find = new.stack.get
    for spi, slot in old.stack.items():
        other = find(spi, EMPTY_SLOT)
        kinds, others = slot.kinds, other.kinds
        mine, theirs = slot.reg, other.reg
        if slot is other and not mine.id and not mine.ref and kinds[0] < DYN:
            continue
        if kinds == others == ALL_SPILL and mine.type == SCALAR == theirs.type:
            if spi >= reach:
                return spi
            precise = old.precise_slots >> spi & 1
            if (precise or exact != NOT_EXACT) and not reg_safe(mine, theirs, precise, ids, exact):
                return spi
            continue
        if exact == NOT_EXACT:
            if _loose_kinds.get(kinds):
                continue
        elif kinds != others:
            return spi
        if not _slot_safe(old, slot, other, spi, reach, ids, exact):
            return spi
    if exact != NOT_EXACT:
        # What was written where the old state has nothing yet.
        held, depth = old.stack, old.allocated
        for spi, other in new.stack.items():
            if spi < depth and spi not in held and other.kinds != ALL_INVALID:
                return _NO_SLOT
    return -1


_NO_SLOT = 1 << 16


def _slot_safe(old: Frame, slot: Slot, other: Slot, spi: int, reach: int, ids: Ids, exact: int) -> bool:
    kinds, others = slot.kinds, other.kinds
    if _loose(kinds):
        # Only a spilled number of the new state could still be tied to others: Linux compares those too.
        if exact and any(kinds):
            theirs = _as_scalar(other)
            if theirs and not reg_safe(UNKNOWN_REG, theirs, 0, ids, exact):
                return False
        return True
    if spi >= reach:
        return False
    precise = old.precise_slots >> spi & 1
    a, b = _as_scalar(slot), _as_scalar(other)
    if a is not None and b is not None:
        return reg_safe(a, b, precise, ids, exact)
    for kind, theirs_kind in zip(kinds, others, strict=True):
        if kind in (INVALID, MISC) or kind == theirs_kind:
            continue
        return False
    first = kinds[0]
    if first == SPILL:
        return reg_safe(slot.reg, other.reg, precise, ids, exact)
    a, b = slot.reg, other.reg
    if first in (DYN, ITER):
        if a.detail is None or b.detail is None or a.detail[:2] != b.detail[:2]:
            return False
        return (first == DYN or a.type == b.type) and ids.same(a.ref, b.ref)
    return first != IRQ or (a.detail == b.detail and ids.same(a.ref, b.ref))


def states_equal(w: Walk, old: State, new: State, exact: int) -> bool:
    """Whether `new` is covered by `old`."""
    if len(old.frames) != len(new.frames) or old.in_sleepable != new.in_sleepable:
        return False
    if (
        len(old.held) != len(new.held)
        or old.locks != new.locks
        or old.preempt != new.preempt
        or old.rcu != new.rcu
        or old.lock_what is not new.lock_what
    ):
        return False
    ids = Ids(w.next_id)
    if old.irq_id or new.irq_id or old.lock_id or new.lock_id or old.held:
        if not ids.same(old.irq_id, new.irq_id) or not ids.same(old.lock_id, new.lock_id):
            return False
        for was, now in zip(old.held, new.held, strict=True):
            if was[0] != now[0] or not ids.same(was[1], now[1]) or was[3] is not now[3]:
                return False
    live_of = w.graph.live
    top = len(old.frames) - 1
    for number, frame in enumerate(old.frames):
        other = new.frames[number]
        if frame.callsite != other.callsite or frame.callback_depth > other.callback_depth:
            return False
        live = live_of[new.insn if number == top else old.frames[number + 1].callsite]
        regs, others = frame.regs, other.regs
        precise = frame.precise
        for at in _NUMBERS[live & 0x3FF]:
            a, b = regs[at], others[at]
            if a is b and not a.id and not a.ref:
                continue
            if exact == NOT_EXACT and not precise >> at & 1 and a.type == SCALAR == b.type:
                continue
            if not reg_safe(a, b, precise >> at & 1, ids, exact):
                if a.type == SCALAR and precise >> at & 1:
                    old.differs = (top, number, ~at, a.num)
                return False
        at = _stack_differs(frame, other, ids, exact)
        if at >= 0:
            slot = frame.stack.get(at)
            if frame.precise_slots >> at & 1 and slot is not None and slot.kinds == ALL_SPILL:
                old.differs = (top, number, at, slot.reg.num) if slot.reg.type == SCALAR else None
            return False
    return True


# Numbers of registers, by their bits.
_NUMBERS = [tuple(at for at in range(10) if bits >> at & 1) for bits in range(1 << 10)]


def _still_differs(old: State, new: State) -> bool:
    """A quick look whether the number in which a state differed from `old` last is again beyond what was
    walked.
    """
    if old.differs is None:
        return False
    top, number, at, num = old.differs
    if len(new.frames) != top + 1:
        return False
    if at < 0:
        reg = new.frames[number].regs[~at]
    else:
        slot = new.frames[number].stack.get(at)
        if slot is None or slot.kinds != ALL_SPILL:
            return False
        reg = slot.reg
    other = reg.num
    return (
        reg.type == SCALAR
        and other is not num
        and (other.umin < num.umin or other.umax > num.umax or not covers(num, other))
    )


def loop_key(w: Walk, state: State) -> tuple[tuple[int, ...], int] | None:
    """The loop that the state is in: the calls that lead to it and its number."""
    calls: list[int] = []
    top = len(state.frames) - 1
    for number in range(top + 1):
        index = state.insn if number == top else state.frames[number + 1].callsite
        loop = w.graph.loop_of[index]
        if loop:
            return tuple(calls), loop
        calls.append(index)
    return None


def _unfinished(w: Walk, state: State) -> bool:
    if state.loop is None:
        return False
    visit = w.visits.get(state.loop)
    return visit is not None and bool(visit.backedges)


def path_ended(w: Walk) -> None:
    """The current path is done: states all of whose paths are done have their final marks."""
    state = w.state.parent
    while state is not None:
        state.branches -= 1
        if state.branches:
            return
        _leave_loop(w, state)
        state = state.parent


def _leave_loop(w: Walk, state: State) -> None:
    visit = w.visits.get(state.loop) if state.loop is not None else None
    if visit is None or visit.entry is not state:
        return
    visit.entry = None
    changed = True
    rounds = 0
    while changed and visit.backedges:
        changed = False
        rounds += 1
        for edge in visit.backedges:
            if edge.equal_to is not None and propagate(w, edge.equal_to, edge):
                changed = True
        if rounds > 64:
            for edge in visit.backedges:
                parent: State | None = edge.parent
                while parent is not None:
                    for frame in parent.frames:
                        frame.precise = 0x3FF
                        for spi in frame.stack:
                            frame.precise_slots |= 1 << spi
                    parent = parent.parent
            break
    visit.backedges = []


def propagate(w: Walk, old: State, new: State) -> bool:
    """What counted in `old` counts on the path of `new` as well. Whether any mark was new."""
    top = len(old.frames) - 1
    masks: Masks | None = None
    for number, frame in enumerate(old.frames):
        bits = slots = 0
        for at in _NUMBERS[frame.precise & 0x3FF]:
            if frame.regs[at].type == SCALAR:
                bits |= 1 << at
        if frame.precise_slots:
            for spi, slot in frame.stack.items():
                if frame.precise_slots >> spi & 1 and slot.kinds[0] == SPILL and slot.reg.type == SCALAR:
                    slots |= 1 << spi
        if not bits and not slots:
            continue
        if number == top and masks is None:
            return trace_frame(w, new, new.insn, top, bits, slots)
        if masks is None:
            masks = Masks(top)
        masks.regs[number], masks.slots[number] = bits, slots
    return masks is not None and trace(w, new, new.insn, masks)


def _may_loop(old: State, new: State) -> bool:
    """A quick look whether the innermost frames' registers are all the same."""
    if len(old.frames) != len(new.frames):
        return False
    mine, theirs = old.frames[-1].regs, new.frames[-1].regs
    at = old.hint  # the register that was another one last time
    a, b = mine[at], theirs[at]
    if a is not b and a.num is not b.num and a.num.fields != b.num.fields:
        return False
    for at in range(11):
        a, b = mine[at], theirs[at]
        if a is not b and not _alike(a, b):
            old.hint = at
            return False
    return True


def _alike(a: Reg, b: Reg) -> bool:
    return (
        (a.num is b.num or a.num.fields == b.num.fields)
        and a.id == b.id
        and a.ref == b.ref
        and _same_fields(a, b)
    )


def _iterators_moved(old: State, new: State) -> bool:
    """Whether an iterator that still runs is at another round."""
    for a, b in zip(old.frames, new.frames, strict=True):
        for spi, slot in a.stack.items():
            if slot.kinds[0] == ITER and slot.reg.detail is not None:
                other = b.stack.get(spi)
                if other is None or other.reg.detail is None:
                    continue
                if other.reg.detail[1] == ACTIVE and slot.reg.detail[2] != other.reg.detail[2]:
                    return True
    return False


def visited(w: Walk, index: int, point: int) -> bool:
    """Whether what comes from the current state on is already known to be safe; else it may be remembered.
    `point` has the instruction's marks (`Graph.points`).

    Raises:
        Reject: the program is in an endless loop.
    """
    state = w.state
    checkpoint = point & CHECKPOINT
    jumps, processed = w.jumps - w.last_jumps, w.processed - w.last_processed
    force = bool(checkpoint) or len(state.history) > 40 or w.test_state_freq
    add = force or (jumps >= 2 and processed >= 8)
    patient = not force and jumps < 20 and processed < 100  # soon after the last one was remembered
    frame = state.frames[-1]
    key = (index, frame.callsite)
    remembered = w.explored.get(key)
    if remembered is None:
        remembered = w.explored[key] = []
    regs = frame.regs
    rounds = point & (ITER_NEXT | CALLS_BACK)
    for old in reversed(remembered):
        hit = loop = False
        if old.branches:
            if rounds and _still_differs(old, state):
                old.misses += 1
                if old.misses > old.hits * 64 + 64:
                    remembered[:] = [item for item in remembered if item is not old]
                continue
            old_frame = old.frames[-1]
            if not checkpoint:
                a, b = old_frame.regs[old.hint].num, regs[old.hint].num
                if a is not b and a.value != b.value:  # still another number: no endless loop
                    if patient:
                        add = False
                    elif add:
                        old.misses += 1
                        if old.misses > old.hits * 3 + 3:
                            remembered[:] = [item for item in remembered if item is not old]
                    continue
            if old_frame.in_async and old_frame.async_count != frame.async_count:
                pass
            elif point & ITER_NEXT:
                if states_equal(w, old, state, RANGE) and _iterator_active(state):
                    hit = loop = True
            elif (
                point & MAY_GOTO
                and old.may_goto_depth != state.may_goto_depth
                and states_equal(w, old, state, RANGE)
            ):
                hit = loop = True
            elif point & CALLS_BACK:
                if states_equal(w, old, state, RANGE):
                    hit = loop = True
            elif (
                _may_loop(old, state)
                and states_equal(w, old, state, EXACT if w.context.at_least(6, 7) else NOT_EXACT)
                and not _iterators_moved(old, state)
                and old.may_goto_depth == state.may_goto_depth
                and old.callback_unroll == state.callback_unroll
            ):
                w.context.loop_states = (state, old)
                raise Reject(f"infinite loop detected at insn {index}", index)
            if patient and not hit:
                add = False
        elif not _still_differs(old, state):
            loop = _unfinished(w, old)
            hit = states_equal(w, old, state, RANGE if loop else NOT_EXACT)
        if hit:
            old.hits += 1
            if point & JUMP:
                w.note(0)
            propagate(w, old, state)
            if loop:
                edge = state.copy()
                edge.insn = index
                edge.equal_to = old
                if old.loop is not None:
                    w.visits.setdefault(old.loop, Visit()).backedges.append(edge)
            return True
        if add:
            old.misses += 1
        patience = 64 if checkpoint and old.branches else 3
        if old.misses > old.hits * patience + patience:
            remembered[:] = [item for item in remembered if item is not old]
    if not add:
        return False
    w.total_states += 1
    w.last_jumps = w.jumps
    w.last_processed = w.processed
    new = state.copy()
    new.insn = index
    new.branches = 1
    new.depth = state.depth + 1
    new.loop = loop_key(w, new)
    if new.loop is not None:
        visit = w.visits.setdefault(new.loop, Visit())
        if visit.entry is None:
            visit.entry = new
    remembered.append(new)
    w.peak_states = max(w.peak_states, len(remembered))
    state.parent = new
    state.first_insn = index
    state.depth = new.depth
    state.history = []
    state.traced = {}
    return False


def _iterator_active(state: State) -> bool:
    frame = state.frames[-1]
    reg = frame.regs[1]
    if reg.type != STACK:
        return True
    slot = state.frames[reg.frame].stack.get((-(reg.off + reg.num.smin) - 1) // 8)
    return slot is not None and slot.reg.detail is not None and slot.reg.detail[1] == ACTIVE


def widen(w: Walk, old: State, new: State) -> None:
    """Forgets numbers that changed since the last round of a loop and that nothing asked for."""
    ids = Ids(w.next_id)
    for number in range(len(old.frames) - 1, -1, -1):
        before, after = old.frames[number], new.frames[number]
        for at in range(11):
            a, b = before.regs[at], after.regs[at]
            if a.type == SCALAR == b.type and not before.precise >> at & 1 and not _exact(a, b, ids):
                after.regs[at] = UNKNOWN_REG
        for spi, slot in before.stack.items():
            other = after.stack.get(spi)
            if other is None or slot.kinds[0] != SPILL or other.kinds[0] != SPILL:
                continue
            a, b = slot.reg, other.reg
            if a.type == SCALAR == b.type and not before.precise_slots >> spi & 1 and not _exact(a, b, ids):
                after.stack[spi] = Slot(other.kinds, UNKNOWN_REG)


def previous_entry(state: State | None, index: int, current: State) -> State | None:
    """The state of the path at its last visit of the instruction with the same calls."""
    sites = [frame.callsite for frame in current.frames]
    while state is not None:
        if state.insn == index and [frame.callsite for frame in state.frames] == sites:
            return state
        state = state.parent
    return None


__all__ = ["ZERO", "Visit", "path_ended", "scalar", "states_equal", "visited"]
