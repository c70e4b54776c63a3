"""Helpers about the current task."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from ..maps.holders import CgroupArray
from ..memory import Fault
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_IDS = struct.Struct("<II")
_SIGNALS = 64


@helper("get_current_pid_tgid")
def get_current_pid_tgid(cpu: MachineCpu, *_: int) -> int:
    return cpu.task.tgid << 32 | cpu.task.pid


@helper("get_current_uid_gid")
def get_current_uid_gid(cpu: MachineCpu, *_: int) -> int:
    return cpu.task.gid << 32 | cpu.task.uid


@helper("get_current_comm")
def get_current_comm(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    size = r2 & 0xFFFFFFFF
    if size:
        cpu.memory.write(r1, cpu.task.comm[: size - 1].ljust(size, b"\0"))
    return 0


@helper("get_current_task", "get_current_task_btf")
def get_current_task(cpu: MachineCpu, *_: int) -> int:
    return cpu.task.address


@helper("get_current_cgroup_id")
def get_current_cgroup_id(cpu: MachineCpu, *_: int) -> int:
    return cpu.task.cgroup.id


@helper("get_current_ancestor_cgroup_id")
def get_current_ancestor_cgroup_id(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = cpu.task.cgroup.ancestor(r1 & 0xFFFFFFFF)
    return 0 if found is None else found.id


@helper("get_cgroup_classid", "skb_cgroup_classid")
def get_cgroup_classid(cpu: MachineCpu, *_: int) -> int:
    return cpu.task.cgroup.classid


@helper("current_task_under_cgroup")
def current_task_under_cgroup(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    index = r2 & 0xFFFFFFFF
    if not isinstance(m, CgroupArray):
        raise Fault(f"map {m.name!r} holds no cgroups", address=r1)
    if index >= m.max_entries:
        return -errno.E2BIG
    cgroup = m.item(index)
    return -errno.EAGAIN if cgroup is None else int(cpu.task.cgroup.under(cgroup))


@helper("get_ns_current_pid_tgid")
def get_ns_current_pid_tgid(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    found = cpu.task.namespaces.get((r1, r2)) if r4 & 0xFFFFFFFF == _IDS.size else None
    if found is None:
        cpu.memory.write(r3, bytes(r4 & 0xFFFFFFFF))
        return -errno.EINVAL
    cpu.memory.write(r3, _IDS.pack(*found))
    return 0


def _signal(cpu: MachineCpu, number: int, thread: bool) -> int:
    if number > _SIGNALS:
        return -errno.EINVAL
    if cpu.task is cpu.machine.tasks.idle:
        return -errno.EPERM
    cpu.machine.signals.append((number, cpu.task, thread))
    return 0


@helper("send_signal")
def send_signal(cpu: MachineCpu, r1: int, *_: int) -> int:
    return _signal(cpu, r1 & 0xFFFFFFFF, False)


@helper("send_signal_thread")
def send_signal_thread(cpu: MachineCpu, r1: int, *_: int) -> int:
    return _signal(cpu, r1 & 0xFFFFFFFF, True)
