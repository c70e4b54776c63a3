"""Queues, stacks and Bloom filters: maps without keys."""

from __future__ import annotations

from .maps import BPF_ANY, BPF_EXIST, Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_nothing: Any = object()
_end: Any = object()


class _Values(Map):
    """What queues and stacks share. They have no length and can't be iterated: the kernel offers neither."""

    __slots__ = ()

    def push(self, value: Any, *, replace: bool = False) -> None:
        """Put a value in. When it is full: MapError, or with `replace` the oldest one is dropped."""
        try:
            self._kernel.map_update(self._fd, b"", self.value.pack(value), BPF_EXIST if replace else BPF_ANY)
        except OSError as e:
            raise self.failed(e, "push to") from e

    def extend(self, values: Iterable[Any], *, replace: bool = False) -> None:
        """Push some values, one by one."""
        for value in values:
            self.push(value, replace=replace)

    def pop(self, default: Any = _nothing) -> Any:
        """Take the next value out. When there is none: `default`, or IndexError."""
        try:
            raw = self._kernel.map_lookup_and_delete(self._fd, b"", self.value_size)
        except OSError as e:
            raise self.failed(e, "pop from") from e
        return self._value(raw, default)

    def peek(self, default: Any = _nothing) -> Any:
        """The next value, which stays. When there is none: `default`, or IndexError."""
        try:
            raw = self._kernel.map_lookup(self._fd, b"", self.value_size)
        except OSError as e:
            raise self.failed(e, "peek into") from e
        return self._value(raw, default)

    def _value(self, raw: bytes | None, default: Any) -> Any:
        if raw is not None:
            return self.value.unpack(raw)
        if default is _nothing:
            raise IndexError(f"{self.name or 'it'} is empty")
        return default

    def drain(self) -> list[Any]:
        """Take out all values, at most as many as there is room for: programs may push meanwhile."""
        out: list[Any] = []
        while len(out) < self.max_entries:
            value = self.pop(_end)
            if value is _end:
                break
            out.append(value)
        return out

    def clear(self) -> None:
        self.drain()


class Queue(_Values):
    """BPF_MAP_TYPE_QUEUE (Linux 4.20): first in, first out."""

    __slots__ = ()


class Stack(_Values):
    """BPF_MAP_TYPE_STACK (Linux 4.20): last in, first out."""

    __slots__ = ()


class BloomFilter(Map):
    """BPF_MAP_TYPE_BLOOM_FILTER (Linux 5.16): `add` values, ask with `in`, which may answer True in error but
    never False. Values can't be taken out."""

    __slots__ = ()

    def add(self, value: Any) -> None:
        try:
            self._kernel.map_update(self._fd, b"", self.value.pack(value))
        except OSError as e:
            raise self.failed(e, "add to") from e

    def update(self, values: Iterable[Any]) -> None:
        """Add some values."""
        for value in values:
            self.add(value)

    def __contains__(self, value: Any) -> bool:
        try:
            return self._kernel.map_holds(self._fd, self.value.pack(value))
        except OSError as e:
            raise self.failed(e, "ask") from e

    @property
    def hashes(self) -> int:
        """How many hash functions it uses: 5 unless it was created with another number in `map_extra`."""
        try:
            return (self._kernel.map_info(self._fd).extra & 15) or 5
        except OSError as e:
            raise self.failed(e, "ask about") from e
