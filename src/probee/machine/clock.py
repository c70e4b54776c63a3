"""The machine's clock, which stands still until it is moved, and what is to happen at which time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

HZ = 250  # of jiffies
_FIRST_JIFFIES = (1 << 32) - 300 * HZ  # the kernel starts shortly before 32 bits overflow
_NANOSECONDS = 1_000_000_000
_START = 1_000 * _NANOSECONDS
_EPOCH = 1_700_000_000 * _NANOSECONDS
_TAI = 37  # seconds that TAI is ahead


class Event:
    """Something that happens at a time. `cancelled` events don't."""

    __slots__ = ("action", "cancelled", "time")

    def __init__(self, time: int, action: Callable[[], object]) -> None:
        self.time = time
        self.action = action
        self.cancelled = False


class Clock:
    """Times are in nanoseconds. `now` is CLOCK_MONOTONIC; `asleep` is what CLOCK_BOOTTIME is ahead, `epoch`
    what CLOCK_REALTIME is. `step` is how far each reading by a program moves the clock: 0, so that programs
    see the same time until a test moves it."""

    def __init__(self, now: int = _START) -> None:
        self.now = now
        self.asleep = 0
        self.epoch = _EPOCH
        self.step = 0
        self._waiting: list[tuple[int, int, Event]] = []
        self._order = count()

    def read(self) -> int:
        """CLOCK_MONOTONIC as a program reads it."""
        now = self.now
        if self.step:
            self.now += self.step
        return now

    @property
    def boot(self) -> int:
        return self.now + self.asleep

    @property
    def real(self) -> int:
        return self.now + self.epoch

    @property
    def tai(self) -> int:
        return self.real + _TAI * _NANOSECONDS

    @property
    def jiffies(self) -> int:
        return _FIRST_JIFFIES + self.now * HZ // _NANOSECONDS

    def at(self, time: int, action: Callable[[], object]) -> Event:
        """Let something happen at a time, or when the clock is next moved if that is over."""
        event = Event(time, action)
        heappush(self._waiting, (time, next(self._order), event))
        return event

    @property
    def next(self) -> int | None:
        """When the next thing happens."""
        while self._waiting and self._waiting[0][2].cancelled:
            heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def advance(self, nanoseconds: int = 0, *, seconds: float = 0, ms: float = 0, us: float = 0) -> int:
        """Move the clock on. What is due on the way happens at its time, in the order of times and then of
        when it was asked for; what is asked for meanwhile happens too, if it falls due. Returns how much
        happened. `advance(0)` lets only that happen that is due now."""
        span = nanoseconds + round(seconds * _NANOSECONDS + ms * 1_000_000 + us * 1_000)
        if span < 0:
            raise ValueError("time does not go back")
        end = self.now + span
        happened = 0
        while (due := self.next) is not None and due <= end:
            event = heappop(self._waiting)[2]
            self.now = max(self.now, due)
            event.cancelled = True
            event.action()
            happened += 1
        self.now = max(self.now, end)
        return happened
