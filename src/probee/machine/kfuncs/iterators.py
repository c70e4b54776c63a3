"""Open-coded iterators: numbers, bits, tasks."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from ..helpers.reading import fetch
from ..tasks import Task
from .table import kfunc

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_U32 = 0xFFFFFFFF
_MOST_LOOPS = 8 << 20
_MOST_WORDS = 511
_PAIR = struct.Struct("<ii")
_BIT_AT = 12  # offset of the current bit in struct bpf_iter_bits
_ALL_PROCESSES, _ALL_THREADS, _PROCESS_THREADS = range(3)


def _signed(value: int) -> int:
    value &= _U32
    return value - (1 << 32) if value >> 31 else value


@kfunc("bpf_iter_num_new")
def bpf_iter_num_new(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    start, end = _signed(r2), _signed(r3)
    wrong = -errno.EINVAL if start > end else -errno.E2BIG if end - start > _MOST_LOOPS else 0
    if wrong:
        cpu.memory.write(r1, bytes(8))
        return wrong
    cpu.memory.write(r1, struct.pack("<II", start - 1 & _U32, end & _U32))
    return 0


@kfunc("bpf_iter_num_next")
def bpf_iter_num_next(cpu: MachineCpu, r1: int, *_: int) -> int:
    now, end = _PAIR.unpack(cpu.memory.read(r1, 8))
    following = _signed(now + 1)
    if following >= end:
        cpu.memory.write(r1, bytes(8))
        return 0
    cpu.memory.store(r1, 4, following)
    return r1


@kfunc("bpf_iter_num_destroy")
def bpf_iter_num_destroy(cpu: MachineCpu, r1: int, *_: int) -> int:
    cpu.memory.write(r1, bytes(8))
    return 0


@kfunc("bpf_iter_bits_new")
def bpf_iter_bits_new(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    words = r3 & _U32
    cpu.memory.write(r1, bytes(16))
    cpu.machine.objects[r1] = iter(())
    if not r2 or not words:
        return -errno.EINVAL
    if words > _MOST_WORDS:
        return -errno.E2BIG
    found = fetch(cpu, r2, 8 * words, "kernel")
    if found is None:
        return -errno.EFAULT
    number = int.from_bytes(found, "little")
    cpu.machine.objects[r1] = (bit for bit in range(64 * words) if number >> bit & 1)
    return 0


@kfunc("bpf_iter_bits_next")
def bpf_iter_bits_next(cpu: MachineCpu, r1: int, *_: int) -> int:
    bit = next(cpu.machine.objects.get(r1, iter(())), None)
    if bit is None:
        return 0
    cpu.memory.store(r1 + _BIT_AT, 4, bit)
    return r1 + _BIT_AT


@kfunc("bpf_iter_bits_destroy", "bpf_iter_task_destroy")
def bpf_iter_destroy(cpu: MachineCpu, r1: int, *_: int) -> int:
    cpu.machine.objects.pop(r1, None)
    return 0


@kfunc("bpf_iter_task_new")
def bpf_iter_task_new(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    kind = r3 & _U32
    cpu.machine.objects[r1] = iter(())
    if kind > _PROCESS_THREADS or (kind == _PROCESS_THREADS and not r2):
        return -errno.EINVAL
    tasks = sorted((t for t in cpu.machine.tasks.by_pid.values() if t.pid), key=lambda t: t.pid)
    one = cpu.machine.tasks.task_at(r2)

    def wanted(task: Task) -> bool:
        if kind == _ALL_PROCESSES:
            return task.pid == task.tgid
        return kind == _ALL_THREADS or (one is not None and task.tgid == one.tgid)

    cpu.machine.objects[r1] = iter([task.address for task in tasks if wanted(task)])
    return 0


@kfunc("bpf_iter_task_next")
def bpf_iter_task_next(cpu: MachineCpu, r1: int, *_: int) -> int:
    return int(next(cpu.machine.objects.get(r1, iter(())), 0))
