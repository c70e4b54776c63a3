"""The program's stack: what stores put there and loads find."""

from __future__ import annotations

from probee.verifier.alu import with_id
from probee.verifier.errors import Reject
from probee.verifier.precision import mark_precise
from probee.verifier.scalars import U64, const, sync, truncate
from probee.verifier.state import (
    ADD_CONST,
    ALL_MISC,
    ALL_SPILL,
    ALL_ZERO,
    DYN,
    EMPTY_SLOT,
    INVALID,
    IRQ,
    ITER,
    MISC,
    MISC_SLOT,
    NOT_INIT,
    SCALAR,
    SPILL,
    STACK,
    UNINIT,
    UNKNOWN_REG,
    ZERO,
    ZERO_REG,
    ZERO_SLOT,
    Frame,
    Reg,
    Slot,
    scalar,
    tied,
)
from probee.verifier.text import bits_text
from probee.verifier.walk import ON_STACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.walk import Walk

SIZE = 512
MAX_OFFSET = 1 << 29


def frame_of(w: Walk, reg: Reg) -> Frame:
    return w.state.frames[reg.frame]


def check_bounds(w: Walk, reg: Reg, number: int, off: int, size: int, what: str) -> None:
    """The access lies in the frame's 512 bytes. `what`: " read from", " write to", " indirect access to".

    Raises:
        Reject: it doesn't.
    """
    num = reg.num
    if not num.mask:
        low = num.smin + off
        high = low + size
    else:
        if num.smax >= MAX_OFFSET or num.smin <= -MAX_OFFSET:
            raise Reject(f"invalid unbounded variable-offset{what} stack R{number}")
        low = num.smin + off
        high = num.smax + off + size
    if not -SIZE <= low <= -1 or high > 0 or size < 0:
        if not num.mask:
            raise Reject(f"invalid{what} stack R{number} off={off} size={size}")
        raise Reject(
            f"invalid variable-offset{what} stack R{number} var_off={bits_text(num)} off={off} size={size}"
        )
    frame = frame_of(w, reg)
    if not w.context.old_stack:
        frame.allocated = max(frame.allocated, (7 - low) >> 3)
    elif what == " read from" and -low > frame.allocated * 8:
        # Before 6.8 only stores make the stack grow.
        if not num.mask:
            raise Reject(f"invalid{what} stack R{number} off={off} size={size}")
        raise Reject(
            f"invalid variable-offset{what} stack R{number} var_off={bits_text(num)} off={off} size={size}"
        )
    w.grow_stack(frame, -low)


def destroy_dynptr(w: Walk, frame: Frame, spi: int) -> None:
    """Writing over a dynptr ends it; one that holds something mustn't be lost.

    Raises:
        Reject: it holds something.
    """
    slot = frame.stack.get(spi)
    if slot is None or slot.kinds[0] != DYN or not w.context.at_least(6, 3):
        return
    detail = slot.reg.detail
    assert detail is not None
    if not detail[1]:
        spi += 1
        slot = frame.stack[spi]
    if slot.reg.ref:
        raise Reject("cannot overwrite referenced dynptr")
    id = slot.reg.id
    frame.stack[spi] = frame.stack[spi - 1] = EMPTY_SLOT
    if id:
        w.replace(w.state, lambda reg: UNKNOWN_REG if reg.uid == id and reg.map is None else None)


def _scrub(kinds: bytes) -> bytes:
    """A slot's bytes after the spilled register in it is gone."""
    if kinds[0] >= DYN:
        return ALL_MISC
    return bytes([MISC if kind == SPILL else kind for kind in kinds])


def write(w: Walk, reg: Reg, number: int, off: int, size: int, value: int, imm: int | None) -> None:
    """A store of register `value` (-1: none) or the constant `imm` (None: something unknown)."""
    frame = frame_of(w, reg)
    old = w.context.old_stack
    if old:
        frame.allocated = max(frame.allocated, (7 - reg.num.smin - off) >> 3)
    if reg.num.mask:
        _write_somewhere(w, frame, reg, off, size, value, imm)
        return
    off += reg.num.smin
    spi = (-off - 1) >> 3
    destroy_dynptr(w, frame, spi)
    at = off & 7
    source = w.regs[value] if value >= 0 else None
    flags = ON_STACK | frame.number << 4 | spi << 8
    stack = frame.stack
    # A spill begins at the lowest address of its slot.
    if old and source is not None and source.type == SCALAR:
        if at == 0 and source.num is not UNKNOWN_REG.num and source.num is not ZERO_REG.num:
            if number != 10:
                mark_precise(w, value)
            fits = source.num.umax.bit_length() <= size * 8
            _spill(stack, spi, source if fits else tied(source.num, 0), size)
            w.note(flags)
        else:
            _plain(w, frame, spi, at, size, value, source.num is ZERO_REG.num)
    elif old and at == 0 and source is None and imm == 0:
        _plain(w, frame, spi, at, size, value, True)
    elif at == 0 and source is not None and source.type == SCALAR:
        fits = source.num.umax.bit_length() <= size * 8
        if fits:
            source = with_id(w, w.regs, value, source)
        _spill(stack, spi, source if fits else tied(source.num, 0), size)
        w.note(flags)
    elif at == 0 and source is None and imm is not None:
        _spill(stack, spi, scalar(const(imm)), size)
        w.note(flags)
    elif source is not None and source.type != SCALAR:
        if size != 8:
            raise Reject("invalid size of register spill")
        if frame is not w.frame and source.type == STACK:
            raise Reject("cannot spill pointers to stack into stack frame of the caller")
        stack[spi] = Slot(ALL_SPILL, source)
        w.note(flags)
    else:
        zero = imm == 0 or (source is not None and source.type == SCALAR and source.num is ZERO_REG.num)
        _plain(w, frame, spi, at, size, value, zero)


def _plain(w: Walk, frame: Frame, spi: int, at: int, size: int, value: int, zero: bool) -> None:
    """Bytes of which no more is remembered than whether they are 0."""
    if zero and value >= 0:
        mark_precise(w, value)
    before = frame.stack.get(spi, EMPTY_SLOT)
    kinds = bytearray(_scrub(before.kinds))
    kinds[at : at + size] = bytes([ZERO if zero else MISC]) * size
    frame.stack[spi] = Slot(bytes(kinds), before.reg if kinds[0] == SPILL else UNINIT)


def _spill(stack: dict[int, Slot], spi: int, reg: Reg, size: int) -> None:
    if size == 8:
        stack[spi] = Slot(ALL_SPILL, reg)
        return
    kinds = _scrub(stack.get(spi, EMPTY_SLOT).kinds)
    rest = bytes([kind if kind in (ZERO, INVALID) else MISC for kind in kinds[size:]])
    stack[spi] = Slot(ALL_SPILL[:size] + rest, reg)


def spill(w: Walk, reg: Reg, off: int, value: int) -> bool:
    """The usual store of a whole register into a slot of its own function that was used before. False: it is
    something else, nothing is done.
    """
    off += reg.off
    frame = w.frame
    if off & 7 or reg.frame != frame.number or not -SIZE <= off < 0:
        return False
    spi = (-off - 1) >> 3
    stack = frame.stack
    before = stack.get(spi)
    if before is None or before.kinds[0] >= DYN:
        return False
    regs = w.regs
    source = regs[value]
    if source.type == SCALAR:
        if source.id & ADD_CONST or (source.num.mask and not source.id):
            source = with_id(w, regs, value, source)
    elif source.type == NOT_INIT:
        return False
    stack[spi] = Slot(ALL_SPILL, source)
    if frame.allocated <= spi:
        frame.allocated = spi + 1
    w.grow_stack(frame, -off)
    w.note(ON_STACK | frame.number << 4 | spi << 8)
    return True


def fill(w: Walk, reg: Reg, off: int, dst: int) -> bool:
    """The usual load of a whole register from where it was spilled. False: it is something else, nothing is
    done.
    """
    off += reg.off
    if off & 7 or off >= 0:
        return False
    spi = (-off - 1) >> 3
    slot = w.state.frames[reg.frame].stack.get(spi)
    if slot is None or slot.kinds != ALL_SPILL:
        return False
    w.regs[dst] = slot.reg
    w.note(ON_STACK | reg.frame << 4 | spi << 8)
    return True


def _write_somewhere(
    w: Walk, frame: Frame, reg: Reg, off: int, size: int, value: int, imm: int | None
) -> None:
    """A store at a variable offset: any slot in its range may have been written."""
    low, high = reg.num.smin + off, reg.num.smax + off + size
    source = w.regs[value] if value >= 0 else None
    zero = imm == 0 or (source is not None and source.type == SCALAR and source.num is ZERO_REG.num)
    kept_zero = False
    for spi in range((-high) >> 3, ((-low - 1) >> 3) + 1):
        destroy_dynptr(w, frame, spi)
    for at in range(low, high):
        spi = (-at - 1) >> 3
        slot = frame.stack.get(spi, EMPTY_SLOT)
        kind = slot.kinds[at & 7]
        if (
            zero
            and kind == SPILL
            and slot.spilled
            and slot.reg.type == SCALAR
            and slot.reg.num is ZERO_REG.num
        ):
            kept_zero = True
            continue
        kinds = bytearray(_scrub(slot.kinds))
        if zero and kind == ZERO:
            kept_zero = True
            kinds[at & 7] = ZERO
        else:
            kinds[at & 7] = MISC
        frame.stack[spi] = Slot(bytes(kinds))
    if kept_zero and value >= 0:
        mark_precise(w, value)


def load(w: Walk, reg: Reg, number: int, off: int, size: int, dst: int) -> Reg | None:
    """What a load gives (None: nothing is asked for, `dst` is -1).

    Raises:
        Reject: part of a pointer would be read.
    """
    if reg.num.mask:
        if dst < 0:
            raise Reject(
                "variable offset stack pointer cannot be passed into helper function; "
                f"var_off={bits_text(reg.num)} off={off} size={size}"
            )
        check_range(w, reg, number, off, size, zero_allowed=False, helper=False, raw=None)
        low, high = reg.num.smin + off, reg.num.smax + off + size
        return _bytes(w, frame_of(w, reg), low, high)
    off += reg.num.smin
    frame = frame_of(w, reg)
    spi = (-off - 1) >> 3
    at = off & 7
    slot = frame.stack.get(spi)
    if slot is None:
        w.read_slots(frame.number, 1 << spi)
        return UNKNOWN_REG
    w.read_slots(frame.number, 1 << spi)
    kinds = slot.kinds
    if kinds[0] == SPILL:
        found = slot.reg
        if size == 8 and kinds == ALL_SPILL:
            w.note(ON_STACK | frame.number << 4 | spi << 8)
            return found
        if found.type != SCALAR:
            raise Reject("invalid size of register fill")
        if dst < 0:
            return None
        spilled = kinds.count(SPILL)
        if w.context.old_stack and (size != spilled or at):
            part = kinds[at : at + size]
            _check_readable(part.replace(bytes([ZERO]), bytes([IRQ])), off, size)
            return UNKNOWN_REG
        if size <= spilled and at == 0:
            w.note(ON_STACK | frame.number << 4 | spi << 8)
            if found.num.umax.bit_length() > size * 8:
                found = tied(found.num, 0)
            return found
        part = kinds[at : at + size]
        _check_readable(part, off, size)
        if part.count(SPILL) == size and not found.num.mask and not found.num.value:
            w.note(ON_STACK | frame.number << 4 | spi << 8)
            return ZERO_REG
        return ZERO_REG if part.count(ZERO) == size else UNKNOWN_REG
    part = kinds[at : at + size]
    _check_readable(part, off, size)
    if dst < 0:
        return None
    return ZERO_REG if part.count(ZERO) == size else UNKNOWN_REG


def _check_readable(part: bytes, off: int, size: int) -> None:
    for at, kind in enumerate(part):
        if kind not in (MISC, ZERO, INVALID, SPILL):
            raise Reject(f"invalid read from stack off {off}+{at} size {size}")


def _bytes(w: Walk, frame: Frame, low: int, high: int) -> Reg:
    for at in range(low, high):
        slot = frame.stack.get((-at - 1) >> 3)
        if slot is None or slot.kinds[at & 7] != ZERO:
            return UNKNOWN_REG
    return ZERO_REG


def check_range(
    w: Walk,
    reg: Reg,
    number: int,
    off: int,
    size: int,
    *,
    zero_allowed: bool,
    helper: bool,
    raw: list[tuple[int, int]] | None,
    writes: bool = True,
) -> None:
    """A helper (or a load at a variable offset) may use all of these bytes.

    `raw`: the bytes are only written, and which (register, size) is put there.

    Raises:
        Reject: out of bounds, or a byte is neither data nor a spilled register.
    """
    clobbers = helper and writes
    if size == 0 and not zero_allowed:
        raise Reject("invalid zero-sized read")
    permissive = clobbers or (helper and w.context.old_stack)
    check_bounds(w, reg, number, off, size, " write to" if permissive else " read from")
    num = reg.num
    frame = frame_of(w, reg)
    if not num.mask:
        low = high = num.smin + off
    else:
        low, high = num.smin + off, num.smax + off
        raw = None
    stack = frame.stack
    if raw is not None:
        for at in range(low, high + size):
            slot = stack.get((-at - 1) >> 3)
            if slot is not None and slot.kinds[at & 7] == DYN:
                raise Reject(f"potential write to dynptr at off={at} disallowed")
        raw.append((number, size))
        return
    written = frame.allocated if w.context.old_stack else SIZE
    for at in range(low, high + size):
        spi = (-at - 1) >> 3
        if spi >= written:
            indirect = "indirect " if helper else ""
            where = f"var_off {bits_text(num)}" if num.mask else f"off {low}"
            raise Reject(f"invalid {indirect}read from stack R{number} {where}+{at - low} size {size}")
        slot = stack.get(spi, EMPTY_SLOT)
        w.read_slots(frame.number, 1 << spi)
        kind = slot.kinds[at & 7]
        if kind == MISC:
            continue
        if kind in (ZERO, INVALID):
            if clobbers:
                kinds = bytearray(slot.kinds)
                kinds[at & 7] = MISC
                stack[spi] = Slot(bytes(kinds), slot.reg)
            continue
        if slot.kinds[0] == SPILL:
            if clobbers:
                stack[spi] = Slot(_scrub(slot.kinds))
            continue
        if not num.mask:
            raise Reject(f"invalid read from stack R{number} off {low}+{at - low} size {size}")
        raise Reject(f"invalid read from stack R{number} var_off {bits_text(num)}+{at - low} size {size}")


def is_special(slot: Slot) -> bool:
    return slot.kinds[0] in (DYN, ITER, IRQ)


__all__ = ["ALL_ZERO", "MISC_SLOT", "U64", "ZERO_SLOT", "sync", "truncate"]
