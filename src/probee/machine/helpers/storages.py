"""Helpers on storage that belongs to sockets, tasks, inodes and cgroups."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..maps.storages import CgroupStorage, LocalStorage, SkStorage
from ..memory import Fault
from .sockets import socket_for
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu


def _map(cpu: MachineCpu, address: int) -> LocalStorage:
    m = cpu.machine.map_at(address)
    if not isinstance(m, LocalStorage):
        raise Fault(f"map {m.name!r} is no storage", address=address)
    return m


def _owner(cpu: MachineCpu, m: LocalStorage, address: int) -> int:
    """Where a value belongs: a socket has it once, whichever of its structs the program names."""
    found = socket_for(cpu, address) if address and isinstance(m, SkStorage) else None
    return address if found is None else found.address


@helper("sk_storage_get", "inode_storage_get", "task_storage_get", "cgrp_storage_get")
def storage_get(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    m = _map(cpu, r1)
    r2 = _owner(cpu, m, r2)
    initial = cpu.memory.read(r3, m.value_size) if r3 else None
    return m.get(r2, initial, r4)


@helper("sk_storage_delete", "inode_storage_delete", "task_storage_delete", "cgrp_storage_delete")
def storage_delete(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    m = _map(cpu, r1)
    r2 = _owner(cpu, m, r2)
    return m.forget(r2) if r2 else -errno.EINVAL


@helper("get_local_storage")
def get_local_storage(cpu: MachineCpu, r1: int, *_: int) -> int:
    """The cgroup is the context's (its fact `cgroup`), else the current task's."""
    m = cpu.machine.map_at(r1)
    if not isinstance(m, CgroupStorage):
        raise Fault(f"map {m.name!r} is no cgroup storage", address=r1)
    facts = cpu.context.facts if cpu.context is not None else {}
    cgroup = facts.get("cgroup", cpu.task.cgroup.id)
    return m.local(cgroup, facts.get("attach_type", 0), cpu.number)
