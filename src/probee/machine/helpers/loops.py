"""Helpers that call back."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_MOST_LOOPS = 8 << 20


@helper("loop")
def loop(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    count = r1 & 0xFFFFFFFF
    if r4:
        return -errno.EINVAL
    if count > _MOST_LOOPS:
        return -errno.E2BIG
    call = cpu.call
    for i in range(count):
        if call(r2, i, r3):
            return i + 1
    return count


@helper("find_vma")
def find_vma(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """The areas of a task are those that the test gave it with `machine.vma(task, …)`."""
    if r5:
        return -errno.EINVAL
    task = cpu.machine.tasks.task_at(r1)
    if task is None:
        return -errno.ENOENT
    for start, end, area in task.areas:
        if start <= r2 < end:
            cpu.call(r3, r1, area, r4)
            return 0
    return -errno.ENOENT
