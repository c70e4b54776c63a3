"""Arenas: memory that programs and user space share, at addresses that mean the same to both."""

from __future__ import annotations

from ..errors import MapError
from .maps import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LOWER = 0xFFFFFFFF


class Arena(Map):
    """BPF_MAP_TYPE_ARENA (Linux 6.9). `memory` is all of it, pages come into being when they are touched.

    Pointers that programs store in an arena are addresses in this process; `offset` says where in `memory`
    they point. The memory goes with the last view of it, not with `close()`.
    """

    __slots__ = ("_address", "_memory")

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        self._memory: memoryview | None = None
        self._address = 0

    def _created(self) -> None:
        # The verifier wants the address that the arena has in user space: map it before programs are loaded.
        self._map()

    @property
    def size(self) -> int:
        """Bytes, at most 4 GiB."""
        from mmap import PAGESIZE

        return self.max_entries * PAGESIZE

    def _map(self) -> memoryview:
        if self._memory is None:
            if self._fd < 0:
                raise MapError(f"arena {self.name!r} is closed")
            try:
                wanted: int = self._kernel.map_info(self._fd).extra
                self._memory, self._address = self._kernel.mmap_at(self._fd, self.size, wanted)
            except OSError as e:
                raise self.failed(e, "map the memory of") from e
        return self._memory

    @property
    def memory(self) -> memoryview:
        """All bytes of the arena, to read and write. Raises MapError if it can't be mapped: an arena of
        another process may want an address that is taken here."""
        return self._map()

    @property
    def address(self) -> int:
        """The address of the first byte in this process, and in pointers."""
        self._map()
        return self._address

    def offset(self, pointer: int) -> int:
        """Where in `memory` a pointer points: its lower 32 bits count. Raises IndexError outside of it."""
        offset = (pointer - self.address) & _LOWER
        if offset >= self.size:
            raise IndexError(f"{pointer:#x} points outside of arena {self.name!r}")
        return offset

    def pointer(self, offset: int) -> int:
        """The pointer to a byte of `memory`."""
        if not 0 <= offset < self.size:
            raise IndexError(f"arena {self.name!r} has {self.size} bytes")
        return self.address + offset

    def touch(self, offset: int, size: int) -> None:
        """Make the pages around some bytes exist: here they come into being by themselves."""

    def at(self, pointer: Any, of: Any) -> Any:
        """What of the declared type `of` a pointer leads to: of a struct, a view whose fields are read and
        written in place and whose pointers lead on; None for a null pointer. Raises IndexError outside."""
        from .arena_view import at

        return at(self, pointer, of)

    def array(self, pointer: Any, of: Any, count: int) -> Any:
        """A NumPy array of `count` structs or numbers, over the memory that a pointer leads to: no copy."""
        from .arena_view import array

        return array(self, pointer, of, count)

    def close(self) -> None:
        super().close()
        self._memory = None
