"""Longest-prefix-match tries.

A key is a u32 with the prefix's length in bits, in the machine's byte order, and the bytes it is a prefix of.
As in the kernel, bits behind the prefix are kept as they were written, and ignored.
Keys are listed as the kernel's trie is walked: what is inside a network before the network.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .base import EXIST, NOEXIST, Attributes, Home, Map, refuse
from .cells import Cells

if TYPE_CHECKING:
    from collections.abc import Iterator


class LpmTrie(Map):
    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.width = self.key_size - 4
        self.bits = 8 * self.width
        self.cells = Cells(self.memory, self.region, self.value_size)
        self.found: dict[tuple[int, int], tuple[bytes, int]] = {}  # prefix -> key as written, value's address
        self.lengths: dict[int, int] = {}
        self._order: list[tuple[int, int]] | None = None
        self._key = self.memory.alloc(self.key_size, "map_value", writable=False, name=f"{self.name} key")
        self.regions.append(self._key)

    def _prefix(self, key: bytes) -> tuple[int, int] | None:
        length = int.from_bytes(key[:4], "little")
        if length > self.bits:
            return None
        return length, int.from_bytes(key[4:], "big") >> self.bits - length

    def lookup(self, key: bytes, cpu: int) -> int:
        prefix = self._prefix(key)
        if prefix is None:
            return 0
        longest, data = prefix
        for length in sorted(self.lengths, reverse=True):
            if length <= longest:
                entry = self.found.get((length, data >> longest - length))
                if entry is not None:
                    return entry[1]
        return 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        prefix = self._prefix(key)
        if flags > EXIST or prefix is None:
            return -errno.EINVAL
        old = self.found.get(prefix)
        if old is None:
            if flags == EXIST:
                return -errno.ENOENT
            if len(self.found) >= self.max_entries:
                return -errno.ENOSPC
            self.lengths[prefix[0]] = self.lengths.get(prefix[0], 0) + 1
            self._order = None
        elif flags == NOEXIST:
            return -errno.EEXIST
        address = self.cells.take()
        self.cells.view(address)[:] = value
        self.found[prefix] = bytes(key), address
        if old is not None:
            self.cells.give(old[1])
        return 0

    def delete(self, key: bytes, cpu: int) -> int:
        prefix = self._prefix(key)
        if prefix is None:
            return -errno.EINVAL
        old = self.found.pop(prefix, None)
        if old is None:
            return -errno.ENOENT
        self.lengths[prefix[0]] -= 1
        if not self.lengths[prefix[0]]:
            del self.lengths[prefix[0]]
        self._order = None
        self.cells.give(old[1])
        return 0

    def _ordered(self) -> list[tuple[int, int]]:
        if self._order is None:
            # A character behind 0 and 1 ends each prefix, so that it comes after what is inside of it.
            self._order = sorted(
                self.found, key=lambda prefix: (f"{prefix[1]:0{prefix[0]}b}" if prefix[0] else "") + "2"
            )
        return self._order

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if flags:
            refuse(errno.EINVAL)
        address = self.lookup(key, 0)
        if not address:
            refuse(errno.ENOENT)
        return self.cells.view(address).tobytes()

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.check_lock(flags)
        self.answer(self.update(key, value, flags, 0))

    def sys_delete(self, key: bytes) -> None:
        self.answer(self.delete(key, 0))

    def sys_next_key(self, key: bytes | None) -> bytes:
        order = self._ordered()
        at = -1
        prefix = self._prefix(key) if key is not None else None
        if prefix in self.found:
            at = order.index(prefix)
        if at + 1 >= len(order):
            refuse(errno.ENOENT)
        return self.found[order[at + 1]][0]

    def each(self, cpu: int) -> Iterator[tuple[int, int]] | None:
        return None
