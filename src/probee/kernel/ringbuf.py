"""Ring buffers: records from programs, as objects one by one or as columns.

The kernel drops records that find no room; `dropped` counts them if the program does. See `reader` for how
records are taken.
"""

from __future__ import annotations

from ..errors import MapError
from .maps import Map
from .reader import Reader
from .ring import OverwrittenRing, Ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterator
    from typing import Any, Self

    import numpy as np

    from ..btf.values import Codec

BPF_F_RB_OVERWRITE = 1 << 19
_LARGEST = 1 << 31  # bytes: the power of two that fits into max_entries


class RingBuf(Reader, Map):
    """BPF_MAP_TYPE_RINGBUF (Linux 5.8). `value` is the codec of the records; those without a type are bytes.

    `for record in rb` waits for records until `close()` is called (from a signal handler or another thread,
    too); `async for` does the same in asyncio. `fileno()` can be polled: readable means there are records.
    """

    __slots__ = ("_drops", "_maps", "_pending", "_ring", "_sleeper", "_typed", "_wake")
    closed = Map.closed
    fileno = Map.fileno

    def __init__(self, fd: int, **facts: Any) -> None:
        facts["max_entries"] = _rounded(facts["max_entries"])
        super().__init__(fd, **facts)
        if self.max_entries > _LARGEST:
            raise MapError(f"ring buffer {self.name!r} is too large: at most {_LARGEST} bytes")
        self._typed: Codec | None = facts.get("value")
        self._ring: Ring | None = None
        self._maps: list[mmap.mmap] = []
        self._pending: Iterator[Any] = iter(())
        self._wake = -1
        self._sleeper: Callable[[], object] | None = None
        self._drops: Callable[[], int] | None = None

    @property
    def size(self) -> int:
        """Bytes of the data area."""
        return self.max_entries

    @property
    def available(self) -> int:
        """Bytes waiting to be read, record headers included."""
        return self._open().available

    @property
    def dropped(self) -> int | None:
        """How many records found no room so far; None if nobody counts. The kernel does not, programs do."""
        return None if self._drops is None else self._drops()

    @property
    def overwrites(self) -> bool:
        """Whether new records overwrite the oldest: a flight recorder (BPF_F_RB_OVERWRITE, Linux 6.19)."""
        return bool(self.flags & BPF_F_RB_OVERWRITE)

    @property
    def overwritten(self) -> int:
        """Bytes of records that were overwritten before they were read, as far as that was seen."""
        ring = self._open()
        return ring.overwritten if isinstance(ring, OverwrittenRing) else 0

    def count_drops(self, count: Callable[[], int]) -> None:
        """Let `dropped` ask `count`."""
        self._drops = count

    def _open(self) -> Ring:
        if self._ring is None:
            from mmap import PAGESIZE

            if self._fd < 0:
                raise MapError(f"ring buffer {self.name!r} is closed")
            try:
                consumer = self._kernel.mmap(self._fd, PAGESIZE, write=True)
                self._maps.append(consumer)
                rest = self._kernel.mmap(self._fd, PAGESIZE + 2 * self.size, offset=PAGESIZE)
                self._maps.append(rest)
            except OSError as e:
                self._maps.clear()
                raise self.failed(e, "map the memory of") from e
            view = memoryview(rest)
            kind = OverwrittenRing if self.overwrites else Ring
            self._ring = kind(memoryview(consumer), view, view[PAGESIZE:])
        return self._ring

    def of(self, what: Any) -> Self:
        """Say what the records are: the name of a struct among the object's types, or a description of one
        (see `probee.maps`). Returns the ring buffer itself."""
        from .describe import record_codec

        self._typed = self.value = record_codec(what, self._codecs)
        return self

    def _waiting(self) -> bool:
        return self._open().available > 0

    def _take(self, limit: int) -> list[Any]:
        """New records. Their memory belongs to the kernel again when this returns."""
        ring = self._open()
        runs, position = ring.scan(limit)
        out: list[Any] = []
        for run in runs:
            out += ring.objects(run, self._typed)
        if ring._consumer[0] != position:
            ring.release(position)
        return out

    def _take_columns(self, limit: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        ring = self._open()
        runs, position = ring.scan(limit)
        out = ring.columns(runs, dtype)
        if ring._consumer[0] != position:
            ring.release(position)
        return out

    def close(self) -> None:
        """Stop readers that wait, and give up memory and descriptors. Records in the ring buffer are lost."""
        super().close()
        self._wake_all()
        # The memory goes with the last reference: a reader in another thread may be in the middle of it.
        self._ring = None
        self._maps.clear()


def _rounded(size: int) -> int:
    """The size of a ring buffer as the kernel wants it: a power of two of at least a page."""
    from mmap import PAGESIZE

    rounded = PAGESIZE
    while rounded < size:
        rounded *= 2
    return rounded
