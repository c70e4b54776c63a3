"""Saved interrupt flags: a stack slot that the kernel filled, to be given back in the reverse order."""

from __future__ import annotations

from probee.verifier import dynptrs, stack
from probee.verifier.access import access
from probee.verifier.errors import Reject
from probee.verifier.state import _KINDS as KINDS
from probee.verifier.state import EMPTY_SLOT, IRQ, REF_IRQ, STACK, Reg, Slot, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.walk import Walk

_SAVES = {"bpf_local_irq_save", "bpf_res_spin_lock_irqsave"}


def check(w: Walk, function: str, number: int, reg: Reg) -> None:
    """The argument of `function` that flags are saved to or restored from; it's done here.

    Raises:
        Reject: the stack doesn't hold what the function expects, or the order is wrong.
    """
    at = number - 1
    if reg.type != STACK:
        raise Reject(f"arg#{at} doesn't point to an irq flag on stack")
    family = "lock" if "spin" in function else "native"
    frame = stack.frame_of(w, reg)
    saves = function in _SAVES
    state = "uninitialized" if saves else "an initialized"
    try:
        spi = dynptrs.slot_of(w, reg, "irq_flag", 1)
    except Reject as reject:
        raise Reject(f"{reject.message}\nexpected {state} irq flag as arg#{at}") from None
    slot = frame.stack.get(spi, EMPTY_SLOT)
    if saves:
        if IRQ in slot.kinds:
            raise Reject(f"expected {state} irq flag as arg#{at}")
        access(w, reg, number, 0, 8, write=True)
        id = w.acquire(REF_IRQ)
        w.state.irq_id = id
        frame.stack[spi] = Slot(KINDS[IRQ], pointer(STACK, id=id, detail=(family,)))
        return
    if slot.kinds != KINDS[IRQ] or not slot.reg.id or slot.reg.detail is None:
        raise Reject(f"expected {state} irq flag as arg#{at}")
    w.read_slots(frame.number, 1 << spi)
    saved_by = str(slot.reg.detail[0])
    if saved_by != family:
        raise Reject(f"irq flag acquired by {saved_by} kfuncs cannot be restored with {family} kfuncs")
    _restore(w, slot.reg.id)
    frame.stack[spi] = EMPTY_SLOT


def _restore(w: Walk, id: int) -> None:
    held = w.state.held
    active = w.state.irq_id
    if id != active:
        taken = next((item[2] for item in held if item[1] == active), 0)
        raise Reject(
            f"cannot restore irq state out of order, expected id={active} acquired at insn_idx={taken}"
        )
    w.drop_held(id, REF_IRQ)
    w.state.irq_id = next((item[1] for item in reversed(w.state.held) if item[0] == REF_IRQ), 0)
