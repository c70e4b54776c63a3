"""Arenas: pages that come and go. Of a page that is not there programs read 0.

The user-space address of an arena's byte is its address in the machine: all of the machine's memory lies in
one window of 4 GiB, so the lower 32 bits say which byte it is, as they do in the kernel.
"""

from __future__ import annotations

import errno

from .base import Attributes, Home, Map

PAGE = 4096
GUARD = 32 << 10  # bytes on either side: an instruction's offset leads no further out
_NOWHERE = 0


class Arena(Map):
    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.pages = self.max_entries
        self.area = self.memory.alloc(
            self.pages * PAGE + 2 * GUARD, "arena", align=PAGE, readable=False, writable=False, name=self.name
        )
        self.regions.append(self.area)
        self.used: set[int] = set()

    @property
    def base(self) -> int:
        return self.area.address + GUARD

    @property
    def data(self) -> memoryview:
        """The bytes of all pages."""
        return self.area.data[GUARD : GUARD + self.pages * PAGE]

    def alloc(self, address: int, count: int) -> int:
        """`bpf_arena_alloc_pages`: the address of `count` pages in a row, at `address` if that is not 0; 0 if
        there are none."""
        if not count or count > self.pages:
            return _NOWHERE
        if address:
            offset = (address - self.base) & 0xFFFFFFFF
            if offset % PAGE:
                return _NOWHERE
            first = offset // PAGE
            if first + count > self.pages or any(page in self.used for page in range(first, first + count)):
                return _NOWHERE
        else:
            first = self._free_run(count)
            if first < 0:
                return _NOWHERE
        self.take(first, count)
        return self.base + first * PAGE

    def take(self, first: int, count: int) -> None:
        """Make pages usable."""
        self.used.update(range(first, first + count))
        self.memory.protect(self.area, GUARD + first * PAGE, count * PAGE)

    def _free_run(self, count: int) -> int:
        length = 0
        for page in range(self.pages):
            length = 0 if page in self.used else length + 1
            if length == count:
                return page - count + 1
        return -1

    def free(self, address: int, count: int) -> None:
        """`bpf_arena_free_pages`."""
        first = ((address - self.base) & 0xFFFFFFFF) // PAGE
        for page in range(first, min(first + count, self.pages)):
            if page in self.used:
                self.used.discard(page)
                self.data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
                self.memory.protect(self.area, GUARD + page * PAGE, PAGE, readable=False, writable=False)

    def reserve(self, address: int, count: int) -> int:
        """`bpf_arena_reserve_pages`: keep pages from being given out."""
        offset = (address - self.base) & 0xFFFFFFFF
        first = offset // PAGE
        if not count:
            return 0
        if offset % PAGE or first + count > self.pages:
            return -errno.EINVAL
        if any(page in self.used for page in range(first, first + count)):
            return -errno.EBUSY
        self.used.update(range(first, first + count))
        return 0
