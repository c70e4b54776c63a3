"""Storage that belongs to sockets, tasks, inodes and cgroups: each has at most one value in a map."""

from __future__ import annotations

import errno
import os
from struct import Struct

from ..btf.values import Codec
from ..errors import MapError
from .holders import descriptor
from .maps import KeyedMap
from .percpu import PerCpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

    Base = KeyedMap
else:
    Base = object

_CGROUP_KEY = Struct("=QI4x")  # struct bpf_cgroup_storage_key


class LocalStorage(KeyedMap):
    """The value of an object, by the object or a descriptor of it. Values can't be listed from user space:
    that takes an iterator program (`iter/bpf_sk_storage_map`, or one over tasks or cgroups)."""

    __slots__ = ()
    _noun = "object"

    def failed(self, error: OSError, doing: str) -> MapError:
        if error.errno in (errno.EBADF, errno.ENOTSOCK) and not self.closed:
            return MapError(
                f"that is no {self._noun}, which {self._called()} has values for", errno=errno.EBADF
            )
        return super().failed(error, doing)

    def _descriptor(self, key: Any) -> tuple[int, bool]:
        """A descriptor for a key, and whether to close it. KeyError if there is no such object."""
        fd = descriptor(key)
        if fd is None:
            raise TypeError(f"{key!r} has no descriptor, which keys of {self._called()} are")
        return fd, False

    def _look(self, key: Any, flags: int = 0) -> bytes | None:
        try:
            fd, own = self._descriptor(key)
        except KeyError:
            return None
        try:
            return super()._look(fd, flags)
        finally:
            if own:
                os.close(fd)

    def put(self, key: Any, value: Any, flags: int = 0) -> None:
        try:
            fd, own = self._descriptor(key)
        except KeyError:
            raise MapError(f"there is no {self._noun} {key!r}", errno=errno.ENOENT) from None
        try:
            super().put(fd, value, flags)
        finally:
            if own:
                os.close(fd)

    def __delitem__(self, key: Any) -> None:
        fd, own = self._descriptor(key)
        try:
            super().__delitem__(fd)
        except KeyError:
            raise KeyError(key) from None
        finally:
            if own:
                os.close(fd)

    def pop(self, key: Any, *default: Any) -> Any:
        """Look and delete. A program may write between the two."""
        try:
            value = self[key]
            del self[key]
        except KeyError:
            if default:
                return default[0]
            raise
        return value

    def update(self, other: Any = (), /, **kwargs: Any) -> None:
        for key, value in other.items() if hasattr(other, "items") else other:
            self.put(key, value)

    def delete_many(self, keys: Any) -> int:
        return sum([self.pop(key, self) is not self for key in keys])

    def chunks(self, *, take: bool = False, flags: int = 0) -> NoReturn:
        raise MapError(
            f"the values of {self._called()} can't be listed from user space: ask for one object's, "
            "or use an iterator program"
        )


class SkStorage(LocalStorage):
    """BPF_MAP_TYPE_SK_STORAGE (Linux 5.2), by socket (anything with `fileno()`) or descriptor."""

    __slots__ = ()
    _noun = "socket"


class TaskStorage(LocalStorage):
    """BPF_MAP_TYPE_TASK_STORAGE (Linux 5.11). An integer is the id of a process; what has a `fileno()` is
    taken for a pidfd, which may be a thread's (PIDFD_THREAD, Linux 6.9)."""

    __slots__ = ()
    _noun = "process"

    def _descriptor(self, key: Any) -> tuple[int, bool]:
        if not isinstance(key, int):
            return super()._descriptor(key)
        try:
            return os.pidfd_open(key), True
        except ProcessLookupError:
            raise KeyError(key) from None
        except OSError as e:
            raise MapError(f"can't open process {key}: {e.strerror}", errno=e.errno or 0) from None


class _ByPath(LocalStorage):
    __slots__ = ()

    def _descriptor(self, key: Any) -> tuple[int, bool]:
        if not isinstance(key, (str, bytes, os.PathLike)):
            return super()._descriptor(key)
        try:
            return os.open(key, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), True
        except FileNotFoundError:
            raise KeyError(key) from None
        except OSError as e:
            raise MapError(f"can't open {os.fspath(key)!r}: {e.strerror}", errno=e.errno or 0) from None


class InodeStorage(_ByPath):
    """BPF_MAP_TYPE_INODE_STORAGE (Linux 5.10, with the BPF LSM), by path, file object or descriptor."""

    __slots__ = ()
    _noun = "file"


class CgrpStorage(_ByPath):
    """BPF_MAP_TYPE_CGRP_STORAGE (Linux 6.2), by the path of a cgroup's folder or a descriptor of it."""

    __slots__ = ()
    _noun = "cgroup"


class CgroupKeyCodec(Codec):
    """A cgroup's id (8 bytes), with the number of an attach type after it (16 bytes).

    Packing takes the id, the path of the cgroup's folder, or a pair of that and the attach type: its number
    or its name, as `cgroup_inet_ingress`.
    """

    __slots__ = ()

    def load(self, slot: bytes) -> Any:
        cgroup, attach = _CGROUP_KEY.unpack(slot.ljust(_CGROUP_KEY.size, b"\0"))
        return (cgroup, attach) if self.size == _CGROUP_KEY.size else cgroup

    def dump(self, value: Any) -> bytes:
        attach: Any = 0
        if isinstance(value, tuple) and len(value) == 2:
            value, attach = value
            if self.size < _CGROUP_KEY.size:
                raise ValueError("keys of this map are cgroups, without an attach type")
        if isinstance(value, (str, os.PathLike)):
            value = os.stat(value).st_ino  # the id of a cgroup is its inode number
        if isinstance(attach, str):
            from ..isa.tables import ATTACH_TYPES

            if attach not in ATTACH_TYPES:
                raise ValueError(f"there is no attach type {attach!r}")
            attach = ATTACH_TYPES[attach][0]
        if not isinstance(value, int) or not isinstance(attach, int):
            raise TypeError(f"{value!r} is no cgroup: give its path or id")
        return _CGROUP_KEY.pack(value, attach)[: self.size]

    def _dtype(self, np: Any) -> Any:
        fields = {"names": ["cgroup", "attach_type"], "formats": ["=u8", "=u4"], "offsets": [0, 8]}
        return np.dtype({**fields, "itemsize": 16}) if self.size == _CGROUP_KEY.size else np.dtype("=u8")


class _ByCgroup(Base):
    """Entries come when a program that uses the map is attached to a cgroup, and go with it."""

    __slots__ = ()

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        size = self.key_size
        self.key = CgroupKeyCodec("cgroup", size, self.key.order, f"{size}s")

    def chunks(self, *, take: bool = False, flags: int = 0) -> Iterator[tuple[memoryview, memoryview, int]]:
        from .batch import walk_keys

        try:
            for raw in walk_keys(self):
                value = self._kernel.map_lookup(self._fd, raw, self.span, flags)
                if value is not None:
                    yield memoryview(raw), memoryview(value), 1
        except OSError as e:
            raise self.failed(e, "read") from e


class CgroupStorage(_ByCgroup, KeyedMap):
    """BPF_MAP_TYPE_CGROUP_STORAGE (Linux 4.19; `CgrpStorage` is its successor)."""

    __slots__ = ()


class PerCpuCgroupStorage(_ByCgroup, PerCpu, KeyedMap):
    """BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE (Linux 4.20)."""

    __slots__ = ("cpus", "slot")
