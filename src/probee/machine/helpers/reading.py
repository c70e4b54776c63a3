"""Helpers that read and write memory which may not be there: a fault is -EFAULT, and zeros."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..memory import Fault
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_U32 = 0xFFFFFFFF
_USER, _KERNEL, _ANY = "user", "kernel", "any"


def fetch(cpu: MachineCpu, address: int, size: int, space: str) -> bytes | None:
    """Bytes of kernel or user memory; None if they can't be read."""
    if not in_space(cpu, address, space) or not cpu.memory.permits(address, size):
        return None
    return cpu.memory.read(address, size)


def in_space(cpu: MachineCpu, address: int, space: str) -> bool:
    region = cpu.memory.find(address)
    return region is not None and (space == _ANY or (region.kind == "user") == (space == _USER))


def _read(cpu: MachineCpu, to: int, size: int, address: int, space: str) -> int:
    size &= _U32
    found = fetch(cpu, address, size, space) if size else b""
    cpu.memory.write(to, bytes(size) if found is None else found)
    return -errno.EFAULT if found is None else 0


@helper("probe_read")
def probe_read(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return _read(cpu, r1, r2, r3, _ANY)


@helper("probe_read_kernel")
def probe_read_kernel(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return _read(cpu, r1, r2, r3, _KERNEL)


@helper("probe_read_user", "copy_from_user")
def probe_read_user(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return _read(cpu, r1, r2, r3, _USER)


@helper("copy_from_user_task")
def copy_from_user_task(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return -errno.EINVAL if r5 else _read(cpu, r1, r2, r3, _USER)


def fetch_text(cpu: MachineCpu, address: int, most: int, space: str) -> bytes | None:
    """Text up to its zero, which is left out, `most` bytes at most; None if it can't be read."""
    if not in_space(cpu, address, space):
        return None
    try:
        return cpu.memory.read_string(address, most)
    except Fault:
        return None


def _read_text(cpu: MachineCpu, to: int, size: int, address: int, space: str) -> int:
    size &= _U32
    if not size:
        return 0
    found = fetch_text(cpu, address, size, space)
    if found is None:
        cpu.memory.write(to, bytes(size))
        return -errno.EFAULT
    text = found[: size - 1] + b"\0"
    cpu.memory.write(to, text)
    return len(text)


@helper("probe_read_str")
def probe_read_str(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return _read_text(cpu, r1, r2, r3, _ANY)


@helper("probe_read_kernel_str")
def probe_read_kernel_str(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return _read_text(cpu, r1, r2, r3, _KERNEL)


@helper("probe_read_user_str")
def probe_read_user_str(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return _read_text(cpu, r1, r2, r3, _USER)


@helper("probe_write_user")
def probe_write_user(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    size = r3 & _U32
    data = cpu.memory.read(r2, size)
    if cpu.task is cpu.machine.tasks.idle:
        return -errno.EPERM
    if not in_space(cpu, r1, _USER) or not cpu.memory.permits(r1, size, write=True):
        return -errno.EFAULT
    cpu.memory.write(r1, data)
    return 0
