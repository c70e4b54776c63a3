"""A machine's maps as Python sees them: the kernel's own map classes, over the machine's answers.

Ring buffers differ in one thing: iterating ends when there are no records and none can come, where a kernel's
would wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from ..kernel.maps import PERF_EVENT_ARRAY, RINGBUF, _facts
from ..kernel.reader import BATCH
from ..kernel.ringbuf import RingBuf
from .maps import Map
from .maps.calls import MapCalls
from .maps.python import MachinePerfEventArray, class_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..btf.values import Codecs
    from ..obj import MapSpec


class MachineRingBuf(RingBuf):
    """A ring buffer of the machine. `more` lets time pass: False if nothing will come."""

    __slots__ = ("more",)
    more: Callable[[], bool]

    def _wait(self, timeout: float | None) -> bool:
        return self.more() and not self.closed

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield from self._pending
            batch = self._next_batch()
            if batch is None or not (batch or self._wait(None)):
                return
            self._pending = iter(batch)

    async def __aiter__(self) -> AsyncIterator[Any]:
        for record in self:
            yield record

    def _next_batch(self) -> list[Any] | None:
        return None if self.closed else self._take(BATCH)


def face(
    spec: MapSpec, m: Map, fd: int, calls: MapCalls, codecs: Codecs | None, more: Callable[[], bool]
) -> Any:
    """The Python map for a machine's map with the descriptor `fd`."""
    spec = spec.copy()
    spec.max_entries = m.max_entries
    facts = _facts(spec, codecs)
    kernel: Any = calls
    if m.type == RINGBUF:
        ring = MachineRingBuf(fd, kernel=kernel, **facts)
        ring.more = more
        return ring
    if m.type == PERF_EVENT_ARRAY:
        array = MachinePerfEventArray(fd, kernel=kernel, **facts)
        array.output, array.more = m, more
        return array
    return class_for(m.type)(fd, kernel=kernel, **facts)
