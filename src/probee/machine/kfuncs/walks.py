"""Open-coded iterators over cgroups, their tasks, and a task's memory areas, as tests built them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .table import kfunc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..cpus import MachineCpu
    from ..tasks import Cgroup

_U32 = 0xFFFFFFFF
_DESCENDANTS, _POST, _ANCESTORS = 2, 3, 4  # enum bpf_cgroup_iter_order
_PROCS, _THREADED = 1, 2  # CSS_TASK_ITER_…


def _begin(cpu: MachineCpu, at: int, found: Iterator[int]) -> int:
    cpu.machine.objects[at] = found
    return 0


def _below(cpu: MachineCpu, cgroup: Cgroup, post: bool) -> Iterator[Cgroup]:
    """A cgroup and those below it, parents first or last."""
    if not post:
        yield cgroup
    for one in cpu.machine.tasks.cgroups:
        if one.parent is cgroup:
            yield from _below(cpu, one, post)
    if post:
        yield cgroup


@kfunc("bpf_iter_css_new")
def bpf_iter_css_new(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    order = r3 & _U32
    _begin(cpu, r1, iter(()))
    cgroup = cpu.machine.tasks.cgroup_at(r2)  # its own subsystem's state is its first member
    if cgroup is None or order not in (_DESCENDANTS, _POST, _ANCESTORS):
        return -errno.EINVAL
    if order == _ANCESTORS:
        found = [cgroup.ancestor(level) for level in range(cgroup.level, -1, -1)]
        return _begin(cpu, r1, iter([one.address for one in found if one is not None]))
    return _begin(cpu, r1, iter([one.address for one in _below(cpu, cgroup, order == _POST)]))


@kfunc("bpf_iter_css_task_new")
def bpf_iter_css_task_new(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    flags = r3 & _U32
    _begin(cpu, r1, iter(()))
    cgroup = cpu.machine.tasks.cgroup_at(r2)
    if cgroup is None or flags not in (0, _PROCS, _PROCS | _THREADED):
        return -errno.EINVAL
    tasks = [t for _, t in sorted(cpu.machine.tasks.by_pid.items()) if t.pid and t.cgroup is cgroup]
    return _begin(cpu, r1, iter([t.address for t in tasks if not flags & _PROCS or t.pid == t.tgid]))


@kfunc("bpf_iter_task_vma_new")
def bpf_iter_task_vma_new(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    """The areas of a task are those that the test gave it with `machine.vma(task, …)`."""
    _begin(cpu, r1, iter(()))
    task = cpu.machine.tasks.task_at(r2)
    if task is None or not task.areas:
        return -errno.ENOENT
    return _begin(cpu, r1, iter([area for start, end, area in sorted(task.areas) if end > r3]))


@kfunc("bpf_iter_css_next", "bpf_iter_css_task_next", "bpf_iter_task_vma_next")
def bpf_iter_next(cpu: MachineCpu, r1: int, *_: int) -> int:
    return int(next(cpu.machine.objects.get(r1, iter(())), 0))


@kfunc("bpf_iter_css_destroy", "bpf_iter_css_task_destroy", "bpf_iter_task_vma_destroy")
def bpf_iter_destroy(cpu: MachineCpu, r1: int, *_: int) -> int:
    cpu.machine.objects.pop(r1, None)
    return 0
