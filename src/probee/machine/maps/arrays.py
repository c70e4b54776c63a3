"""Arrays: all entries exist from the start.

**Layout, which native code reads too.** The value of index i is at `elements + i * stride`, where `stride`
is the value's size rounded up to 8; of a per-CPU array the value of CPU c is at `elements + c * cpu_stride
+ i * stride`. Keys are u32; an index of `max_entries` or more has no value.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from .base import EXIST, LOCK, NOEXIST, Attributes, Home, Layout, Map, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

U32 = struct.Struct("<I")
PAGE = 4096
BPF_F_CPU, BPF_F_ALL_CPUS = 8, 16


def index_of(key: bytes) -> int:
    return int.from_bytes(key, "little")


class Indexed(Map):
    """What maps with keys 0 to max_entries - 1 share."""

    def sys_next_key(self, key: bytes | None) -> bytes:
        index = index_of(key) if key is not None else -1
        if index >= self.max_entries:
            index = -1
        if index == self.max_entries - 1:
            refuse(errno.ENOENT)
        return U32.pack(index + 1)


class Array(Indexed):
    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.stride = self.round_size
        size = self.max_entries * self.stride
        self.values = self.region(size)
        self.data = self.values.data
        self._key = self.memory.alloc(8, "map_value", writable=False, name=f"{self.name} key")
        self.regions.append(self._key)

    def layout(self) -> Layout:
        made = Layout("array", self.max_entries, self.key_size, self.stride)
        made.elements = self.values.address
        return made

    def lookup(self, key: bytes, cpu: int) -> int:
        index = index_of(key)
        return self.values.address + index * self.stride if index < self.max_entries else 0

    def check(self, index: int, flags: int) -> int:
        if flags & ~LOCK > EXIST:
            return -errno.EINVAL
        if index >= self.max_entries:
            return -errno.E2BIG
        if flags & NOEXIST:
            return -errno.EEXIST
        if flags & LOCK and self.fields.find("spin_lock") is None:
            return -errno.EINVAL
        return 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        index = index_of(key)
        wrong = self.check(index, flags)
        if wrong:
            return wrong
        self.write(index, value, flags)
        return 0

    def write(self, index: int, value: bytes, flags: int) -> None:
        at = index * self.stride
        if self.fields:
            if not flags & LOCK:
                self.dropped(self.values.address + at)
            self.fields.copy(self.data[at : at + self.value_size], value)
        else:
            self.data[at : at + self.value_size] = value

    def each(self, cpu: int) -> Iterator[tuple[int, int]]:
        for index in range(self.max_entries):
            U32.pack_into(self._key.data, 0, index)
            yield self._key.address, self.values.address + index * self.stride

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if flags & ~LOCK:
            refuse(errno.EINVAL)
        self.check_lock(flags)
        index = index_of(key)
        if index >= self.max_entries:
            refuse(errno.ENOENT)
        at = index * self.stride
        return self.shown(self.data[at : at + self.value_size].tobytes())

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.check_lock(flags)
        self.answer(self.update(key, value, flags, self.home.cpu))

    def sys_delete(self, key: bytes) -> None:
        refuse(errno.EINVAL)


class PerCpuArray(Indexed):
    per_cpu = True

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.stride = self.round_size
        self.cpu_stride = self.max_entries * self.stride
        self.values = self.region(self.cpu_stride * home.cpus)
        self.data = self.values.data
        self._key = self.memory.alloc(8, "map_value", writable=False, name=f"{self.name} key")
        self.regions.append(self._key)

    def layout(self) -> Layout:
        made = Layout("percpu_array", self.max_entries, self.key_size, self.stride)
        made.elements = self.values.address
        made.cpu_stride = self.cpu_stride
        return made

    def lookup(self, key: bytes, cpu: int) -> int:
        index = index_of(key)
        if index >= self.max_entries:
            return 0
        return self.values.address + cpu * self.cpu_stride + index * self.stride

    def lookup_on(self, key: bytes, cpu: int) -> int:
        return self.lookup(key, cpu) if cpu < self.home.cpus else 0

    def _check(self, index: int, flags: int) -> int:
        if flags > EXIST:
            return -errno.EINVAL
        if index >= self.max_entries:
            return -errno.E2BIG
        return -errno.EEXIST if flags == NOEXIST else 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        index = index_of(key)
        wrong = self._check(index, flags)
        if not wrong:
            at = cpu * self.cpu_stride + index * self.stride
            if self.fields:
                self.dropped(self.values.address + at)
            self.fields.copy(self.data[at : at + self.value_size], value)
        return wrong

    def each(self, cpu: int) -> Iterator[tuple[int, int]]:
        for index in range(self.max_entries):
            U32.pack_into(self._key.data, 0, index)
            yield self._key.address, self.lookup(U32.pack(index), cpu)

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if flags:
            refuse(errno.EINVAL)
        index = index_of(key)
        if index >= self.max_entries:
            refuse(errno.ENOENT)
        out = bytearray(self.span)
        for cpu in range(self.home.cpus):
            at = cpu * self.cpu_stride + index * self.stride
            value = self.shown(self.data[at : at + self.value_size].tobytes())
            out[cpu * self.stride : cpu * self.stride + self.value_size] = value
        return bytes(out)

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.check_lock(flags)
        self.answer(self._check(index_of(key), flags))
        for cpu in range(self.home.cpus):
            at = cpu * self.stride
            self.answer(self.update(key, value[at : at + self.value_size], flags, cpu))

    def sys_delete(self, key: bytes) -> None:
        refuse(errno.EINVAL)
