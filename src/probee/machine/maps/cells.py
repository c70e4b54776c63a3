"""Memory for values of one size, taken one by one and given back."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..memory import BASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..memory import Memory, Region

_FIRST, _LARGEST = 16, 1 << 14


class Cells:
    """`allocate` gives memory for a number of bytes. A cell that was given back stays readable, and is the
    last to be used again."""

    __slots__ = ("_allocate", "_free", "_memory", "_slab", "size", "stride")

    def __init__(self, memory: Memory, allocate: Callable[[int], Region], size: int) -> None:
        self._memory = memory
        self._allocate = allocate
        self.size = size
        self.stride = max(8, size + 7 & ~7)
        self._slab = _FIRST
        self._free: deque[int] = deque()

    def take(self, most: int = _LARGEST) -> int:
        """The address of a zeroed cell. `most` is how many more there will be at all."""
        if not self._free:
            count = max(1, min(self._slab, most))
            self._slab = min(self._slab * 2, _LARGEST)
            region = self._allocate(count * self.stride)
            self._free.extend(region.address + i * self.stride for i in range(count))
        address = self._free.popleft()
        self.view(address)[:] = bytes(self.size)
        return address

    def give(self, address: int) -> None:
        self._free.append(address)

    def view(self, address: int) -> memoryview:
        """A cell's bytes, whatever programs may do with them."""
        return self._memory.buffer[address - BASE : address - BASE + self.size]
