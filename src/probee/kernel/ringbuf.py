"""Ring buffers: records from programs, as objects one by one or as columns.

Reading takes whole batches: the records are copied out as Python objects (or into an array), then their
memory is given back to the kernel at once, so that programs find room again before anybody looks at the first
record. What was taken and not yet handed out stays with the reader: when a callback or the body of a `for`
raises, the records after the one at hand come at the next `poll`, `consume`, iteration or callback.

One reader at a time. The kernel drops records that find no room; `dropped` counts them if the program does.
"""

from __future__ import annotations

import os
import select
from time import monotonic, sleep

from ..errors import MapError
from .maps import Map
from .ring import Ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any

    import numpy as np

_BATCH = 4096  # records taken at once while iterating
_ALL = 1 << 62
_LARGEST = 1 << 31  # bytes: the power of two that fits into max_entries
_BUSY_WAIT = 0.0005  # seconds; poll(2) returns at once while the oldest record is still being written


class RingBuf(Map):
    """BPF_MAP_TYPE_RINGBUF (Linux 5.8). `value` is the codec of the records; those without a type are bytes.

    `for record in rb` waits for records until `close()` is called (from a signal handler or another thread,
    too); `async for` does the same in asyncio. `fileno()` can be polled: readable means there are records.
    """

    __slots__ = ("_drops", "_maps", "_pending", "_ring", "_sleeper", "_typed", "_wake")

    def __init__(self, fd: int, **facts: Any) -> None:
        facts["max_entries"] = _rounded(facts["max_entries"])
        super().__init__(fd, **facts)
        if self.max_entries > _LARGEST:
            raise MapError(f"ring buffer {self.name!r} is too large: at most {_LARGEST} bytes")
        self._typed = facts.get("value")
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
            self._ring = Ring(memoryview(consumer), view, view[PAGESIZE:])
        return self._ring

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

    def consume(self, limit: int = _ALL) -> list[Any]:
        """The records that are there now, at most `limit`, the oldest first. Doesn't wait."""
        out: list[Any] = []
        if limit <= 0:
            return out
        for record in self._pending:
            out.append(record)
            if len(out) == limit:
                return out
        return out + self._take(limit - len(out)) if out else self._take(limit)

    def poll(self, timeout: float | None = None) -> list[Any]:
        """The records that are there, waiting up to `timeout` seconds (None: for ever) for the first.

        Empty when the time is over or the ring buffer was closed meanwhile.
        """
        out = self.consume()
        end = None if timeout is None else monotonic() + timeout
        while not out and not self.closed:
            left = None if end is None else end - monotonic()
            if left is not None and left <= 0:
                break
            if not self._wait(left):
                break
            out = self.consume()
            if not out and not self.closed:
                sleep(_BUSY_WAIT)
        return out

    def dispatch(self, callback: Callable[[Any], object], timeout: float | None = 0) -> int:
        """Call `callback` with each record that is there, waiting for the first as `poll` does.

        Returns how many there were. An exception of the callback comes out of here; the records after the one
        it was raised for are kept for the next call.
        """
        self._pending = iter(self.poll(timeout))
        n = 0
        for record in self._pending:
            n += 1
            callback(record)
        return n

    def read_numpy(
        self, limit: int = _ALL, *, timeout: float | None = 0, dtype: np.dtype[Any] | None = None
    ) -> np.ndarray[Any, Any]:
        """The records that are there, at most `limit`, as a structured array of their own memory.

        `timeout` as in `poll`. A record longer than the dtype is cut, for a shorter one zeros follow. Raises
        MapError if records were taken as objects before and not handed out, TypeError for records without
        type if no `dtype` is given.
        """
        import numpy as np

        if dtype is None:
            if self._typed is None:
                raise TypeError(f"records of {self.name!r} have no type: give a dtype")
            dtype = self._typed.dtype()
        else:
            dtype = np.dtype(dtype)
        held = list(self._pending)
        if held:
            self._pending = iter(held)
            raise MapError(
                f"{len(held)} records of {self.name!r} were taken as objects: consume() them first"
            )
        ring = self._open()
        if timeout != 0 and not ring.available:
            self._wait(timeout)
            if self.closed:
                return np.empty(0, dtype)
        runs, position = ring.scan(limit)
        out = ring.columns(runs, dtype)
        if ring._consumer[0] != position:
            ring.release(position)
        return out

    def __iter__(self) -> Iterator[Any]:
        woken = False
        while True:
            yield from self._pending
            batch = self._next_batch()
            if batch is None:
                return
            if batch:
                self._pending = iter(batch)
                woken = False
                continue
            if woken:  # readable, and yet nothing to take: the oldest record is still being written
                sleep(_BUSY_WAIT)
            woken = self._wait(None)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            for record in self._pending:
                yield record
            batch = self._next_batch()
            if batch is None:
                return
            if batch:
                self._pending = iter(batch)
            else:
                await self._readable()

    def _next_batch(self) -> list[Any] | None:
        """The next records for an iteration; None once closed."""
        try:
            return self._take(_BATCH)
        except MapError:
            if self.closed:
                return None
            raise

    async def _readable(self) -> None:
        """Wait in asyncio for records or for `close()`."""
        import asyncio

        loop = asyncio.get_running_loop()
        if self._open().available:
            await asyncio.sleep(_BUSY_WAIT)
            return
        ready = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        fd = self._fd
        loop.add_reader(fd, wake)
        self._sleeper = lambda: loop.call_soon_threadsafe(wake)
        try:
            await ready
        finally:
            self._sleeper = None
            loop.remove_reader(fd)

    def _waker(self) -> int:
        if self._wake < 0:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return self._wake

    def _wait(self, timeout: float | None) -> bool:
        """Wait until the kernel says that there are records; False if the time is over or it was closed."""
        fd = self._fd
        if fd < 0:
            return False
        waiter = select.poll()
        waiter.register(fd, select.POLLIN)
        waiter.register(self._waker(), select.POLLIN)
        ready = waiter.poll(None if timeout is None else max(0.0, timeout * 1000))
        return bool(ready) and not self.closed

    def close(self) -> None:
        """Stop readers that wait, and give up memory and descriptors. Records in the ring buffer are lost."""
        super().close()
        wake, self._wake = self._wake, -1
        if wake >= 0:
            os.eventfd_write(wake, 1)
            os.close(wake)
        if self._sleeper is not None:
            self._sleeper()
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
