"""Storage that belongs to sockets, tasks, inodes and cgroups: at most one value for each in a map.

Programs name the owner by its address; from outside it is a descriptor (or number) that `Home.resolve` knows.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from .base import ENOTSUPP, EXIST, LOCK, NOEXIST, Attributes, Home, Map, refuse
from .cells import Cells

if TYPE_CHECKING:
    from collections.abc import Iterator

GET_CREATE = 1  # BPF_LOCAL_STORAGE_GET_F_CREATE


class LocalStorage(Map):
    kind = ""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.cells = Cells(self.memory, self.region, self.value_size)
        self.held: dict[int, int] = {}  # owner's address -> value's

    def get(self, owner: int, initial: bytes | None, flags: int) -> int:
        """What the `…_storage_get` helpers return: the value's address or 0."""
        if flags & ~GET_CREATE or not owner:
            return 0
        found = self.held.get(owner)
        if found is None and flags & GET_CREATE:
            found = self._create(owner, initial)
        return found or 0

    def _create(self, owner: int, initial: bytes | None) -> int:
        made = self.cells.take()
        if initial is not None:
            self.fields.copy(self.cells.view(made), initial)
        self.held[owner] = made
        return made

    def forget(self, owner: int) -> int:
        """What the `…_storage_delete` helpers return; also what happens when the owner goes."""
        found = self.held.pop(owner, None)
        if found is None:
            return -errno.ENOENT
        self.dropped(found)
        self.cells.give(found)
        return 0

    def put(self, owner: int, value: bytes, flags: int) -> int:
        kind = flags & ~LOCK
        if kind > EXIST:
            return -errno.EINVAL
        if flags & LOCK and self.fields.find("spin_lock") is None:
            return -errno.EINVAL
        found = self.held.get(owner)
        if found is not None and kind == NOEXIST:
            return -errno.EEXIST
        if found is None and kind == EXIST:
            return -errno.ENOENT
        if found is not None and flags & LOCK:
            self.fields.copy(self.cells.view(found), value)
            return 0
        self._create(owner, value)
        if found is not None:
            self.dropped(found)
            self.cells.give(found)
        return 0

    def each_owner(self) -> Iterator[tuple[int, int]]:
        """Owners and values, for iterator programs."""
        yield from list(self.held.items())

    def _owner(self, key: bytes) -> int:
        fd = int.from_bytes(key[:4], "little", signed=True)
        found: Any = self.home.resolve(self.kind, fd)
        if found is None:
            refuse(errno.EBADF)
        return int(found.address)

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if flags & ~LOCK:
            refuse(errno.EINVAL)
        self.check_lock(flags)
        found = self.held.get(self._owner(key))
        if found is None:
            refuse(errno.ENOENT)
        return self.shown(self.cells.view(found).tobytes())

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.check_lock(flags)
        self.answer(self.put(self._owner(key), value, flags))

    def sys_delete(self, key: bytes) -> None:
        self.answer(self.forget(self._owner(key)))


class SkStorage(LocalStorage):
    kind = "socket"


class TaskStorage(LocalStorage):
    kind = "task"


class InodeStorage(LocalStorage):
    kind = "inode"


class CgrpStorage(LocalStorage):
    kind = "cgroup"


class CgroupStorage(Map):
    """The older kind: a value for each cgroup that a program which uses the map is attached to. The machine
    makes the entry of the cgroup it runs a program for: `local`."""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.stored = self.round_size * home.cpus if self.per_cpu else self.value_size
        self.cells = Cells(self.memory, self.region, self.stored)
        self.held: dict[bytes, int] = {}

    def local(self, cgroup: int, attach_type: int, cpu: int) -> int:
        """The address of a cgroup's value, which comes into being: `bpf_get_local_storage`."""
        key = cgroup.to_bytes(8, "little")
        if self.key_size > len(key):
            key += attach_type.to_bytes(8, "little")
        found = self.held.get(key)
        if found is None:
            found = self.held[key] = self.cells.take()
        return found + (cpu * self.round_size if self.per_cpu else 0)

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        found = self.held.get(key)
        if found is None:
            refuse(errno.ENOENT)
        return self.cells.view(found).tobytes()

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        if flags & ~(LOCK | EXIST):
            refuse(errno.EINVAL)
        self.check_lock(flags)
        found = self.held.get(key)
        if found is None:
            refuse(errno.ENOENT)
        self.cells.view(found)[:] = value

    def sys_delete(self, key: bytes) -> None:
        refuse(errno.EINVAL)

    def sys_next_key(self, key: bytes | None) -> bytes:
        keys = list(self.held)
        at = -1
        if key is not None:
            if key not in self.held:
                refuse(errno.EINVAL)
            at = keys.index(key)
        if at + 1 >= len(keys):
            refuse(errno.ENOENT)
        return keys[at + 1]

    def sys_take(self, key: bytes, flags: int = 0) -> bytes:
        return refuse(ENOTSUPP)


class PerCpuCgroupStorage(CgroupStorage):
    per_cpu = True
