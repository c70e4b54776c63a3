"""Dynptrs: `struct bpf_dynptr_kern` in the program's memory.

The address of the data (of the context, for packets), a u32 with the size, the kind in bits 28 to 30 and
read-only in bit 31, a u32 offset.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

LOCAL, RINGBUF, SKB, XDP, SKB_META = 1, 2, 3, 4, 5
SIZE = 16
LARGEST = (1 << 24) - 1
_LAYOUT = struct.Struct("<QII")
_KIND_SHIFT, _READ_ONLY = 28, 1 << 31


class Dynptr:
    __slots__ = ("address", "data", "kind", "offset", "read_only", "size")

    def __init__(self, address: int, data: int, packed: int, offset: int) -> None:
        self.address = address
        self.data = data
        self.size = packed & LARGEST
        self.kind = packed >> _KIND_SHIFT & 7
        self.read_only = bool(packed & _READ_ONLY)
        self.offset = offset

    @property
    def in_packet(self) -> bool:
        return self.kind in (SKB, XDP)

    def store(self, cpu: MachineCpu, at: int = 0) -> None:
        """Write it where it was, or elsewhere."""
        packed = self.size | self.kind << _KIND_SHIFT | (_READ_ONLY if self.read_only else 0)
        cpu.memory.write(at or self.address, _LAYOUT.pack(self.data, packed, self.offset))

    def covers(self, offset: int, size: int) -> bool:
        return size <= self.size and offset <= self.size - size


def make(
    cpu: MachineCpu, at: int, data: int, size: int, kind: int, *, offset: int = 0, read_only: bool = False
) -> None:
    packed = size | kind << _KIND_SHIFT | (_READ_ONLY if read_only else 0)
    cpu.memory.write(at, _LAYOUT.pack(data, packed, offset))


def clear(cpu: MachineCpu, at: int) -> None:
    cpu.memory.write(at, bytes(SIZE))


def read(cpu: MachineCpu, at: int) -> Dynptr | None:
    """The dynptr at an address; None for one that is null."""
    data, packed, offset = _LAYOUT.unpack(cpu.memory.read(at, SIZE))
    return Dynptr(at, data, packed, offset) if data else None


def load(cpu: MachineCpu, dynptr: Dynptr, offset: int, size: int) -> bytes | int:
    """Bytes of what a dynptr points to, or a negative errno."""
    if not dynptr.covers(offset, size):
        return -errno.E2BIG
    at = dynptr.offset + offset
    if dynptr.in_packet:
        found: bytes | None = cpu.machine.context_at(cpu, dynptr.data).packet.read(at, size)
        return -errno.EFAULT if found is None else found
    return cpu.memory.read(dynptr.data + at, size)


def save(cpu: MachineCpu, dynptr: Dynptr, offset: int, data: bytes, flags: int = 0) -> int:
    if dynptr.read_only:
        return -errno.EINVAL
    if not dynptr.covers(offset, len(data)):
        return -errno.E2BIG
    at = dynptr.offset + offset
    if dynptr.kind == SKB:
        from .packets import store

        return store(cpu, dynptr.data, at, data, flags)
    if flags:
        return -errno.EINVAL
    if dynptr.kind == XDP:
        done: bool = cpu.machine.context_at(cpu, dynptr.data).packet.write(at, data)
        return 0 if done else -errno.EINVAL
    cpu.memory.write(dynptr.data + at, data)
    return 0


@helper("dynptr_from_mem")
def dynptr_from_mem(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    size = r2 & 0xFFFFFFFF
    wrong = -errno.E2BIG if size > LARGEST else -errno.EINVAL if r3 else 0
    if wrong:
        clear(cpu, r4)
        return wrong
    make(cpu, r4, r1, size, LOCAL)
    return 0


@helper("dynptr_read")
def dynptr_read(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    dynptr = read(cpu, r3)
    if dynptr is None or r5:
        return -errno.EINVAL
    found = load(cpu, dynptr, r4 & 0xFFFFFFFF, r2 & 0xFFFFFFFF)
    if isinstance(found, int):
        return found
    cpu.memory.write(r1, found)
    return 0


@helper("dynptr_write")
def dynptr_write(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    dynptr = read(cpu, r1)
    if dynptr is None:
        return -errno.EINVAL
    return save(cpu, dynptr, r2 & 0xFFFFFFFF, cpu.memory.read(r3, r4 & 0xFFFFFFFF), r5)


@helper("dynptr_data")
def dynptr_data(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    dynptr = read(cpu, r1)
    offset, size = r2 & 0xFFFFFFFF, r3 & 0xFFFFFFFF
    if dynptr is None or not dynptr.covers(offset, size) or dynptr.read_only or dynptr.in_packet:
        return 0
    return dynptr.data + dynptr.offset + offset
