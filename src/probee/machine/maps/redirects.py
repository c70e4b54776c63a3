"""Where packets and messages are sent to: devices, CPUs and sockets."""

from __future__ import annotations

import errno
import struct
from typing import Any

from .arrays import Indexed, index_of
from .base import EXIST, NOEXIST, Attributes, Home, Map, refuse
from .cells import Cells

_PAIR = struct.Struct("<II")
_I32 = struct.Struct("<i")
_U64 = struct.Struct("<Q")
_WITH_PROGRAM = 8
_LONGEST_QUEUE = 16384
_COOKIE = 8


class Target:
    """An entry of a device or CPU map: `number` is the interface's index or the queue's length."""

    __slots__ = ("address", "number", "program")

    def __init__(self, number: int, program: Any, address: int) -> None:
        self.number = number
        self.program = program
        self.address = address


class _Targets(Map):
    """`struct bpf_devmap_val` and `struct bpf_cpumap_val`: a number, and a program written as a descriptor
    and read as an id."""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.cells = Cells(self.memory, self._own, self.value_size)
        self.held: dict[int, Target] = {}

    def _own(self, size: int) -> Any:
        made = self.memory.alloc(max(8, size), "map_value", writable=False, name=self.name)
        self.regions.append(made)
        return made

    def target(self, value: bytes) -> Target:
        number = int.from_bytes(value[:4], "little")
        program = None
        if len(value) >= _WITH_PROGRAM:
            fd = _I32.unpack_from(value, 4)[0]
            if fd > 0:
                program = self.home.resolve("prog", fd)
                if program is None:
                    refuse(errno.EBADF)
        address = self.cells.take()
        raw = _PAIR.pack(number, getattr(program, "id", 0))
        self.cells.view(address)[:] = raw[: self.value_size]
        return Target(number, program, address)

    def item(self, index: int) -> Target | None:
        return self.held.get(index)

    def lookup(self, key: bytes, cpu: int) -> int:
        found = self.held.get(index_of(key))
        return 0 if found is None else found.address

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if flags:
            refuse(errno.EINVAL)
        address = self.lookup(key, 0)
        if not address:
            refuse(errno.ENOENT)
        return self.cells.view(address).tobytes()


class DevMap(_Targets, Indexed):
    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        index = index_of(key)
        if flags > EXIST:
            refuse(errno.EINVAL)
        if index >= self.max_entries:
            refuse(errno.E2BIG)
        if flags == NOEXIST:
            refuse(errno.EEXIST)
        if not int.from_bytes(value[:4], "little"):
            if len(value) >= _WITH_PROGRAM and _I32.unpack_from(value, 4)[0] > 0:
                refuse(errno.EINVAL)
            self.held.pop(index, None)
            return
        self.held[index] = self._device(value)

    def _device(self, value: bytes) -> Target:
        if self.home.resolve("device", int.from_bytes(value[:4], "little")) is None:
            refuse(errno.EINVAL)
        return self.target(value)

    def sys_delete(self, key: bytes) -> None:
        if index_of(key) >= self.max_entries:
            refuse(errno.EINVAL)
        self.held.pop(index_of(key), None)


class DevMapHash(DevMap):
    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        if flags > EXIST or not int.from_bytes(value[:4], "little"):
            refuse(errno.EINVAL)
        index = index_of(key)
        if index in self.held and flags & NOEXIST:
            refuse(errno.EEXIST)
        made = self._device(value)
        if index not in self.held and len(self.held) >= self.max_entries:
            refuse(errno.E2BIG)
        self.held[index] = made

    def sys_delete(self, key: bytes) -> None:
        if self.held.pop(index_of(key), None) is None:
            refuse(errno.ENOENT)

    def sys_next_key(self, key: bytes | None) -> bytes:
        following: int = next_of(list(self.held), None if key is None else index_of(key))
        return following.to_bytes(4, "little")


class CpuMap(_Targets, Indexed):
    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        index = index_of(key)
        length = int.from_bytes(value[:4], "little")
        if flags > EXIST:
            refuse(errno.EINVAL)
        if index >= self.max_entries:
            refuse(errno.E2BIG)
        if flags == NOEXIST:
            refuse(errno.EEXIST)
        if length > _LONGEST_QUEUE:
            refuse(errno.EOVERFLOW)
        if index >= self.home.cpus:
            refuse(errno.ENODEV)
        if not length:
            self.held.pop(index, None)
            return
        self.held[index] = self.target(value)

    def sys_delete(self, key: bytes) -> None:
        if index_of(key) >= self.max_entries:
            refuse(errno.EINVAL)
        self.held.pop(index_of(key), None)


def next_of(keys: list[Any], key: Any) -> Any:
    """The key after one, the first for None and for what is not there; ENOENT at the end."""
    at = keys.index(key) if key in keys else -1
    if at + 1 >= len(keys):
        refuse(errno.ENOENT)
    return keys[at + 1]


class _Sockets(Map):
    """Sockets of the machine, by descriptor or as they are. A program's look-up gives the address of the
    sock."""

    missing = errno.ENOENT

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.held: dict[bytes, Any] = {}

    def socket(self, value: bytes) -> Any:
        found = self.home.resolve("socket", int.from_bytes(value[:4], "little"))
        if found is None:
            refuse(errno.EBADF)
        return found

    def in_range(self, key: bytes) -> bool:
        return index_of(key) < self.max_entries

    def put(self, key: bytes, item: Any, flags: int = 0) -> None:
        """Hold a socket itself."""
        if flags > EXIST:
            refuse(errno.EINVAL)
        if not self.in_range(key):
            refuse(errno.E2BIG)
        if key in self.held and flags == NOEXIST:
            refuse(errno.EEXIST)
        if key not in self.held and flags == EXIST:
            refuse(errno.ENOENT)
        self.held[bytes(key)] = item

    def item(self, key: bytes) -> Any:
        return self.held.get(bytes(key))

    def lookup(self, key: bytes, cpu: int) -> int:
        found = self.held.get(bytes(key))
        return 0 if found is None else int(found.address)

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if flags:
            refuse(errno.EINVAL)
        if self.value_size != _COOKIE:
            refuse(errno.ENOSPC)
        found = self.held.get(bytes(key))
        if found is None:
            refuse(errno.ENOENT)
        return _U64.pack(found.cookie)

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.put(key, self.socket(value), flags)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        return -errno.EOPNOTSUPP

    def delete(self, key: bytes, cpu: int) -> int:
        if self.held.pop(bytes(key), None) is None:
            return -self.missing
        return 0

    def sys_delete(self, key: bytes) -> None:
        self.answer(self.delete(key, 0))


class SockMap(_Sockets, Indexed):
    missing = errno.EINVAL


class SockHash(_Sockets):
    def in_range(self, key: bytes) -> bool:
        return key in self.held or len(self.held) < self.max_entries

    def sys_next_key(self, key: bytes | None) -> bytes:
        found: bytes = next_of(list(self.held), key)
        return found


class ReuseportSockArray(_Sockets, Indexed):
    def delete(self, key: bytes, cpu: int) -> int:
        return -errno.E2BIG if not self.in_range(key) else super().delete(key, cpu)


class XskMap(_Sockets, Indexed):
    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        return refuse(errno.EOPNOTSUPP)

    def delete(self, key: bytes, cpu: int) -> int:
        if not self.in_range(key):
            return -errno.EINVAL
        self.held.pop(bytes(key), None)
        return 0
