"""bpf_timer, bpf_wq and bpf_task_work: callbacks that run as the clock moves.

A timer is the bytes of its map value: an id there says which one it is, 0 that it was not initialised. A
callback runs on the CPU that started it, with the map, the key and the value it belongs to. Work runs at the
time at which it was queued, when the clock is next moved (`advance(0)` suffices).
"""

from __future__ import annotations

import errno
from itertools import count
from typing import TYPE_CHECKING

from .maps.arrays import U32, Array
from .maps.elements import KEY_OFFSET
from .maps.fields import TASK_WORK, TIMER, WORKQUEUE
from .maps.hashes import HashBase
from .memory import BASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clock import Clock, Event
    from .cpus import MachineCpu
    from .maps.base import Map
    from .maps.fields import Fields
    from .memory import Memory

ABSOLUTE, PIN = 1, 2  # flags of bpf_timer_start
_CLOCKS = (0, 1, 7)  # realtime, monotonic, boottime
_LARGEST = (1 << 63) - 1


class Timer:
    __slots__ = ("address", "callback", "cpu", "event", "id", "map", "offset", "running")

    def __init__(self, id: int, address: int, m: Map, offset: int) -> None:
        self.id = id
        self.address = address
        self.map = m
        self.offset = offset  # of the timer in the value
        self.callback = 0
        self.cpu = 0
        self.event: Event | None = None
        self.running = False


class Timers:
    """All timers and work items of a machine. `cpu` gives the CPU with a number."""

    def __init__(self, memory: Memory, clock: Clock, cpu: Callable[[int], MachineCpu]) -> None:
        self.memory = memory
        self.clock = clock
        self._cpu = cpu
        self._ids = count(1)
        self._all: dict[int, Timer] = {}
        self._keys: dict[int, int] = {}

    def _find(self, address: int) -> Timer | None:
        return self._all.get(int.from_bytes(self._bytes(address), "little"))

    def _bytes(self, address: int) -> memoryview:
        start = address - BASE
        return self.memory.buffer[start : start + 8]

    def init(self, address: int, m: Map, flags: int, kind: str = TIMER) -> int:
        if kind == TIMER and flags not in _CLOCKS:
            return -errno.EINVAL
        if kind == WORKQUEUE and flags:
            return -errno.EINVAL
        if self._find(address) is not None:
            return -errno.EBUSY
        field = m.fields.find(kind)
        if field is None:
            return -errno.EINVAL
        made = Timer(next(self._ids), address, m, field.offset)
        self._all[made.id] = made
        self._bytes(address)[:] = made.id.to_bytes(8, "little")
        return 0

    def set_callback(self, address: int, callback: int) -> int:
        timer = self._find(address)
        if timer is None:
            return -errno.EINVAL
        timer.callback = callback
        return 0

    def start(self, address: int, nanoseconds: int, flags: int, cpu: int) -> int:
        timer = self._find(address)
        if flags & ~(ABSOLUTE | PIN) or timer is None or not timer.callback:
            return -errno.EINVAL
        if timer.event is not None:
            timer.event.cancelled = True
        time = nanoseconds if flags & ABSOLUTE else self.clock.now + min(nanoseconds, _LARGEST)
        timer.cpu = cpu
        timer.event = self.clock.at(time, lambda: self._fire(timer))
        return 0

    def queue(self, address: int, cpu: int) -> int:
        """Queue work; nothing happens if it is queued already."""
        timer = self._find(address)
        if timer is None or not timer.callback:
            return -errno.EINVAL
        if timer.event is None:
            timer.cpu = cpu
            timer.event = self.clock.at(self.clock.now, lambda: self._fire(timer))
        return 0

    def cancel(self, address: int) -> int:
        """1 if it was waiting, 0 if not."""
        timer = self._find(address)
        if timer is None:
            return -errno.EINVAL
        if timer.running:
            return -errno.EDEADLK
        waiting = timer.event is not None
        if timer.event is not None:
            timer.event.cancelled = True
            timer.event = None
        return int(waiting)

    def drop(self, m: Map, value: int, fields: Fields) -> None:
        """The value at an address goes, and its timers with it."""
        for field in fields.all:
            if field.kind in (TIMER, WORKQUEUE, TASK_WORK):
                timer = self._find(value + field.offset)
                if timer is not None:
                    if timer.event is not None:
                        timer.event.cancelled = True
                    del self._all[timer.id]
                self._bytes(value + field.offset)[:] = bytes(8)

    @property
    def waiting(self) -> int:
        """How many timers and work items will fire."""
        return sum(timer.event is not None for timer in self._all.values())

    def _fire(self, timer: Timer) -> None:
        timer.event = None
        timer.running = True
        try:
            value = timer.address - timer.offset
            self._cpu(timer.cpu).call(timer.callback, timer.map.address, self.key_of(timer.map, value), value)
        finally:
            timer.running = False

    def key_of(self, m: Map, value: int) -> int:
        """The address of the key that belongs to a value."""
        if isinstance(m, HashBase):
            return value - m.table.value_offset + KEY_OFFSET
        if isinstance(m, Array):
            found = self._keys.get(m.address)
            if found is None:
                found = self._keys[m.address] = self.memory.alloc(8, "map_value", writable=False).address
            index = (value - m.values.address) // m.stride
            start = found - BASE
            self.memory.buffer[start : start + 4] = U32.pack(index)
            return found
        return 0
