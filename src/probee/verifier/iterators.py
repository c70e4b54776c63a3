"""Open-coded iterators: their state on the stack, and the two ways a step may go."""

from __future__ import annotations

from probee.btf.kinds import PTR
from probee.verifier import dynptrs, fields, stack
from probee.verifier.access import access
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.jumps import not_null
from probee.verifier.prune import ACTIVE, DRAINED, previous_entry, widen
from probee.verifier.state import _KINDS as KINDS
from probee.verifier.state import (
    EMPTY_SLOT,
    ITER,
    RCU,
    STACK,
    TRUSTED,
    UNTRUSTED,
    ZERO_REG,
    Reg,
    Slot,
    State,
    pointer,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.kfunc_arguments import Given
    from probee.verifier.walk import Walk


def check(w: Walk, given: Given, number: int, reg: Reg, type_id: int) -> None:
    """The iterator argument of a function that makes, steps or ends one (or takes one).

    Raises:
        Reject: the stack doesn't hold what the function expects.
    """
    at = number - 1
    if reg.type != STACK:
        raise Reject(f"arg#{at} expected pointer to an iterator on stack")
    type = given.btf.type(type_id)
    word = type.name.removeprefix("bpf_")
    slots = type.size // 8
    rules = given.rules
    frame = stack.frame_of(w, reg)
    if rules.iter == "new":
        try:
            spi = dynptrs.slot_of(w, reg, "iter", slots)
        except Reject as reject:
            raise Reject(f"{reject.message}\nexpected uninitialized {word} as arg #{at}") from None
        for item in range(spi - slots + 1, spi + 1):
            slot = frame.stack.get(item)
            if slot is not None and ITER in slot.kinds:
                raise Reject(f"expected uninitialized {word} as arg #{at}")
        for offset in range(0, slots * 8, 8):
            access(w, reg, number, offset, 8, write=True)
        flags = 0
        if rules.rcu_protected:
            flags = RCU if w.in_rcu else UNTRUSTED
        ref = w.acquire()
        for item in range(slots):
            state = pointer(STACK | flags, detail=(type_id, ACTIVE, 0), ref=ref if item == 0 else 0)
            frame.stack[spi - item] = Slot(KINDS[ITER], state)
        return
    try:
        spi = dynptrs.slot_of(w, reg, "iter", slots)
    except Reject as reject:
        raise Reject(f"{reject.message}\nexpected an initialized {word} as arg #{at}") from None
    for item in range(slots):
        slot = frame.stack.get(spi - item)
        if slot is not None and slot.kinds[0] == ITER and slot.reg.type & UNTRUSTED:
            raise Reject(f"expected an RCU CS when using {given.name}")
        good = (
            slot is not None
            and slot.kinds == KINDS[ITER]
            and slot.reg.detail is not None
            and slot.reg.detail[0] == type_id
            and bool(slot.reg.ref) == (item == 0)
        )
        if not good:
            raise Reject(f"expected an initialized {word} as arg #{at}")
        w.read_slots(frame.number, 1 << spi - item)
    main = frame.stack[spi].reg
    given.iterator = (frame.number, spi)
    given.iterator_flags = RCU if main.type & RCU else TRUSTED
    given.ref = main.ref
    if rules.iter == "destroy":
        w.release(main.ref)
        for item in range(slots):
            frame.stack[spi - item] = EMPTY_SLOT


def _set(state: State, where: tuple[int, int], phase: int, depth: int) -> None:
    frame = state.frames[where[0]]
    slot = frame.stack[where[1]]
    detail = slot.reg.detail
    assert detail is not None
    frame.stack[where[1]] = Slot(slot.kinds, slot.reg.but(detail=(detail[0], phase, depth)))


def advance(w: Walk, index: int, given: Given) -> None:
    """A step: nothing is left (walked first), or there is another item (put aside)."""
    where = given.iterator
    if where is None:
        raise Unsupported("a step of an unknown iterator")
    detail = w.state.frames[where[0]].stack[where[1]].reg.detail
    assert detail is not None
    phase, depth = int(str(detail[1])), int(str(detail[2]))
    if phase == ACTIVE:
        parent = w.state.parent
        before = previous_entry(parent.parent if parent is not None else None, index, w.state)
        other = w.fork(index + 1, index)
        _set(other, where, ACTIVE, depth + 1)
        if before is not None:
            widen(w, before, other)
        regs = other.frames[-1].regs
        regs[0] = not_null(w, regs[0])
    _set(w.state, where, DRAINED, depth)
    w.regs[0] = ZERO_REG


__all__ = ["PTR", "advance", "check", "fields"]
