"""Kernel functions on dynptrs."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..helpers import dynptrs
from ..helpers.packets import packet_of
from ..helpers.reading import fetch, fetch_text
from .table import kfunc

if TYPE_CHECKING:
    from ..cpus import MachineCpu
    from ..helpers.dynptrs import Dynptr

_U32 = 0xFFFFFFFF


def _from_packet(cpu: MachineCpu, context: int, flags: int, at: int, kind: int) -> int:
    if flags:
        dynptrs.clear(cpu, at)
        return -errno.EINVAL
    dynptrs.make(cpu, at, context, packet_of(cpu, context)[1].length, kind)
    return 0


@kfunc("bpf_dynptr_from_skb")
def bpf_dynptr_from_skb(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return _from_packet(cpu, r1, r2, r3, dynptrs.SKB)


@kfunc("bpf_dynptr_from_xdp")
def bpf_dynptr_from_xdp(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return _from_packet(cpu, r1, r2, r3, dynptrs.XDP)


def _slice(cpu: MachineCpu, dynptr: Dynptr | None, offset: int, buffer: int, size: int) -> int:
    if dynptr is None or not dynptr.covers(offset, size):
        return 0
    at = dynptr.offset + offset
    if not dynptr.in_packet:
        return dynptr.data + at
    packet = packet_of(cpu, dynptr.data)[1]
    if at + size <= packet.linear:
        return int(packet.data + at)
    found = packet.read(at, size)
    if not buffer or found is None:
        return 0
    cpu.memory.write(buffer, found)
    return buffer


@kfunc("bpf_dynptr_slice")
def bpf_dynptr_slice(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _slice(cpu, dynptrs.read(cpu, r1), r2 & _U32, r3, r4 & _U32)


@kfunc("bpf_dynptr_slice_rdwr")
def bpf_dynptr_slice_rdwr(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    dynptr = dynptrs.read(cpu, r1)
    if dynptr is None or dynptr.read_only:
        return 0
    return _slice(cpu, dynptr, r2 & _U32, r3, r4 & _U32)


@kfunc("bpf_dynptr_adjust")
def bpf_dynptr_adjust(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    dynptr = dynptrs.read(cpu, r1)
    start, end = r2 & _U32, r3 & _U32
    if dynptr is None or start > end:
        return -errno.EINVAL
    if end > dynptr.size:
        return -errno.ERANGE
    dynptr.offset += start
    dynptr.size = end - start
    dynptr.store(cpu)
    return 0


@kfunc("bpf_dynptr_is_null")
def bpf_dynptr_is_null(cpu: MachineCpu, r1: int, *_: int) -> int:
    return int(dynptrs.read(cpu, r1) is None)


@kfunc("bpf_dynptr_is_rdonly")
def bpf_dynptr_is_rdonly(cpu: MachineCpu, r1: int, *_: int) -> int:
    dynptr = dynptrs.read(cpu, r1)
    return int(dynptr is not None and dynptr.read_only)


@kfunc("bpf_dynptr_size")
def bpf_dynptr_size(cpu: MachineCpu, r1: int, *_: int) -> int:
    dynptr = dynptrs.read(cpu, r1)
    return -errno.EINVAL if dynptr is None else dynptr.size


@kfunc("bpf_dynptr_clone")
def bpf_dynptr_clone(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    dynptr = dynptrs.read(cpu, r1)
    if dynptr is None:
        dynptrs.clear(cpu, r2)
        return -errno.EINVAL
    dynptr.store(cpu, r2)
    return 0


@kfunc("bpf_dynptr_copy")
def bpf_dynptr_copy(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    target, source = dynptrs.read(cpu, r1), dynptrs.read(cpu, r3)
    if target is None or source is None or target.read_only:
        return -errno.EINVAL
    found = dynptrs.load(cpu, source, r4 & _U32, r5 & _U32)
    return found if isinstance(found, int) else dynptrs.save(cpu, target, r2 & _U32, found)


@kfunc("bpf_dynptr_memset")
def bpf_dynptr_memset(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    target = dynptrs.read(cpu, r1)
    if target is None or target.read_only:
        return -errno.EINVAL
    return dynptrs.save(cpu, target, r2 & _U32, bytes([r4 & 255]) * min(r3 & _U32, target.size + 1))


def _into(cpu: MachineCpu, at: int, offset: int, size: int, address: int, space: str) -> int:
    target = dynptrs.read(cpu, at)
    if target is None:
        return -errno.EINVAL
    if not target.covers(offset, size):
        return -errno.E2BIG
    found = fetch(cpu, address, size, space)
    if found is None:
        return -errno.EFAULT
    return dynptrs.save(cpu, target, offset, found)


@kfunc("bpf_probe_read_kernel_dynptr")
def bpf_probe_read_kernel_dynptr(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _into(cpu, r1, r2 & _U32, r3 & _U32, r4, "kernel")


@kfunc("bpf_probe_read_user_dynptr", "bpf_copy_from_user_dynptr", "bpf_copy_from_user_task_dynptr")
def bpf_probe_read_user_dynptr(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _into(cpu, r1, r2 & _U32, r3 & _U32, r4, "user")


def _text_into(cpu: MachineCpu, at: int, offset: int, size: int, address: int, space: str) -> int:
    target = dynptrs.read(cpu, at)
    if target is None:
        return -errno.EINVAL
    if not target.covers(offset, size):
        return -errno.E2BIG
    if not size:
        return 0
    found = fetch_text(cpu, address, size, space)
    if found is None:
        return -errno.EFAULT
    text = found[: size - 1] + b"\0"
    return dynptrs.save(cpu, target, offset, text) or len(text)


@kfunc("bpf_probe_read_kernel_str_dynptr")
def bpf_probe_read_kernel_str_dynptr(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _text_into(cpu, r1, r2 & _U32, r3 & _U32, r4, "kernel")


@kfunc("bpf_probe_read_user_str_dynptr", "bpf_copy_from_user_str_dynptr")
def bpf_probe_read_user_str_dynptr(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _text_into(cpu, r1, r2 & _U32, r3 & _U32, r4, "user")
