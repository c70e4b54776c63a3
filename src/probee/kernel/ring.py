"""Reading the memory of a BPF ring buffer: whatever shows the layout can be read, a mapping or a bytearray.

The kernel's layout (Linux 5.8, kernel/bpf/ringbuf.c; `struct bpf_ringbuf_hdr`): positions count bytes and
only grow; position modulo size is the place in the data, which is mapped twice in a row so that no record is
ever cut. A record is a 32-bit length whose top bits say busy (not yet submitted) and discard, 32 bits that
are the kernel's, the data, and zeros up to a multiple of 8.

**Order of memory accesses.** The kernel stores a record's data, then its length without the busy bit, with
release semantics; and the producer position with release semantics after the busy length. We read the
position, then lengths, then data, and store the consumer position last; each is one aligned load or store,
since memoryview items of native formats are copied as a whole. x86 keeps loads in order, and stores behind
earlier loads, so nothing more is needed. Elsewhere `fence` comes between: it releases a lock and takes it
again, which the C library does with a release and an acquire on the same word, and no access crosses that
pair.
"""

from __future__ import annotations

import os
from struct import Struct

from ..errors import MapError
from . import records
from .records import Run, repeated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np

    from ..btf.values import Codec

BUSY = 1 << 31  # BPF_RINGBUF_BUSY_BIT, linux/bpf.h
DISCARD = 1 << 30  # BPF_RINGBUF_DISCARD_BIT
HEADER = 8  # BPF_RINGBUF_HDR_SZ
_POSITION_BITS = 64
_LENGTH = Struct("=I")


def fence_for(machine: str) -> Callable[[], None]:
    if machine in ("x86_64", "i686", "i386"):
        return lambda: None
    from _thread import allocate_lock

    lock = allocate_lock()
    lock.acquire()

    def cross() -> None:
        lock.release()
        lock.acquire()

    return cross


fence = fence_for(os.uname().machine)


class Ring:
    """`consumer` and `producer` hold a position at their start, `data` is the data area, twice."""

    __slots__ = ("_consumer", "_data", "_lengths", "_memory", "_producer", "size")

    def __init__(self, consumer: memoryview, producer: memoryview, data: memoryview) -> None:
        self._consumer = consumer[:8].cast("Q")
        self._producer = producer[:8].cast("Q")
        self._data = data
        self._memory = data  # where records lie that a scan found
        self._lengths = data.cast("I")
        self.size = data.nbytes // 2

    @property
    def available(self) -> int:
        """Bytes between the consumer's and the producer's position, headers and busy records included."""
        return (self._producer[0] - self._consumer[0]) % (1 << _POSITION_BITS)

    def scan(self, limit: int) -> tuple[list[Run], int]:
        """At most `limit` committed records from the consumer's position, and the position after them.

        Discarded records are skipped, a busy one ends the scan. Raises MapError if the memory makes no
        sense, which takes another process that writes the consumer's position.
        """
        position: int = self._consumer[0]
        left = self.available
        self._check(position, left)
        fence()
        found = self._runs(self._lengths, position, left, limit, 0, self.size)
        fence()
        return found

    def _check(self, position: int, left: int) -> None:
        if left > self.size or position % 8 or left % 8:
            raise MapError(
                f"the ring buffer's positions make no sense (consumer {position}, {left} of {self.size} "
                "bytes): is another process reading it?"
            )

    def _runs(
        self, lengths: memoryview, position: int, left: int, limit: int, origin: int, size: int
    ) -> tuple[list[Run], int]:
        """Records in `left` bytes from `position`, which is `lengths[(position - origin) % size >> 2]`."""
        runs: list[Run] = []
        while left >= HEADER and limit > 0:
            at = (position - origin) % size
            head: int = lengths[at >> 2]
            if head & BUSY:
                break
            length = head & ~DISCARD
            stride = length + HEADER + 7 & ~7
            if stride > left:
                raise MapError(f"the ring buffer holds a record of {length} bytes where {left} are left")
            if head & DISCARD:
                position += stride
                left -= stride
                continue
            # How many more of the same length follow? Every header up to the first that differs is one.
            count = repeated(lengths, at >> 2, stride >> 2, min(left // stride, limit), _LENGTH.pack(head))
            runs.append(Run(at, count, length, stride))
            position += count * stride
            left -= count * stride
            limit -= count
        return runs, position

    def release(self, position: int) -> None:
        """Give the memory before `position` back to the kernel."""
        fence()
        self._consumer[0] = position % (1 << _POSITION_BITS)

    def objects(self, run: Run, codec: Codec | None) -> list[Any]:
        """The records of a run as values; as bytes without a codec."""
        return records.objects(self._memory, run, HEADER, codec)

    def columns(self, runs: list[Run], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """The records of some runs as one array: a copy."""
        return records.columns([(self._memory, runs)], HEADER, dtype)


class OverwrittenRing(Ring):
    """A ring in which new records overwrite the oldest (BPF_F_RB_OVERWRITE, Linux 6.19).

    The kernel tells in a third position, 16 bytes after the producer's, up to where it has overwritten. What
    is there is copied, then that position is read again: what was overwritten meanwhile is left out.
    """

    __slots__ = ("_overwritten", "overwritten")

    def __init__(self, consumer: memoryview, producer: memoryview, data: memoryview) -> None:
        super().__init__(consumer, producer, data)
        self._overwritten = producer[16:24].cast("Q")
        self.overwritten = 0  # bytes that were gone before they were read

    def _start(self) -> int:
        """Where the oldest record is that was neither read nor overwritten."""
        consumer: int = self._consumer[0]
        ahead = (self._overwritten[0] - consumer) % (1 << _POSITION_BITS)
        return consumer + ahead if ahead < 1 << _POSITION_BITS - 1 else consumer

    def _extent(self) -> tuple[int, int]:
        """Where unread records start, and how many bytes there are.

        The producer's position is read first: the other one is never further behind it than the ring is long,
        but may have come past it when it is read.
        """
        producer: int = self._producer[0]
        fence()
        start = self._start()
        left = (producer - start) % (1 << _POSITION_BITS)
        return start, left if left < 1 << _POSITION_BITS - 1 else 0

    @property
    def available(self) -> int:
        return self._extent()[1]

    def scan(self, limit: int) -> tuple[list[Run], int]:
        begin: int = self._consumer[0]
        start, left = self._extent()
        self._check(start, left)
        fence()
        at = start % self.size
        self._memory = memoryview(self._data[at : at + left].tobytes())
        fence()
        gone = min(self._start() - start, left) & ~7
        runs, position = self._runs(self._memory.cast("I"), start + gone, left - gone, limit, start, 1 << 64)
        self.overwritten += start + gone - begin
        return runs, position % (1 << _POSITION_BITS)
