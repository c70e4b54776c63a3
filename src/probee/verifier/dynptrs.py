"""Dynamic pointers: two stack slots that stand for a piece of memory whose size isn't known."""

from __future__ import annotations

from probee.verifier import stack
from probee.verifier.access import access
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.state import _KINDS as KINDS
from probee.verifier.state import (
    DYN,
    DYNPTR,
    EMPTY_SLOT,
    STACK,
    UNKNOWN_REG,
    Frame,
    Reg,
    Slot,
    pointer,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.walk import Walk

COUNTED = ("ringbuf", "file")


def slot_of(w: Walk, reg: Reg, word: str, slots: int) -> int:
    """The number of the (upper) stack slot that an object on the stack begins at.

    Raises:
        Reject: it isn't at a fixed, aligned place.
    """
    if reg.num.mask:
        raise Reject(f"{word} has to be at a constant offset")
    off = reg.off + reg.num.smin
    spi = (-off - 1) >> 3
    if off % 8 or spi + 1 < slots or off >= 0:
        raise Reject(f"cannot pass in {word} at an offset={off}")
    return spi


def mark(w: Walk, reg: Reg, kind: str, ref: int = 0, clone: Reg | None = None) -> None:
    """Makes the two slots a dynptr."""
    frame = stack.frame_of(w, reg)
    spi = slot_of(w, reg, "dynptr", 2)
    stack.destroy_dynptr(w, frame, spi)
    stack.destroy_dynptr(w, frame, spi - 1)
    id = w.new_id()
    if clone is None and kind in COUNTED:
        ref = w.acquire()
    elif clone is not None:
        ref = clone.ref
    for number, first in ((spi, True), (spi - 1, False)):
        item = pointer(DYNPTR, detail=(kind, first), id=id, ref=ref)
        frame.stack[number] = Slot(KINDS[DYN], item)


def main_of(w: Walk, reg: Reg) -> Reg | None:
    """The dynptr that the register points to (on the stack) or is."""
    if reg.type & 0xFF == DYNPTR:
        return reg
    if reg.type != STACK or reg.num.mask:
        return None
    slot = stack.frame_of(w, reg).stack.get((-(reg.off + reg.num.smin) - 1) >> 3)
    return slot.reg if slot is not None and slot.kinds[0] == DYN else None


def is_initialised(w: Walk, reg: Reg) -> bool:
    if reg.type & 0xFF == DYNPTR:
        return True
    spi = slot_of(w, reg, "dynptr", 2)
    frame = stack.frame_of(w, reg)
    slot, lower = frame.stack.get(spi), frame.stack.get(spi - 1)
    if slot is None or lower is None or slot.kinds[0] != DYN or lower.kinds[0] != DYN:
        return False
    w.read_slots(frame.number, 3 << spi - 1)
    return bool(slot.reg.detail and slot.reg.detail[1])


def check_argument(
    w: Walk, number: int, reg: Reg, kind: str, clone: Reg | None = None, word: str = ""
) -> None:
    """An argument of kind `dynptr`, `dynptr:TYPE`, `uninit_dynptr:TYPE`.

    Raises:
        Reject: the register isn't one of these.
    """
    if reg.type & 0xFF not in (STACK, DYNPTR):
        raise Reject(f"arg#{number - 1} expected pointer to stack or const struct bpf_dynptr")
    wanted = kind.partition(":")[2]
    if kind.startswith("release:"):
        wanted = kind.rpartition(":")[2]
        wanted = "" if wanted == "dynptr" else wanted
    if "uninit_" in kind:
        if reg.type & 0xFF == DYNPTR:
            raise Reject("Dynptr has to be an uninitialized dynptr")
        try:
            spi = slot_of(w, reg, "dynptr", 2)
        except Reject as reject:
            raise Reject(f"{reject.message}\nDynptr has to be an uninitialized dynptr") from None
        if not w.context.at_least(6, 3):
            held = stack.frame_of(w, reg).stack
            if any(DYN in held.get(slot, EMPTY_SLOT).kinds for slot in (spi, spi - 1)):
                raise Reject("Dynptr has to be an uninitialized dynptr")
        for at in (0, 8):
            access(w, reg, number, at, 8, write=True)
        mark(w, reg, wanted, clone=clone)
        return
    if reg.type & 0xFF == DYNPTR and "rdonly" not in kind and not _reads_only(kind):
        raise Reject("cannot pass pointer to const bpf_dynptr, the helper mutates it")
    try:
        good = is_initialised(w, reg)
    except Reject as reject:
        raise Reject(f"{reject.message}\nExpected an initialized dynptr as arg #{number - 1}") from None
    if not good:
        raise Reject(f"Expected an initialized dynptr as arg #{number - 1}")
    main = main_of(w, reg)
    assert main is not None
    assert main.detail is not None
    if wanted and main.detail[0] != wanted:
        raise Reject(f"Expected a dynptr of type {wanted} as arg #{number - 1}")


def _reads_only(kind: str) -> bool:
    return not kind.startswith("release:")


def identity(w: Walk, reg: Reg) -> tuple[int, int]:
    """(id, reference) of a dynptr, for the slices made of it."""
    main = main_of(w, reg)
    return (main.id, main.ref) if main is not None else (0, 0)


def kind(w: Walk, reg: Reg) -> str:
    main = main_of(w, reg)
    return str(main.detail[0]) if main is not None and main.detail else ""


def release(w: Walk, reg: Reg) -> None:
    """Ends the dynptr; one that counts ends its clones with it."""
    frame = stack.frame_of(w, reg)
    spi = slot_of(w, reg, "dynptr", 2)
    slot = frame.stack[spi]
    ref = slot.reg.ref
    if not ref:
        drop(w, frame, spi)
        return
    w.release(ref)
    for other in w.state.frames:
        for number, item in list(other.stack.items()):
            if item.kinds[0] == DYN and item.reg.ref == ref:
                other.stack[number] = EMPTY_SLOT


def drop(w: Walk, frame: Frame, spi: int) -> None:
    id = frame.stack[spi].reg.id
    frame.stack[spi] = frame.stack[spi - 1] = EMPTY_SLOT
    w.replace(w.state, lambda reg: UNKNOWN_REG if reg.uid == id and reg.map is None else None)


def check_string(w: Walk, number: int, reg: Reg) -> None:
    """A constant text: it lies in a read-only map whose contents are known."""
    info = reg.map
    assert info is not None
    if not (info.flags & 1 << 7 and info.data is not None):
        raise Reject(f"R{number} does not point to a readonly map'")
    if reg.num.mask:
        raise Reject(f"R{number} is not a constant address'")
    at = reg.off + reg.num.smin
    if 0 not in info.data[at:]:
        raise Reject("string is not zero-terminated")


def check_format(w: Walk, text: Reg, length: Reg) -> None:
    """snprintf's format and the number of its arguments."""
    if length.num.value % 8:
        raise Reject("")
    info = text.map
    if info is None or info.data is None:
        raise Unsupported("snprintf with a format that isn't known here")
    at = text.off + text.num.smin
    body = info.data[at:].split(b"\0")[0]
    wanted = 0
    plain = body.replace(b"%%", b"")
    for part in plain.split(b"%")[1:]:
        if not part:
            raise Reject("Invalid format string")
        wanted += 1
    if wanted > length.num.value // 8 and not length.num.mask:
        raise Reject("Invalid format string")
