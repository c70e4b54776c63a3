"""Perf buffers: records that programs write with `bpf_perf_event_output`, a ring for each CPU.

`PerfBuffer` has the face of a ring buffer, see `reader`. It costs programs more than a ring buffer does, and
records of different CPUs have no order unless it is asked for; it is there for kernels before 5.8 and for the
many objects that use it.
"""

from __future__ import annotations

import errno
import os
import select
import time
from contextlib import suppress
from struct import Struct

from ..errors import MapError
from ..sys.bpf import (
    PERF_EVENT_IOC_DISABLE,
    PERF_EVENT_IOC_ENABLE,
    PERF_SAMPLE_RAW,
    PERF_TYPE_SOFTWARE,
)
from . import records
from .perf_ring import LEAD, PerfRing, backward
from .reader import ALL, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterator
    from typing import Any, Self

    import numpy as np

    from ..btf.values import Codec
    from .maps import Map
    from .records import Part

_BPF_OUTPUT = 10  # PERF_COUNT_SW_BPF_OUTPUT
_SAMPLE_TIME = 1 << 2
_FORMAT_LOST = 1 << 4  # PERF_FORMAT_LOST, Linux 6.0
_WATERMARK, _USE_CLOCKID, _WRITE_BACKWARD = 1 << 14, 1 << 25, 1 << 27  # bits of perf_event_attr
_IOC_PAUSE_OUTPUT = 0x40042409
_COUNTS = Struct("=QQ")
_MOST_PAGES = 1 << 19


class _Rings:
    """The perf events and rings of all CPUs, put into the map. `facts` go to perf_event_open."""

    __slots__ = ("cpus", "events", "kernel", "map", "memory", "size")

    def __init__(self, m: Map, pages: int, *, write: bool, **facts: Any) -> None:
        from mmap import PAGESIZE

        if not 0 < pages <= _MOST_PAGES:
            raise ValueError(f"a perf buffer has 1 to {_MOST_PAGES} pages for each CPU, not {pages}")
        pages = 1 << (pages - 1).bit_length()
        self.kernel = m._kernel
        self.map = m
        self.size = pages * PAGESIZE
        self.cpus = [cpu for cpu in self.kernel.online_cpus() if cpu < m.max_entries]
        self.events: dict[int, int] = {}
        self.memory: dict[int, mmap.mmap] = {}
        doing = "make a perf event for"
        try:
            for cpu in self.cpus:
                fd = self.events[cpu] = self._event(cpu, facts)
                doing = "map the memory of a perf event for"
                self.memory[cpu] = self.kernel.mmap(fd, PAGESIZE + self.size, write=write)
                doing = "put a perf event into"
                self.kernel.map_update(m.fd, _key(cpu), _key(fd))
                self.kernel.ioctl(fd, PERF_EVENT_IOC_ENABLE)
        except OSError as e:
            self.close()
            if e.errno in (errno.EPERM, errno.EACCES):
                from ..sys import caps

                raise caps.denied(f"reading perf buffer {m.name}", caps.CAP_PERFMON, error=e.errno) from None
            raise m.failed(e, doing) from e

    def _event(self, cpu: int, facts: dict[str, Any]) -> int:
        open_ = self.kernel.perf_event_open
        try:
            return open_(PERF_TYPE_SOFTWARE, _BPF_OUTPUT, cpu=cpu, read_format=_FORMAT_LOST, **facts)
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise
            return open_(PERF_TYPE_SOFTWARE, _BPF_OUTPUT, cpu=cpu, **facts)

    def views(self, cpu: int) -> tuple[memoryview, memoryview]:
        """Control page and data."""
        from mmap import PAGESIZE

        view = memoryview(self.memory[cpu])
        return view[:PAGESIZE], view[PAGESIZE:]

    def lost(self, cpu: int) -> int | None:
        """How many records found no room, as the event counts; None before Linux 6.0."""
        counts = os.read(self.events[cpu], _COUNTS.size)
        lost: int | None = _COUNTS.unpack(counts)[1] if len(counts) == _COUNTS.size else None
        return lost

    def close(self) -> None:
        events, self.events = self.events, {}
        for cpu, fd in events.items():
            try:
                self.kernel.ioctl(fd, PERF_EVENT_IOC_DISABLE)
                if not self.map.closed:
                    self.kernel.map_delete(self.map.fd, _key(cpu))
            except OSError:
                pass
            self.kernel.close(fd)
        self.memory.clear()


def _key(number: int) -> bytes:
    return Struct("=I").pack(number)


def _codec(m: Map, of: Any) -> Codec | None:
    if of is None:
        return None
    from .describe import record_codec

    return record_codec(of, m._codecs)


class PerfBuffer(Reader):
    """Reader of a perf event array; made by its `buffer()`, a context manager.

    `for record in buffer` waits for records until `close()` is called, `async for` does so in asyncio;
    `fileno()` can be polled, and what is readable must be read until nothing is left. CPUs that come online
    later are not read.
    """

    __slots__ = (
        "__weakref__",
        "_ends",
        "_epoll",
        "_final",
        "_ordered",
        "_pending",
        "_rings",
        "_rings_of",
        "_sleeper",
        "_typed",
        "_wake",
        "name",
    )

    def __init__(
        self,
        m: Map,
        of: Any = None,
        *,
        pages: int = 64,
        wakeup: int = 1,
        watermark: int = 0,
        ordered: bool = False,
    ) -> None:
        self.name = m.name
        self._typed = _codec(m, of)
        self._pending: Iterator[Any] = iter(())
        self._wake = -1
        self._sleeper: Callable[[], object] | None = None
        self._ordered = ordered
        self._final: dict[int, int] = {}
        self._ends: list[tuple[PerfRing, int]] = []  # what to release, up to where
        facts: dict[str, Any] = {"sample": 1, "sample_type": PERF_SAMPLE_RAW}
        facts["wakeup"] = watermark or wakeup
        facts["flags"] = _WATERMARK if watermark else 0
        if ordered:
            facts["sample_type"] |= _SAMPLE_TIME
            facts["flags"] |= _USE_CLOCKID
            facts["clock"] = time.CLOCK_MONOTONIC
        self._rings_of = _Rings(m, pages, write=True, **facts)
        self._rings = {
            cpu: PerfRing(*self._rings_of.views(cpu), timed=ordered) for cpu in self._rings_of.cpus
        }
        self._epoll: select.epoll | None = select.epoll()
        for fd in self._rings_of.events.values():
            self._epoll.register(fd, select.EPOLLIN)

    @property
    def cpus(self) -> list[int]:
        """The CPUs that are read."""
        return list(self._rings)

    @property
    def size(self) -> int:
        """Bytes of each CPU's ring."""
        return self._rings_of.size

    @property
    def available(self) -> int:
        """Bytes waiting to be read, on all CPUs."""
        return sum([ring.available for ring in self._rings.values()])

    @property
    def lost(self) -> dict[int, int]:
        """How many records found no room so far, by CPU. Before Linux 6.0 a loss is known only when the
        record after it is read."""
        if self.closed:
            return dict(self._final)
        out: dict[int, int] = {}
        for cpu, ring in self._rings.items():
            counted = self._rings_of.lost(cpu)
            out[cpu] = ring.lost if counted is None else counted
        return out

    @property
    def dropped(self) -> int:
        """How many records found no room so far, on all CPUs."""
        return sum(self.lost.values())

    @property
    def closed(self) -> bool:
        return self._epoll is None

    def fileno(self) -> int:
        """A descriptor that is readable when records came, -1 once closed."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def of(self, what: Any) -> Self:
        """Say what the records are, as `PerfEventArray.buffer` does. Returns the perf buffer itself."""
        from .describe import record_codec

        self._typed = record_codec(what, self._rings_of.map._codecs)
        return self

    def _waiting(self) -> bool:
        return any(ring.available for ring in self._rings.values())

    def _scan(self, limit: int) -> Iterator[tuple[int, PerfRing, list[Part]]]:
        """Samples in memory, by CPU. The memory goes back to the kernel with `_release`."""
        if self._epoll is None:
            raise MapError(f"perf buffer {self.name!r} is closed")
        # What is written while we look must wait, or the next read would give something older than this one.
        until = time.monotonic_ns() if self._ordered else None
        self._ends = []
        for cpu, ring in list(self._rings.items()):
            if limit <= 0:
                return
            parts, position = ring.scan(limit, until)
            self._ends.append((ring, position))
            limit -= sum([run.count for _, runs in parts for run in runs])
            if parts:
                yield cpu, ring, parts

    def _release(self) -> None:
        for ring, position in self._ends:
            if position != ring.tail:
                ring.release(position)
        self._ends = []

    def _take(self, limit: int) -> list[Any]:
        out: list[Any] = []
        times: list[int] = []
        for _, ring, parts in self._scan(limit):
            out += self._objects(ring, parts)
            if self._ordered:
                times += ring.times(parts)
        self._release()
        if times and len(self._rings) > 1:
            return [out[i] for i in sorted(range(len(out)), key=times.__getitem__)]
        return out

    def _objects(self, ring: PerfRing, parts: list[Part]) -> list[Any]:
        out: list[Any] = []
        for memory, runs in parts:
            for run in runs:
                out += records.objects(memory, run, ring.lead, self._typed)
        return out

    def _take_columns(self, limit: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        found: list[Part] = []
        times: list[int] = []
        lead = 0
        for _, ring, parts in self._scan(limit):
            lead = ring.lead
            found += parts
            if self._ordered:
                times += ring.times(parts)
        out = records.columns(found, lead, dtype)
        self._release()
        if times and len(self._rings) > 1:
            return out[np.argsort(np.array(times, np.uint64), kind="stable")]
        return out

    def consume_by_cpu(self, limit: int = ALL) -> dict[int, list[Any]]:
        """Like `consume`, with the records by the CPU they were written on."""
        found = {cpu: self._objects(ring, parts) for cpu, ring, parts in self._scan(limit)}
        self._release()
        return found

    def close(self) -> None:
        """Stop readers that wait, take the events out of the map, and give up memory and descriptors."""
        if self._epoll is None:
            return
        with suppress(OSError):
            self._final = self.lost
        waiting, self._epoll = self._epoll, None
        waiting.close()
        self._wake_all()
        self._rings = {}  # the memory goes with the last reference: a reader may be in the middle of it
        self._rings_of.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self._rings)} CPUs, {self.size} bytes each"
        return f"<PerfBuffer {self.name!r}, {state}>"


class PerfSnapshots:
    """Rings that are overwritten; made by `PerfEventArray.snapshots`, a context manager."""

    __slots__ = ("__weakref__", "_rings", "_typed", "closed", "name")

    def __init__(self, m: Map, of: Any = None, *, pages: int = 64) -> None:
        self.name = m.name
        self._typed = _codec(m, of)
        self._rings = _Rings(
            m, pages, write=False, sample=1, sample_type=PERF_SAMPLE_RAW, wakeup=0, flags=_WRITE_BACKWARD
        )
        self.closed = False

    def read(self) -> dict[int, list[Any]]:
        """The latest records by CPU, the oldest first. They stay; what programs write meanwhile is lost."""
        if self.closed:
            raise MapError(f"perf buffer {self.name!r} is closed")
        out: dict[int, list[Any]] = {}
        for cpu, fd in self._rings.events.items():
            self._rings.kernel.ioctl(fd, _IOC_PAUSE_OUTPUT, 1)
            try:
                memory, runs = backward(*self._rings.views(cpu))
            finally:
                self._rings.kernel.ioctl(fd, _IOC_PAUSE_OUTPUT, 0)
            out[cpu] = [r for run in runs for r in records.objects(memory, run, LEAD, self._typed)]
        return out

    def close(self) -> None:
        self.closed = True
        self._rings.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
