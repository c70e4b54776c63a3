"""The map commands of bpf(2), answered by the machine: the seam on which the kernel's map classes work.

`MapCalls` has the methods of `sys.bpf.Kernel` that maps need, so Python sees a machine's map through the same
class as a kernel's. Descriptors are numbers of the machine.
"""

from __future__ import annotations

import errno
from itertools import count
from typing import TYPE_CHECKING, Any

from ..memory import BASE
from . import checks, create
from .arena import Arena
from .arrays import Array, PerCpuArray
from .base import ENOTSUPP, F_MMAPABLE, F_RDONLY, F_WRONLY, Attributes, Home, Map, refuse
from .hashes import HashBase
from .holders import ArrayOfMaps
from .lpm import LpmTrie
from .queues import BloomFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

_FIRST_FD = 1 << 20  # no descriptor of this process
_BATCHED = (HashBase, Array, PerCpuArray, LpmTrie, ArrayOfMaps)
_PAGE = 4096


class Facts:
    """What BPF_OBJ_GET_INFO_BY_FD tells of a map."""

    def __init__(self, m: Map) -> None:
        self.type, self.id, self.name = m.type, m.id, m.name
        self.key_size, self.value_size, self.max_entries = m.key_size, m.value_size, m.max_entries
        self.flags, self.extra = m.flags, m.extra
        self.btf_id = self.btf_vmlinux_id = self.btf_vmlinux_value_type_id = 0
        self.key_type_id, self.value_type_id = m.key_type_id, m.value_type_id
        self.ifindex = self.netns_dev = self.netns_ino = 0
        self.frozen = m.frozen


class MapCalls:
    """Descriptors and ids of a machine's objects, and the commands on its maps.

    `paths` find objects by path, and `resolvers` say what else numbers stand for, by kind: devices by
    index, tasks by pid, sockets. The kinds "map" and "prog" are descriptors given by `register`.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self._fds = count(_FIRST_FD)
        self._ids = count(1)
        self.open: dict[int, tuple[str, Any]] = {}
        self.resolvers: dict[str, Callable[[int], Any]] = {"device": lambda index: index or None}
        self.paths: dict[str, Callable[[str], Any]] = {}
        self._descriptors: dict[tuple[str, int], int] = {}
        home.resolve = self.resolve

    # Objects.

    def register(self, kind: str, item: Any) -> int:
        """A descriptor of an object, which gets an id if it has none."""
        if not getattr(item, "id", 0):
            item.id = next(self._ids)
        fd = next(self._fds)
        self.open[fd] = kind, item
        return fd

    def resolve(self, kind: str, fd: int) -> Any:
        """The object of a kind that a number stands for, None if there is none."""
        found = self.open.get(fd)
        if found is not None:
            return found[1] if found[0] == kind else None
        resolver = self.resolvers.get(kind)
        return resolver(fd) if resolver is not None else None

    def resolve_path(self, kind: str, path: str) -> Any:
        """The object of a kind at a path, None if there is none."""
        resolver = self.paths.get(kind)
        return None if resolver is None else resolver(path)

    def descriptor_of(self, kind: str, item: Any) -> int:
        """A descriptor of an object, the same one each time."""
        known = self._descriptors.get((kind, id(item)))
        if known is not None and self.open.get(known) == (kind, item):
            return known
        fd = self._descriptors[kind, id(item)] = self.register(kind, item)
        return fd

    def map_fd(self, id: int) -> int:
        """A new descriptor of the map with an id, -1 if there is none."""
        for kind, item in list(self.open.values()):
            if kind == "map" and item.id == id:
                return self.register("map", item)
        return -1

    def close(self, fd: int) -> None:
        if self.open.pop(fd, None) is None:
            refuse(errno.EBADF)

    def fd_by_id(self, command: int, id: int, flags: int = 0) -> int:
        fd = self.map_fd(id)
        return fd if fd >= 0 else refuse(errno.ENOENT)

    def find_map(self, fd: int) -> Map:
        found = self.open.get(fd)
        if found is None or found[0] != "map":
            refuse(errno.EBADF)
        m: Map = found[1]
        return m

    def possible_cpus(self) -> int:
        return self.home.cpus

    def online_cpus(self) -> list[int]:
        return list(range(self.home.cpus))

    # Maps.

    def map_create(
        self,
        type: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        *,
        flags: int = 0,
        name: str = "",
        inner_fd: int = 0,
        extra: int = 0,
        btf: Any = None,
        key_type_id: int = 0,
        value_type_id: int = 0,
    ) -> int:
        inner = self.find_map(inner_fd) if inner_fd else None
        attributes = Attributes(
            type,
            key_size,
            value_size,
            max_entries,
            flags=flags,
            name=name,
            extra=extra,
            inner=inner,
            btf=btf,
            key_type_id=key_type_id,
            value_type_id=value_type_id,
        )
        return self.add(create(attributes, self.home))

    def add(self, m: Map) -> int:
        """The descriptor of a map made otherwise."""
        return self.register("map", m)

    def map_info(self, fd: int) -> Facts:
        return Facts(self.find_map(fd))

    def map_freeze(self, fd: int) -> None:
        m = self.find_map(fd)
        if m.type == checks.STRUCT_OPS or m.fields.find(
            "timer", "kptr", "percpu_kptr", "list_head", "rb_root"
        ):
            refuse(ENOTSUPP)
        if m.frozen or m.flags & F_RDONLY:
            refuse(errno.EPERM)
        m.frozen = True

    def _writable(self, fd: int) -> Map:
        m = self.find_map(fd)
        if m.frozen or m.flags & F_RDONLY:
            refuse(errno.EPERM)
        return m

    def _readable(self, fd: int) -> Map:
        m = self.find_map(fd)
        if m.flags & F_WRONLY:
            refuse(errno.EPERM)
        return m

    def map_lookup(self, fd: int, key: Buffer, size: int, flags: int = 0) -> bytes | None:
        m = self._readable(fd)
        return _or_none(m.sys_lookup, bytes(key), flags)

    def map_lookup_and_delete(self, fd: int, key: Buffer, size: int, flags: int = 0) -> bytes | None:
        m = self._readable(fd)
        self._writable(fd)
        return _or_none(m.sys_take, bytes(key), flags)

    def map_holds(self, fd: int, value: Buffer) -> bool:
        m = self._readable(fd)
        if not isinstance(m, BloomFilter):
            refuse(errno.EINVAL)
        return m.holds(bytes(value)) == 0

    def map_update(self, fd: int, key: Buffer, value: Buffer, flags: int = 0) -> None:
        self._writable(fd).sys_update(bytes(key), bytes(value), flags)

    def map_delete(self, fd: int, key: Buffer) -> bool:
        m = self._writable(fd)
        try:
            m.sys_delete(bytes(key))
        except OSError as e:
            if e.errno == errno.ENOENT:
                return False
            raise
        return True

    def map_next_key(self, fd: int, key: Buffer | None, key_size: int) -> bytes | None:
        m = self._readable(fd)
        return _or_none(m.sys_next_key, None if key is None else bytes(key))

    def map_lookup_batch(
        self,
        fd: int,
        in_batch: bytes | None,
        keys: Buffer,
        values: Buffer,
        count: int,
        *,
        batch_size: int,
        delete: bool = False,
        flags: int = 0,
    ) -> tuple[int, bytes | None, bool]:
        m = self._readable(fd)
        if not isinstance(m, _BATCHED) or (delete and not isinstance(m, (HashBase, LpmTrie))):
            refuse(ENOTSUPP)
        into_keys, into_values = memoryview(keys).cast("B"), memoryview(values).cast("B")
        span, size = m.span, m.key_size
        key = None if in_batch is None else in_batch[:size]
        done = 0
        last = key
        while done < count:
            found = _or_none(m.sys_next_key, last)
            if found is None:
                return done, None, True
            raw = _or_none(m.sys_lookup, found, flags)
            if raw is not None:
                into_keys[done * size : (done + 1) * size] = found
                into_values[done * span : (done + 1) * span] = raw
                done += 1
            if delete:
                m.sys_delete(found)
            else:
                last = found
        return done, (last or b"").ljust(batch_size, b"\0"), False

    def map_update_batch(self, fd: int, keys: Buffer, values: Buffer, count: int, *, flags: int = 0) -> int:
        m = self._writable(fd)
        if not isinstance(m, _BATCHED):
            refuse(ENOTSUPP)
        all_keys, all_values = memoryview(keys).cast("B"), memoryview(values).cast("B")
        span, size = m.span, m.key_size
        for i in range(count):
            try:
                m.sys_update(
                    bytes(all_keys[i * size : (i + 1) * size]),
                    bytes(all_values[i * span : (i + 1) * span]),
                    flags,
                )
            except OSError as e:
                if e.errno == errno.ENOENT:
                    return i
                raise
        return count

    def map_delete_batch(self, fd: int, keys: Buffer, count: int) -> int:
        m = self._writable(fd)
        if not isinstance(m, (HashBase, LpmTrie)):
            refuse(ENOTSUPP)
        all_keys, size = memoryview(keys).cast("B"), m.key_size
        for i in range(count):
            if not self.map_delete(fd, all_keys[i * size : (i + 1) * size]):
                return i
        return count

    # Memory.

    def mmap(self, fd: int, length: int, *, write: bool = False, offset: int = 0) -> memoryview:
        """The bytes of a map that can be mapped, as programs see them."""
        m = self.find_map(fd)
        if m.type in (checks.RINGBUF, checks.USER_RINGBUF):
            start = m.ring.address - BASE  # type: ignore[attr-defined]
        elif isinstance(m, Array) and m.flags & F_MMAPABLE:
            if write and (m.frozen or m.flags & F_RDONLY):
                refuse(errno.EPERM)
            start = m.values.address - BASE
            length = min(length, m.values.size)
        else:
            refuse(ENOTSUPP)
        view = m.memory.buffer[start + offset : start + offset + length]
        return view if write else view.toreadonly()

    def mmap_at(self, fd: int, length: int, address: int = 0) -> tuple[memoryview, int]:
        m = self.find_map(fd)
        if not isinstance(m, Arena):
            refuse(ENOTSUPP)
        return m.data, m.base


def _or_none(call: Callable[..., bytes], *arguments: Any) -> bytes | None:
    try:
        return call(*arguments)
    except OSError as e:
        if e.errno == errno.ENOENT:
            return None
        raise
