"""User ring buffers: records from Python to programs, which take them with `bpf_user_ringbuf_drain`.

The layout is that of a ring buffer with the roles exchanged (see `ring`): we write the producer's position
and the records, the kernel writes the consumer's. A reserved record is busy until it is submitted or
discarded; records are taken in the order of their reservation.
"""

from __future__ import annotations

import select
from struct import Struct
from time import monotonic

from ..errors import MapError
from .maps import Map
from .ring import BUSY, DISCARD, HEADER, fence

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable
    from typing import Any, Self

_HEAD = Struct("=II")
_POSITION_BITS = 64


class Reserved:
    """A record that is being written: `memory` is its bytes. A `with` block submits it, or discards it when
    the block raises."""

    __slots__ = ("_buffer", "_head", "memory")

    def __init__(self, buffer: UserRingBuf, head: memoryview, memory: memoryview) -> None:
        self._buffer = buffer
        self._head = head
        self.memory = memory

    def write(self, value: Any) -> None:
        """Put a value of the buffer's type (or bytes) at the record's start."""
        raw = self._buffer._packed(value)
        self.memory[: len(raw)] = raw

    def submit(self) -> None:
        """Let programs have the record."""
        self._end(0)

    def discard(self) -> None:
        """Let programs skip the record."""
        self._end(DISCARD)

    def _end(self, flag: int) -> None:
        head = self._head[0]
        if not head & BUSY:
            raise MapError("this record was submitted or discarded already")
        fence()
        self._head[0] = head & ~BUSY | flag
        self.memory.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if self._head[0] & BUSY:
            self._end(DISCARD if kind is not None else 0)


class UserRingBuf(Map):
    """BPF_MAP_TYPE_USER_RINGBUF (Linux 6.1): `send` a record, or `reserve`, fill and submit one.

    One writer at a time. `of(...)` says what records are; without that they are bytes.
    """

    __slots__ = ("_consumer", "_data", "_maps", "_producer", "_typed")

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        self._typed = facts.get("value")
        self._maps: list[mmap.mmap] = []
        self._data: memoryview | None = None

    @property
    def size(self) -> int:
        """Bytes of the data area."""
        return self.max_entries

    def of(self, what: Any) -> Self:
        """Say what the records are: the name of a struct among the object's types, or a description (see
        `probee.maps`). Returns the ring buffer itself."""
        from .describe import record_codec

        self._typed = record_codec(what, self._codecs)
        return self

    def _open(self) -> memoryview:
        if self._data is None:
            from mmap import PAGESIZE

            if self._fd < 0:
                raise MapError(f"user ring buffer {self.name!r} is closed")
            try:
                self._maps.append(self._kernel.mmap(self._fd, PAGESIZE))
                length = PAGESIZE + 2 * self.size
                self._maps.append(self._kernel.mmap(self._fd, length, write=True, offset=PAGESIZE))
            except OSError as e:
                self._maps.clear()
                raise self.failed(e, "map the memory of") from e
            rest = memoryview(self._maps[1])
            self._consumer = memoryview(self._maps[0])[:8].cast("Q")
            self._producer = rest[:8].cast("Q")
            self._data = rest[PAGESIZE:]
        return self._data

    @property
    def free(self) -> int:
        """Bytes that are free for records; each takes its size, rounded up to a multiple of 8, and 8 more."""
        self._open()
        used: int = (self._producer[0] - self._consumer[0]) % (1 << _POSITION_BITS)
        if used > self.size or self._producer[0] % 8:
            raise MapError(
                f"the positions of user ring buffer {self.name!r} make no sense: {used} bytes used"
            )
        return self.size - used

    def reserve(self, size: int | None = None, *, timeout: float | None = 0) -> Reserved:
        """A record of `size` bytes (by default the size of the type), to be filled and submitted.

        Waits up to `timeout` seconds for room (None: for ever), then raises BlockingIOError. ValueError for
        a size that never fits.
        """
        data = self._open()
        if size is None:
            if self._typed is None:
                raise TypeError(f"records of {self.name!r} have no type: give a size")
            size = self._typed.size
        needed = size + HEADER + 7 & ~7
        if size < 0 or needed > self.size:
            raise ValueError(f"a record of {size} bytes does not fit {self.name!r}, which has {self.size}")
        end = None if timeout is None else monotonic() + timeout
        while self.free < needed:
            left = None if end is None else end - monotonic()
            if left is not None and left <= 0:
                raise BlockingIOError(f"user ring buffer {self.name!r} is full: programs have not drained it")
            self._wait(left)
        position = self._producer[0]
        at = position % self.size
        fence()
        _HEAD.pack_into(data, at, size | BUSY, 0)
        fence()
        self._producer[0] = (position + needed) % (1 << _POSITION_BITS)
        return Reserved(self, data[at : at + 4].cast("I"), data[at + HEADER : at + HEADER + size])

    def _wait(self, timeout: float | None) -> None:
        """Wait until a program has drained records."""
        waiter = select.poll()
        waiter.register(self._fd, select.POLLOUT)
        waiter.poll(None if timeout is None else max(0.0, timeout * 1000))

    def _packed(self, value: Any) -> bytes:
        return bytes(value) if self._typed is None else bytes(self._typed.pack(value))

    def send(self, value: Any, *, timeout: float | None = 0) -> None:
        """Write and submit one record; waiting for room as `reserve` does."""
        raw = self._packed(value)
        with self.reserve(len(raw), timeout=timeout) as record:
            record.memory[:] = raw

    def send_many(self, values: Iterable[Any], *, timeout: float | None = 0) -> None:
        """Write and submit some records."""
        for value in values:
            self.send(value, timeout=timeout)

    def close(self) -> None:
        super().close()
        self._data = None
        self._consumer = self._producer = memoryview(bytes(8)).cast("Q")
        self._maps.clear()
