"""What ring buffers and perf buffers share: records taken in batches, handed out as objects or as columns.

Reading takes whole batches: the records are copied out as Python objects (or into an array), then their
memory is given back to the kernel at once, so that programs find room again before anybody looks at the first
record. What was taken and not yet handed out stays with the reader: when a callback or the body of a `for`
raises, the records after the one at hand come at the next `poll`, `consume`, iteration or callback.

One reader at a time.
"""

from __future__ import annotations

import os
import select
from time import monotonic, sleep

from ..errors import MapError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any

    import numpy as np
    import pandas
    import pyarrow

    from ..btf.values import Codec

BATCH = 4096  # records taken at once while iterating
ALL = 1 << 62
BUSY_WAIT = 0.0005  # seconds; poll(2) returns at once while the oldest record is still being written


class Reader:
    """Waiting, iterating and handing out. A subclass takes records out of memory and closes."""

    if not TYPE_CHECKING:
        __slots__ = ()  # the subclass has them: of two bases only one may

    _pending: Iterator[Any]  # taken as objects, not handed out yet
    _sleeper: Callable[[], object] | None  # wakes who waits in asyncio
    _typed: Codec | None  # of the records
    _wake: int  # an eventfd that wakes who waits, -1 if nobody did so far
    name: str

    @property
    def closed(self) -> bool:
        raise NotImplementedError

    def fileno(self) -> int:
        raise NotImplementedError

    def _waiting(self) -> bool:
        """Whether there may be something to take."""
        raise NotImplementedError

    def _take(self, limit: int) -> list[Any]:
        """New records. Their memory belongs to the kernel again when this returns."""
        raise NotImplementedError

    def _take_columns(self, limit: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """The same, as an array."""
        raise NotImplementedError

    def consume(self, limit: int = ALL) -> list[Any]:
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
                sleep(BUSY_WAIT)
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
        self, limit: int = ALL, *, timeout: float | None = 0, dtype: np.dtype[Any] | None = None
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
        if timeout != 0 and not self._waiting():
            self._wait(timeout)
            if self.closed:
                return np.empty(0, dtype)
        return self._take_columns(limit, dtype)

    def read_arrow(
        self, limit: int = ALL, *, timeout: float | None = 0, dtype: np.dtype[Any] | None = None
    ) -> pyarrow.Table:
        """What `read_numpy` gives, as an Arrow table with a column for each field (needs pyarrow)."""
        from .columns import to_arrow

        return to_arrow(self.read_numpy(limit, timeout=timeout, dtype=dtype))

    def read_pandas(
        self, limit: int = ALL, *, timeout: float | None = 0, dtype: np.dtype[Any] | None = None
    ) -> pandas.DataFrame:
        """What `read_numpy` gives, as a data frame with a column for each field (needs pandas)."""
        from .columns import to_pandas

        return to_pandas(self.read_numpy(limit, timeout=timeout, dtype=dtype))

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
                sleep(BUSY_WAIT)
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
            return self._take(BATCH)
        except MapError:
            if self.closed:
                return None
            raise

    async def _readable(self) -> None:
        """Wait in asyncio for records or for `close()`."""
        import asyncio

        loop = asyncio.get_running_loop()
        if self._waiting():
            await asyncio.sleep(BUSY_WAIT)
            return
        ready = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        fd = self.fileno()
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
        fd = self.fileno()
        if fd < 0:
            return False
        waiter = select.poll()
        waiter.register(fd, select.POLLIN)
        waiter.register(self._waker(), select.POLLIN)
        ready = waiter.poll(None if timeout is None else max(0.0, timeout * 1000))
        return bool(ready) and not self.closed

    def _wake_all(self) -> None:
        """Whoever waits sees that it is closed."""
        wake, self._wake = self._wake, -1
        if wake >= 0:
            os.eventfd_write(wake, 1)
            os.close(wake)
        if self._sleeper is not None:
            self._sleeper()
