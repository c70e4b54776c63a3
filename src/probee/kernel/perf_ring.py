"""Reading the memory of a perf event's ring: whatever shows the layout can be read, a mapping or a bytearray.

The layout is that of `struct perf_event_mmap_page` and of perf_event_open(2): a page whose bytes from 1024 on
are `data_head` (where the kernel writes next) and `data_tail` (where we read next), both growing without end,
then the data. A record is a header (type, flags, size) and may lie across the end of the data. What is there
is copied out in one piece and the memory given back at once; the copy is looked at then.
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


class PerfRing:
    """`page` is the control page, `data` the data area. `timed` says that samples have a time."""

    __slots__ = ("_data", "_positions", "lead", "lost", "size", "timed")

    def __init__(self, page: memoryview, data: memoryview, *, timed: bool = False) -> None:
        self._positions = page[HEAD_AT : HEAD_AT + 16].cast("Q")
        self._data = data
        self.size = data.nbytes
        self.timed = timed
        self.lead = LEAD + (_TIME if timed else 0)  # bytes before a sample's data
        self.lost = 0  # what records of losses told so far

    @property
    def available(self) -> int:
        """Bytes waiting to be read."""
        head, tail = self._positions
        return (head - tail) % (1 << _POSITION_BITS)

    def take(self, limit: int, until: int | None = None) -> tuple[memoryview, list[Run]]:
        """At most `limit` samples, none with a time after `until`: a copy of their memory, and where.

        Raises MapError if the memory makes no sense; what was there is given up then.
        """
        head, tail = self._positions
        available = (head - tail) % (1 << _POSITION_BITS)
        if not available:
            return memoryview(b""), []
        fence()
        if available > self.size or available % 8:
            self._release(head)
            raise MapError(
                f"the perf buffer's positions make no sense (head {head}, tail {tail}, {self.size} bytes): "
                "is another process reading it?"
            )
        start = tail % self.size
        first = self._data[start : start + available]
        copy = bytearray(available)
        copy[: len(first)] = first
        if len(first) < available:
            copy[len(first) :] = self._data[: available - len(first)]
        view = memoryview(copy)
        try:
            runs, used = self._scan(view, limit, until)
        except MapError:
            self._release(head)
            raise
        self._release((tail + used) % (1 << _POSITION_BITS))
        return view, runs

    def _release(self, position: int) -> None:
        fence()
        self._positions[1] = position

    def _scan(self, view: memoryview, limit: int, until: int | None) -> tuple[list[Run], int]:
        heads = view.cast("Q")
        end = len(view)
        runs: list[Run] = []
        at = 0
        while at < end and limit > 0:
            kind, _, size = _HEADER.unpack_from(view, at)
            if size < _HEADER.size or size % 8 or at + size > end:
                raise MapError(f"the perf buffer holds a record of {size} bytes where {end - at} are left")
            if kind != SAMPLE:
                if kind == LOST and size >= _HEADER.size + _LOST.size:
                    self.lost += _LOST.unpack_from(view, at + _HEADER.size)[1]
                at += size
                continue
            if size < self.lead:
                raise MapError(f"the perf buffer holds a sample of {size} bytes, which is too short")
            most = min((end - at) // size, limit)
            count = repeated(heads, at >> 3, size >> 3, most, view[at : at + 8].tobytes())
            if until is not None:
                early = self._early(view, Run(at, count, size - self.lead, size), until)
                if early < count:
                    if early:
                        runs.append(Run(at, early, size - self.lead, size))
                    return runs, at + early * size
            runs.append(Run(at, count, size - self.lead, size))
            at += count * size
            limit -= count
        return runs, at

    def times(self, view: memoryview, run: Run) -> memoryview:
        """The times of the samples of a run, in ns. Only for rings that are `timed`."""
        words = view.cast("Q")
        first, step = (run.at + _HEADER.size) >> 3, run.stride >> 3
        return words[first : first + (run.count - 1) * step + 1 : step]

    def _early(self, view: memoryview, run: Run, until: int) -> int:
        """How many samples of a run are not after `until`."""
        times = self.times(view, run)
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
