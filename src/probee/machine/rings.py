"""Ring buffers, in the kernel's layout: what programs write and Python reads are the same bytes.

A page with the consumer's position, a page with the producer's, then the data. The kernel maps the data
twice in a row, so that no record is ever cut; here there are two copies, and a record is written to both
when it is submitted. A record is a u32 length, whose top bits say busy and discard, a u32 (the kernel's
page offset), the bytes, and zeros up to a multiple of 8. Programs may touch a record's bytes from reserve
to submit, and nothing else.
"""

from __future__ import annotations

import errno
import struct
from typing import Any

from .maps.base import F_RB_OVERWRITE, Attributes, Home, Map, refuse
from .maps.holders import PerfEventArray
from .memory import BASE

PAGE = 4096
BUSY, DISCARD = 1 << 31, 1 << 30
HEADER = 8
NO_WAKEUP, FORCE_WAKEUP = 1, 2
AVAILABLE, SIZE, CONSUMER, PRODUCER, OVERWRITTEN = range(5)  # what bpf_ringbuf_query tells
CURRENT_CPU = 0xFFFFFFFF
_LARGEST_RECORD = 0xFFFFFFFF // 4
_META_PAGES = 3
_U64 = struct.Struct("<Q")
_HEAD = struct.Struct("<II")
_U32 = struct.Struct("<I")
_M64 = (1 << 64) - 1
MOST_SAMPLES = 128 * 1024


class Positions(Map):
    """The memory that ring buffers and user ring buffers share."""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.size = self.max_entries
        self.ring = self.memory.alloc(
            2 * PAGE + 2 * self.size, "ringbuf", align=PAGE, readable=False, writable=False, name=self.name
        )
        self.regions.append(self.ring)
        self.bytes = self.ring.data
        self.data = self.ring.address + 2 * PAGE  # address of the first record

    @property
    def consumer(self) -> int:
        return int(_U64.unpack_from(self.bytes, 0)[0])

    @consumer.setter
    def consumer(self, position: int) -> None:
        _U64.pack_into(self.bytes, 0, position & _M64)

    @property
    def producer(self) -> int:
        return int(_U64.unpack_from(self.bytes, PAGE)[0])

    @producer.setter
    def producer(self, position: int) -> None:
        _U64.pack_into(self.bytes, PAGE, position & _M64)

    def permit(self, at: int, size: int, allowed: bool) -> None:
        self.memory.protect(self.ring, 2 * PAGE + at, size + 7 & ~7, readable=allowed, writable=allowed)

    def mirror(self, at: int, size: int) -> None:
        """Bring bytes at `at`, which may run into the second copy, to where they also have to be."""
        start, half = 2 * PAGE, self.size
        first = min(size, half - at)
        raw = self.bytes
        raw[start + half + at : start + half + at + first] = raw[start + at : start + at + first]
        if size > first:
            raw[start : start + size - first] = raw[start + half : start + half + size - first]

    def sys_next_key(self, key: bytes | None) -> bytes:
        return refuse(524)


class RingBuf(Positions):
    """BPF_MAP_TYPE_RINGBUF. `dropped` counts reservations that found no room, `wakeups` how often a reader
    would have been woken."""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.overwrites = bool(self.flags & F_RB_OVERWRITE)
        self.pending: dict[int, int] = {}  # position -> length of records that are reserved
        self.dropped_records = 0
        self.wakeups = 0

    @property
    def overwritten(self) -> int:
        return int(_U64.unpack_from(self.bytes, PAGE + 16)[0])

    def _head(self, position: int) -> int:
        return int(_U32.unpack_from(self.bytes, 2 * PAGE + position % self.size)[0])

    def _room(self, end: int) -> bool:
        mask = self.size - 1
        if self.pending and end - min(self.pending) > mask:
            return False
        if not self.overwrites:
            return (end - self.consumer) & _M64 <= mask
        oldest = self.overwritten
        while end - oldest > mask:
            oldest += (self._head(oldest) & ~(BUSY | DISCARD)) + HEADER + 7 & ~7
        _U64.pack_into(self.bytes, PAGE + 16, oldest)
        return True

    def reserve(self, size: int) -> int:
        """The address of a new record's bytes, 0 if there is no room."""
        length = size + HEADER + 7 & ~7
        position = self.producer
        if size > _LARGEST_RECORD or length > self.size or not self._room(position + length):
            self.dropped_records += 1
            return 0
        at = position % self.size
        page = (at >> 12) + _META_PAGES
        _HEAD.pack_into(self.bytes, 2 * PAGE + at, size | BUSY, page)
        self.mirror(at, HEADER)
        self.pending[position] = size
        self.producer = position + length
        self.permit(at + HEADER, size, True)
        return self.data + at + HEADER

    def commit(self, address: int, flags: int, *, discard: bool) -> None:
        """Submit or discard a record by the address of its bytes."""
        at = address - HEADER - self.data
        head = int(_U32.unpack_from(self.bytes, 2 * PAGE + at)[0])
        size = head & ~(BUSY | DISCARD)
        self.permit(at + HEADER, size, False)
        position = next(p for p in self.pending if p % self.size == at)
        del self.pending[position]
        _U32.pack_into(self.bytes, 2 * PAGE + at, size | (DISCARD if discard else 0))
        self.mirror(at, size + HEADER + 7 & ~7)
        behind = position == self.consumer
        if flags & FORCE_WAKEUP or (behind and not flags & NO_WAKEUP):
            self.wakeups += 1

    def owns(self, address: int) -> bool:
        """Whether an address is that of a record that is reserved now."""
        at = address - HEADER - self.data
        return any(position % self.size == at for position in self.pending)

    def output(self, data: bytes, flags: int) -> int:
        if flags & ~(NO_WAKEUP | FORCE_WAKEUP):
            return -errno.EINVAL
        address = self.reserve(len(data))
        if not address:
            return -errno.EAGAIN
        start = address - BASE
        self.memory.buffer[start : start + len(data)] = data
        self.commit(address, flags, discard=False)
        return 0

    def query(self, what: int) -> int:
        if what == AVAILABLE:
            oldest = self.overwritten if self.overwrites else self.consumer
            return self.producer - max(oldest, self.consumer)
        if what == SIZE:
            return self.size
        if what == OVERWRITTEN:
            return self.overwritten if self.overwrites else 0
        return {CONSUMER: self.consumer, PRODUCER: self.producer}.get(what, 0)

    def records(self) -> list[bytes]:
        """Take the records that are there."""
        out: list[bytes] = []
        position = max(self.consumer, self.overwritten) if self.overwrites else self.consumer
        while position < self.producer:
            head = self._head(position)
            if head & BUSY:
                break
            size = head & ~DISCARD
            at = 2 * PAGE + position % self.size + HEADER
            if not head & DISCARD:
                out.append(self.bytes[at : at + size].tobytes())
            position += size + HEADER + 7 & ~7
        self.consumer = position
        return out


class UserRingBuf(Positions):
    """BPF_MAP_TYPE_USER_RINGBUF: Python produces, `bpf_user_ringbuf_drain` consumes."""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.busy = False

    def next(self) -> tuple[int, int] | int:
        """The address and size of the next sample, or a negative errno: ENODATA at the end, EAGAIN for a
        discarded one, which is gone then."""
        consumer, producer = self.consumer, self.producer
        if producer % 8:
            return -errno.EINVAL
        if consumer >= producer:
            return -errno.ENODATA
        at = consumer % self.size
        head = int(_U32.unpack_from(self.bytes, 2 * PAGE + at)[0])
        size = head & ~(BUSY | DISCARD)
        total = size + HEADER + 7 & ~7
        if total > producer - consumer:
            return -errno.EINVAL
        if total > self.size:
            return -errno.E2BIG
        if head & DISCARD:
            self.consumer = consumer + total
            return -errno.EAGAIN
        if head & BUSY:
            return -errno.ENODATA
        return self.data + at + HEADER, size

    def release(self, size: int) -> None:
        self.consumer = self.consumer + (size + HEADER + 7 & ~7)

    def send(self, data: bytes) -> None:
        """Put a sample in. Raises OSError ENOSPC when it is full."""
        total = len(data) + HEADER + 7 & ~7
        if total > self.size:
            refuse(errno.E2BIG)
        position = self.producer
        if position + total - self.consumer > self.size:
            refuse(errno.ENOSPC)
        at = position % self.size
        start = 2 * PAGE + at
        _HEAD.pack_into(self.bytes, start, len(data), 0)
        self.bytes[start + HEADER : start + HEADER + len(data)] = data
        self.producer = position + total


class PerfOutput(PerfEventArray):
    """BPF_MAP_TYPE_PERF_EVENT_ARRAY. Each CPU has an event that takes records, unless `listening` is False:
    then programs get -ENOENT, as where nobody reads.

    `room` is how many bytes of records a CPU holds (0: any); what comes when it is full is dropped and
    counted.
    """

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.listening = True
        self.room = 0
        self.waiting: list[tuple[int, bytes]] = []  # CPU, record
        self.used: dict[int, int] = {}
        self.lost: dict[int, int] = {}
        self.counters: dict[int, tuple[int, int, int]] = {}  # index -> counter, enabled, running

    def output(self, data: bytes, index: int, cpu: int) -> int:
        if index == CURRENT_CPU:
            index = cpu
        if index >= self.max_entries:
            return -errno.E2BIG
        event: Any = self.held.get(index)
        if event is None and not self.listening:
            return -errno.ENOENT
        if index != cpu:
            return -errno.EOPNOTSUPP
        padded = data.ljust((len(data) + 4 + 7 & ~7) - 4, b"\0")  # as the kernel aligns raw samples
        if self.room and self.used.get(cpu, 0) + len(padded) + 12 > self.room:
            self.lost[cpu] = self.lost.get(cpu, 0) + 1
            return -errno.ENOSPC
        self.used[cpu] = self.used.get(cpu, 0) + len(padded) + 12
        self.waiting.append((cpu, padded))
        return 0

    def take(self, limit: int = 1 << 62) -> list[tuple[int, bytes]]:
        """Records with their CPUs, in the order in which they were written."""
        out, self.waiting = self.waiting[:limit], self.waiting[limit:]
        for cpu, record in out:
            self.used[cpu] -= len(record) + 12
        return out
