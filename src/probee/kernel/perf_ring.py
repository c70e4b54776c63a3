"""Reading the memory of a perf event's ring: whatever shows the layout can be read, a mapping or a bytearray.

The layout is that of `struct perf_event_mmap_page` and of perf_event_open(2): a page whose bytes from 1024 on
are `data_head` (where the kernel writes next) and `data_tail` (where we read next), both growing without end,
then the data. A record is a header (type, flags, size) and may lie across the end of the data.
"""

from __future__ import annotations

from struct import Struct

from ..errors import MapError
from .records import Run, repeated
from .ring import fence

HEAD_AT = 1024  # offset of data_head, data_tail follows
SAMPLE, LOST = 9, 2  # PERF_RECORD_SAMPLE, PERF_RECORD_LOST
_HEADER = Struct("=IHH")
_SIZE = 4  # bytes of the size before the data of a raw sample
_TIME = 8
LEAD = _HEADER.size + _SIZE  # bytes before the data of a sample without time
_LOST = Struct("=QQ")
_POSITION_BITS = 64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .records import Part


class PerfRing:
    """`page` is the control page, `data` the data area. `timed` says that samples have a time."""

    __slots__ = ("_data", "_heads", "_positions", "lead", "lost", "size", "timed")

    def __init__(self, page: memoryview, data: memoryview, *, timed: bool = False) -> None:
        self._positions = page[HEAD_AT : HEAD_AT + 16].cast("Q")
        self._data = data
        self._heads = data.cast("Q")
        self.size = data.nbytes
        self.timed = timed
        self.lead = LEAD + (_TIME if timed else 0)  # bytes before a sample's data
        self.lost = 0  # what records of losses told so far

    @property
    def available(self) -> int:
        """Bytes waiting to be read."""
        head, tail = self._positions
        return (head - tail) % (1 << _POSITION_BITS)

    @property
    def tail(self) -> int:
        """The position that was read up to."""
        tail: int = self._positions[1]
        return tail

    def scan(self, limit: int, until: int | None = None) -> tuple[list[Part], int]:
        """At most `limit` samples, none with a time after `until`: where they are, and the position after.

        Raises MapError if the memory makes no sense; what was there is given up then.
        """
        head, tail = self._positions
        left = (head - tail) % (1 << _POSITION_BITS)
        if not left:
            return [], tail
        fence()
        try:
            if left > self.size or left % 8:
                raise MapError(
                    f"the perf buffer's positions make no sense (head {head}, tail {tail}, {self.size} "
                    "bytes): is another process reading it?"
                )
            parts, used = self._scan(tail % self.size, left, limit, until)
        except MapError:
            self.release(head)
            raise
        return parts, (tail + used) % (1 << _POSITION_BITS)

    def release(self, position: int) -> None:
        """Give the memory before `position` back to the kernel."""
        fence()
        self._positions[1] = position

    def _scan(self, at: int, left: int, limit: int, until: int | None) -> tuple[list[Part], int]:
        data, heads, total = self._data, self._heads, left
        parts: list[Part] = [(data, [])]
        while left > 0 and limit > 0:
            kind, _, size = _HEADER.unpack_from(data, at)
            if size < _HEADER.size or size % 8 or size > left:
                raise MapError(f"the perf buffer holds a record of {size} bytes where {left} are left")
            if kind == SAMPLE and size < self.lead:
                raise MapError(f"the perf buffer holds a sample of {size} bytes, which is too short")
            whole = (self.size - at) // size  # records of this size before the end of the data
            if not whole:
                record = data[at:].tobytes() + data[: size - (self.size - at)].tobytes()
                memory, run = memoryview(record), Run(0, 1, size - self.lead, size)
            elif kind == SAMPLE:
                memory = data
                most = min(left // size, whole, limit)
                count = repeated(heads, at >> 3, size >> 3, most, data[at : at + 8].tobytes())
                run = Run(at, count, size - self.lead, size)
            else:
                memory, run = data[at:], Run(0, 1, 0, size)
            if kind == SAMPLE:
                early = run.count if until is None else self._early(memory, run, until)
                if early < run.count:
                    run.count = early
                    limit = 0
                if run.count:
                    if parts[-1][0] is not memory:
                        parts.append((memory, []))
                    parts[-1][1].append(run)
            elif kind == LOST and size >= _HEADER.size + _LOST.size:
                self.lost += _LOST.unpack_from(memory, _HEADER.size)[1]
            at = (at + run.count * size) % self.size
            left -= run.count * size
            limit -= run.count if kind == SAMPLE else 0
        return [part for part in parts if part[1]], total - left

    def times(self, parts: list[Part]) -> list[int]:
        """The times of samples, in ns. Only for rings that are `timed`."""
        return [t for memory, runs in parts for run in runs for t in self._times(memory, run).tolist()]

    def _times(self, memory: memoryview, run: Run) -> memoryview:
        words = memory.cast("Q")
        first, step = (run.at + _HEADER.size) >> 3, run.stride >> 3
        return words[first : first + (run.count - 1) * step + 1 : step]

    def _early(self, memory: memoryview, run: Run, until: int) -> int:
        """How many samples of a run are not after `until`."""
        times = self._times(memory, run)
        low, high = 0, run.count
        while low < high:
            middle = (low + high) // 2
            if times[middle] <= until:
                low = middle + 1
            else:
                high = middle
        return low


def backward(page: memoryview, data: memoryview) -> tuple[memoryview, list[Run]]:
    """The samples of a ring that is written backwards and overwritten, the oldest first: a copy, and where.

    Nobody must be writing meanwhile. What is half overwritten is left out.
    """
    size = data.nbytes
    (head,) = page[HEAD_AT : HEAD_AT + 8].cast("Q")
    start = head % size
    view = memoryview(bytes(data[start:]) + bytes(data[:start]))
    found: list[Run] = []
    at = 0
    while at + _HEADER.size <= size:
        kind, _, length = _HEADER.unpack_from(view, at)
        if length < _HEADER.size or length % 8 or at + length > size:
            break  # never written, or half overwritten
        if kind == SAMPLE and length >= LEAD:
            found.append(Run(at, 1, length - LEAD, length))
        at += length
    found.reverse()
    return view, found
