"""Hash maps, plain and LRU, with a value for all CPUs or one for each. Layout of the memory: see `elements`.

An update of an entry that exists puts a new element in place of the old one, as the kernel does, so a program
that still holds a pointer to the old value sees the old one, until its element is used again. A
preallocated map keeps one spare element for each CPU for this; one with BPF_F_NO_PREALLOC takes any.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .base import (
    EXIST,
    F_NO_COMMON_LRU,
    F_NO_PREALLOC,
    F_RDONLY_PROG,
    F_WRONLY_PROG,
    LOCK,
    NOEXIST,
    Attributes,
    Home,
    Layout,
    Map,
    refuse,
)
from .elements import KEY_OFFSET, Element, Table, permissions
from .lru import CommonLru, PerCpuLru

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..memory import Region


class HashBase(Map):
    """What all of them share: looking up, deleting, listing."""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.stored = self.stored_size()
        permits = permissions(
            self.key_size,
            self.stored,
            readable=not self.flags & F_WRONLY_PROG,
            writable=not self.flags & F_RDONLY_PROG,
        )
        self.table = Table(self.memory, self._slab, self.key_size, self.stored, self.max_entries, permits)
        self.grown = 0
        self.extra_elements = 0

    def stored_size(self) -> int:
        """Bytes of the value in an element."""
        return self.value_size

    def _slab(self, size: int, kind: str) -> Region:
        made = self.memory.alloc(max(8, size), kind, name=self.name)
        self.regions.append(made)
        return made

    def __len__(self) -> int:
        return len(self.table.found)

    # Elements.

    @property
    def preallocated(self) -> bool:
        return not self.flags & F_NO_PREALLOC

    def take_element(self) -> Element | None:
        """A free element; None if all that there may be are in use."""
        table = self.table
        if table.free:
            return table.free.pop()
        most = self.max_entries + self.home.cpus - self.grown
        if most <= 0:
            return None
        made = table.grow(most)
        self.grown += len(made)
        table.free.extend(reversed(made))
        return table.free.pop()

    def new_element(self, replaced: bool) -> Element | None:
        if not replaced and len(self.table.found) >= self.max_entries:
            return None
        return self.take_element()

    def drop_element(self, element: Element) -> None:
        """An element is free again."""
        if self.preallocated:
            self.table.free.append(element)
        else:
            self.table.free.appendleft(element)

    def value_address(self, element: Element, cpu: int) -> int:
        return element.address + self.table.value_offset

    def value(self, element: Element) -> memoryview:
        at = element.offset + self.table.value_offset
        return element.memory[at : at + self.stored]

    def fill(self, element: Element, value: bytes, cpu: int) -> None:
        """Write a new element's value."""
        memory = self.value(element)
        if self.fields:
            memory[:] = bytes(self.stored)
            self.fields.copy(memory, value)
        else:
            memory[:] = value

    def check(self, element: Element | None, flags: int) -> int:
        kind = flags & ~LOCK
        if element is not None and kind == NOEXIST:
            return -errno.EEXIST
        return -errno.ENOENT if element is None and kind == EXIST else 0

    def remove(self, element: Element) -> None:
        self.table.remove(element)
        self.finish(element)
        self.drop_element(element)

    def finish(self, element: Element) -> None:
        """The values of an element end."""
        if self.fields:
            self.dropped(self.value_address(element, 0))

    # Programs.

    def layout(self) -> Layout | None:
        made = Layout("hash", self.max_entries, self.key_size, self.table.stride)
        made.buckets, made.mask = self.table.buckets, self.table.mask
        made.key_offset, made.value_offset = KEY_OFFSET, self.table.value_offset
        made.origin = self.table.origin
        return made

    def lookup(self, key: bytes, cpu: int) -> int:
        element = self.table.found.get(key)
        return 0 if element is None else self.value_address(element, cpu)

    def delete(self, key: bytes, cpu: int) -> int:
        element = self.table.found.get(key)
        if element is None:
            return -errno.ENOENT
        self.remove(element)
        return 0

    def each(self, cpu: int) -> Iterator[tuple[int, int]]:
        for element in list(self.table.found.values()):
            if element.key is not None:
                yield element.address + KEY_OFFSET, self.value_address(element, cpu)

    # The system call.

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if flags & ~LOCK or (self.per_cpu and flags):
            refuse(errno.EINVAL)
        self.check_lock(flags)
        element = self.table.found.get(key)
        if element is None:
            refuse(errno.ENOENT)
        return self.told(element)

    def told(self, element: Element) -> bytes:
        """The value as user space gets it."""
        return self.shown(self.value(element).tobytes())

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.check_lock(flags)
        self.answer(self.update(key, value, flags, self.home.cpu))

    def sys_delete(self, key: bytes) -> None:
        self.answer(self.delete(key, self.home.cpu))

    def sys_take(self, key: bytes, flags: int = 0) -> bytes:
        if flags & ~LOCK:
            refuse(errno.EINVAL)
        self.check_lock(flags)
        element = self.table.found.get(key)
        if element is None:
            refuse(errno.ENOENT)
        out = self.told(element)
        self.remove(element)
        return out

    def sys_next_key(self, key: bytes | None) -> bytes:
        element = None if key is None else self.table.found.get(key)
        following = self.table.first if element is None else element.after
        if following is None:
            refuse(errno.ENOENT)
        assert following.key is not None
        return following.key


class Hash(HashBase):
    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        if flags & ~LOCK > EXIST:
            return -errno.EINVAL
        old = self.table.found.get(key)
        if flags & LOCK and self.fields.find("spin_lock") is None:
            return -errno.EINVAL
        wrong = self.check(old, flags)
        if wrong:
            return wrong
        if old is not None and flags & LOCK:
            self.fields.copy(self.value(old), value)
            return 0
        new = self.new_element(old is not None)
        if new is None:
            return -errno.E2BIG
        self.fill(new, value, cpu)
        if old is None:
            self.table.insert(new, key)
        else:
            self.table.replace(old, new)
            self.finish(old)
            self.drop_element(old)
        return 0


class PerCpuValues(HashBase):
    """An element holds the values of all CPUs, one after the other, each padded to 8."""

    per_cpu = True

    def stored_size(self) -> int:
        return self.round_size * self.home.cpus

    def layout(self) -> Layout | None:
        made = super().layout()
        if made is not None:
            made.kind, made.cpu_stride = "percpu_hash", self.round_size
        return made

    def value_address(self, element: Element, cpu: int) -> int:
        return element.address + self.table.value_offset + cpu * self.round_size

    def lookup_on(self, key: bytes, cpu: int) -> int:
        return self.lookup(key, cpu) if cpu < self.home.cpus else 0

    def one(self, element: Element, cpu: int) -> memoryview:
        at = element.offset + self.table.value_offset + cpu * self.round_size
        return element.memory[at : at + self.value_size]

    def fill(self, element: Element, value: bytes, cpu: int) -> None:
        memory = self.value(element)
        memory[:] = bytes(self.stored)
        if len(value) == self.span and self.span != self.value_size:
            self.write_all(element, value)
        else:
            self.fields.copy(self.one(element, cpu), value)

    def write_all(self, element: Element, value: bytes) -> None:
        for cpu in range(self.home.cpus):
            at = cpu * self.round_size
            self.fields.copy(self.one(element, cpu), value[at : at + self.value_size])

    def told(self, element: Element) -> bytes:
        out = bytearray(self.span)
        for cpu in range(self.home.cpus):
            at = cpu * self.round_size
            out[at : at + self.value_size] = self.shown(self.one(element, cpu).tobytes())
        return bytes(out)

    def finish(self, element: Element) -> None:
        if self.fields:
            for cpu in range(self.home.cpus):
                self.dropped(self.value_address(element, cpu))

    def put(self, key: bytes, value: bytes, flags: int, cpu: int, *, whole: bool) -> int:
        raise NotImplementedError

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        return self.put(key, value, flags, cpu, whole=False)

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.check_lock(flags)
        self.answer(self.put(key, value, flags, self.home.cpu, whole=True))

    def write(self, element: Element, value: bytes, cpu: int, whole: bool) -> None:
        if whole:
            self.write_all(element, value)
        else:
            self.fields.copy(self.one(element, cpu), value)

    def start(self, element: Element, value: bytes, cpu: int, whole: bool) -> None:
        """Fill a new element: the values of other CPUs are 0."""
        self.value(element)[:] = bytes(self.stored)
        self.write(element, value, cpu, whole)


class PerCpuHash(PerCpuValues):
    def put(self, key: bytes, value: bytes, flags: int, cpu: int, *, whole: bool) -> int:
        if flags > EXIST:
            return -errno.EINVAL
        old = self.table.found.get(key)
        wrong = self.check(old, flags)
        if wrong:
            return wrong
        if old is not None:
            self.write(old, value, cpu, whole)
            return 0
        new = self.new_element(False)
        if new is None:
            return -errno.E2BIG
        self.start(new, value, cpu, whole)
        self.table.insert(new, key)
        return 0


class _Lru(HashBase):
    """Where elements come from in LRU maps: see `lru`."""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        per_cpu_lists = bool(self.flags & F_NO_COMMON_LRU)
        if per_cpu_lists:  # each CPU has the same number of them
            cpus = home.cpus
            rounded = (self.max_entries + cpus - 1) // cpus * cpus
            self.max_entries = max(rounded, cpus)
        elements: list[Element] = []
        while len(elements) < self.max_entries:
            elements += self.table.grow(self.max_entries - len(elements))
        kind = PerCpuLru if per_cpu_lists else CommonLru
        self.lru = kind(elements, home.cpus, self._evict, Element)

    def layout(self) -> None:
        return None  # a look-up sets the reference bit

    def _evict(self, element: Element) -> None:
        if element.key is not None:
            self.table.remove(element)
            self.finish(element)

    def drop_element(self, element: Element) -> None:
        self.lru.push(element)

    def lookup(self, key: bytes, cpu: int) -> int:
        element = self.table.found.get(key)
        if element is None:
            return 0
        element.referenced = True
        return self.value_address(element, cpu)

    def lookup_on(self, key: bytes, cpu: int) -> int:
        return self.lookup(key, cpu) if self.per_cpu and cpu < self.home.cpus else 0


class LruHash(_Lru):
    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        if flags > EXIST:
            return -errno.EINVAL
        new = self.lru.pop(cpu)
        if new is None:
            return -errno.ENOMEM
        self.fill(new, value, cpu)
        old = self.table.found.get(key)
        wrong = self.check(old, flags)
        if wrong:
            self.lru.push(new)
            return wrong
        if old is None:
            self.table.insert(new, key)
            return 0
        new.referenced = True
        self.table.replace(old, new)
        self.finish(old)
        self.lru.push(old)
        return 0


class LruPerCpuHash(_Lru, PerCpuValues):
    def put(self, key: bytes, value: bytes, flags: int, cpu: int, *, whole: bool) -> int:
        if flags > EXIST:
            return -errno.EINVAL
        new = None
        if flags != EXIST:
            new = self.lru.pop(cpu)
            if new is None:
                return -errno.ENOMEM
        old = self.table.found.get(key)
        wrong = self.check(old, flags)
        if not wrong and old is not None:
            old.referenced = True
            self.write(old, value, cpu, whole)
        elif not wrong and new is not None:
            self.start(new, value, cpu, whole)
            self.table.insert(new, key)
            return 0
        if new is not None:
            self.lru.push(new)
        return wrong
