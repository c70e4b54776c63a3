"""Internet checksums: sums of 16-bit words in ones' complement, as they lie in memory."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..contexts.checksum import COMPLETE, PARTIAL, UNNECESSARY, Checksum
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_U16, _U32 = 0xFFFF, 0xFFFFFFFF
_SIZES = 15
PSEUDO_HEADER, MANGLED_0, ENFORCE, IPV6 = 1 << 4, 1 << 5, 1 << 6, 1 << 7
_ENOTSUPP = 524
_QUERY, _INCREASE, _DECREASE, _RESET = range(4)


def fold32(total: int) -> int:
    """A sum of any length in 32 bits."""
    while total >> 32:
        total = (total & _U32) + (total >> 32)
    return total


def fold16(total: int) -> int:
    while total >> 16:
        total = (total & _U16) + (total >> 16)
    return total


def partial(data: bytes, seed: int = 0) -> int:
    """The 32-bit sum of some bytes."""
    total = seed
    padded = data + b"\0" * (-len(data) & 3)
    for at in range(0, len(padded), 4):
        total += int.from_bytes(padded[at : at + 4], "little")
    return fold32(total)


def by_difference(checksum: int, difference: int) -> int:
    return ~fold16(fold32((difference & _U32) + (~checksum & _U16))) & _U16


def _replace(checksum: int, old: int, new: int) -> int:
    total = (~checksum & _U16) + (~old & _U32) + new
    return ~fold16(fold32(total)) & _U16


@helper("csum_diff")
def csum_diff(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    old_size, new_size = r2 & _U32, r4 & _U32
    if (old_size | new_size) & 3:
        return -errno.EINVAL
    seed = r5 & _U32
    old = cpu.memory.read(r1, old_size) if old_size else b""
    new = cpu.memory.read(r3, new_size) if new_size else b""
    if not old and not new:
        return fold16(seed)
    total = partial(new, seed)
    if old:
        total = fold32(total + (~partial(old) & _U32))
    return fold16(total)


def _change(cpu: MachineCpu, address: int, offset: int, size: int, old: int, new: int) -> int | bytes:
    context = cpu.machine.context_at(cpu, address)
    if offset > _U16 or offset & 1:
        return -errno.EFAULT
    found: bytes | None = context.packet.read(offset, 2)
    if found is None:
        return -errno.EFAULT
    value = int.from_bytes(found, "little")
    if size == 0:
        if old:
            return -errno.EINVAL
        return by_difference(value, new).to_bytes(2, "little")
    if size not in (2, 4):
        return -errno.EINVAL
    mask = (1 << 8 * size) - 1
    return _replace(value, old & mask, new & mask).to_bytes(2, "little")


def state_of(context: object) -> Checksum:
    """What is known of the packet's checksum; nothing in contexts that keep no such."""
    return getattr(context, "checksum", None) or Checksum()


def _state(cpu: MachineCpu, address: int) -> Checksum:
    return state_of(cpu.machine.context_at(cpu, address))


def add(total: int, more: int) -> int:
    """The kernel's csum_add: 32 bits with the carry added."""
    return fold32((total & _U32) + (more & _U32))


def changed(state: Checksum, offset: int, old: bytes, new: bytes) -> None:
    """Bytes of the packet were changed, with the sum of them all kept right."""
    if state.state != COMPLETE:
        return
    difference = add(partial(new), ~partial(old))
    if offset & 1:
        difference = fold16(difference)
        difference = (difference & 0xFF) << 8 | difference >> 8
    state.value = add(state.value, difference)


def _write(cpu: MachineCpu, address: int, offset: int, data: bytes) -> None:
    context = cpu.machine.context_at(cpu, address)
    context.packet.pull(max(offset + 2, context.packet.linear))
    context.packet.write(offset, data)
    context.refresh()


@helper("l3_csum_replace")
def l3_csum_replace(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if r5 & ~_SIZES:
        return -errno.EINVAL
    offset = r2 & _U32
    found = _change(cpu, r1, offset, r5 & _SIZES, r3, r4)
    if isinstance(found, int):
        return found
    _write(cpu, r1, offset, found)
    return 0


@helper("l4_csum_replace")
def l4_csum_replace(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if r5 & ~(_SIZES | PSEUDO_HEADER | MANGLED_0 | ENFORCE | IPV6):
        return -errno.EINVAL
    offset, size = r2 & _U32, r5 & _SIZES
    found = _change(cpu, r1, offset, size, r3, r4)
    if isinstance(found, int):
        return found
    before = cpu.machine.context_at(cpu, r1).packet.read(offset, 2)
    if r5 & MANGLED_0 and not any(before) and not r5 & ENFORCE:
        return 0
    state = _state(cpu, r1)
    mask = (1 << 8 * size) - 1
    difference = r4 & _U32 if not size else add(r4 & mask, ~(r3 & mask))
    if state.state == PARTIAL:
        # The field holds the sum of the pseudo header, not inverted: other bytes are summed by the card.
        found = before
        if r5 & PSEUDO_HEADER:
            found = fold16(add(int.from_bytes(before, "little"), difference)).to_bytes(2, "little")
    elif state.state == COMPLETE and r5 & PSEUDO_HEADER and not r5 & IPV6:
        state.value = ~add(~state.value, difference) & _U32
    if r5 & MANGLED_0 and not any(found):
        found = b"\xff\xff"
    _write(cpu, r1, offset, found)
    return 0


@helper("csum_update")
def csum_update(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    state = _state(cpu, r1)
    if state.state != COMPLETE:
        return -_ENOTSUPP
    state.value = add(state.value, r2)
    return state.value


@helper("csum_level")
def csum_level(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    state = _state(cpu, r1)
    if r2 == _QUERY:
        return state.level if state.state == UNNECESSARY else -errno.EACCES
    change = {_INCREASE: state.find_right, _DECREASE: state.forget_one, _RESET: state.forget}.get(r2)
    if change is None:
        return -errno.EINVAL
    change()
    return 0
