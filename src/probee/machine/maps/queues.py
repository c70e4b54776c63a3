"""Queues, stacks and Bloom filters: maps without keys."""

from __future__ import annotations

import errno
from collections import deque

from .base import EXIST, NOEXIST, Attributes, Home, Map, refuse
from .elements import hash_of

_HASHES = 5  # of a Bloom filter whose map_extra says nothing
_MOST_BITS = 1 << 31


class _Values(Map):
    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.values: deque[bytes] = deque()

    def next(self) -> bytes:
        raise NotImplementedError

    def take(self) -> bytes:
        raise NotImplementedError

    def push(self, value: bytes, flags: int) -> int:
        if flags & NOEXIST or flags > EXIST:
            return -errno.EINVAL
        if len(self.values) >= self.max_entries:
            if not flags & EXIST:
                return -errno.E2BIG
            self.values.popleft()  # the oldest one, of a stack, too
        self.values.append(bytes(value))
        return 0

    def pop(self) -> bytes | int:
        return self.take() if self.values else -errno.ENOENT

    def peek(self) -> bytes | int:
        return self.next() if self.values else -errno.ENOENT

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if flags:
            refuse(errno.EINVAL)
        if not self.values:
            refuse(errno.ENOENT)
        return self.next()

    def sys_take(self, key: bytes, flags: int = 0) -> bytes:
        if flags:
            refuse(errno.EINVAL)
        if not self.values:
            refuse(errno.ENOENT)
        return self.take()

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.check_lock(flags)
        self.answer(self.push(value, flags))

    def sys_delete(self, key: bytes) -> None:
        refuse(errno.EINVAL)

    def sys_next_key(self, key: bytes | None) -> bytes:
        return refuse(errno.EINVAL)


class Queue(_Values):
    def next(self) -> bytes:
        return self.values[0]

    def take(self) -> bytes:
        return self.values.popleft()


class Stack(_Values):
    def next(self) -> bytes:
        return self.values[-1]

    def take(self) -> bytes:
        return self.values.pop()


class BloomFilter(Map):
    """Bits for the values that were added. The number of bits is the kernel's; which ones are set is not."""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.hashes = self.extra & 15 or _HASHES
        wanted = self.max_entries * self.hashes * 7 // 5
        bits = 64
        while bits < wanted and bits < _MOST_BITS:
            bits *= 2
        self.mask = bits - 1
        self.bits = bytearray(bits // 8)

    def _places(self, value: bytes) -> list[int]:
        return [hash_of(bytes([n, 0, 0, 0, 0, 0, 0, 0]) + value) & self.mask for n in range(self.hashes)]

    def push(self, value: bytes, flags: int) -> int:
        if flags:
            return -errno.EINVAL
        for place in self._places(value):
            self.bits[place >> 3] |= 1 << (place & 7)
        return 0

    def holds(self, value: bytes) -> int:
        """0 if the value may have been added, -ENOENT if it was not."""
        held = all(self.bits[place >> 3] >> (place & 7) & 1 for place in self._places(value))
        return 0 if held else -errno.ENOENT

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.check_lock(flags)
        self.answer(self.push(value, flags))

    def sys_delete(self, key: bytes) -> None:
        refuse(errno.EOPNOTSUPP)

    def sys_next_key(self, key: bytes | None) -> bytes:
        return refuse(errno.EOPNOTSUPP)
