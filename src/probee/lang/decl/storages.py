"""Declared maps whose entries belong to a kernel object and go with it."""

from __future__ import annotations

from .maps import NO_PREALLOC, MapDecl
from .types import i32, u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .types import DeclType


class Storage(MapDecl):
    """Base: `state = TaskStorage[State]()`. In a program the key is the object, `state.get(task)`; in Python
    a descriptor of it (of a task a pidfd, of an inode an open file, of a cgroup its directory).
    """

    __slots__ = ()
    sized = False
    owner = ""  # the kernel's struct
    _takes = ("value",)
    _flags = NO_PREALLOC

    def __init__(self, max_entries: int = 0, **kwargs: Any) -> None:
        super().__init__(max_entries, **kwargs)

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = i32, of[0]


class TaskStorage(Storage):
    """BPF_MAP_TYPE_TASK_STORAGE (Linux 5.11): a value for each thread that has one."""

    __slots__ = ()
    kind = 29
    owner = "task_struct"
    _example = "write for example TaskStorage[State]()"


class SkStorage(Storage):
    """BPF_MAP_TYPE_SK_STORAGE (Linux 5.2): a value for each socket that has one."""

    __slots__ = ()
    kind = 24
    owner = "sock"
    _example = "write for example SkStorage[State]()"


class InodeStorage(Storage):
    """BPF_MAP_TYPE_INODE_STORAGE (Linux 5.10): a value for each inode that has one; LSM programs use it."""

    __slots__ = ()
    kind = 28
    owner = "inode"
    _example = "write for example InodeStorage[State]()"


class CgrpStorage(Storage):
    """BPF_MAP_TYPE_CGRP_STORAGE (Linux 6.2): a value for each cgroup that has one."""

    __slots__ = ()
    kind = 32
    owner = "cgroup"
    _example = "write for example CgrpStorage[State]()"


class CgroupStorage(Storage):
    """BPF_MAP_TYPE_CGROUP_STORAGE (Linux 4.19): a value for each cgroup that a program is attached to.

    `state.local()` in a program is the value of the cgroup that it runs for. In Python the key is the
    cgroup's id.
    """

    __slots__ = ()
    kind = 19
    _flags = 0
    _example = "write for example CgroupStorage[u64]()"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = u64, of[0]


class PerCpuCgroupStorage(CgroupStorage):
    """BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE (Linux 4.20): the same with one value for each CPU."""

    __slots__ = ()
    kind = 21
    per_cpu = True
    _example = "write for example PerCpuCgroupStorage[u64]()"
