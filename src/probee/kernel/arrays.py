"""Array maps: all entries exist from the start, keys are 0 to max_entries - 1."""

from __future__ import annotations

from _operator import index

from ..errors import MapError
from .maps import KeyedMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn


_CLEARED = 1 << 20  # bytes set to zero by one system call


class ByIndex(KeyedMap):
    """Keys are 0 to max_entries - 1, but not each needs to have an entry."""

    __slots__ = ()

    def pack_key(self, key: Any) -> bytes:
        if not self._has(key):
            raise KeyError(key)
        return self.key.pack(key)

    def _has(self, key: Any) -> bool:
        try:
            return 0 <= index(key) < self.max_entries
        except TypeError:
            raise TypeError(f"array {self.name!r} is indexed by integers, not by {key!r}") from None

    def __contains__(self, key: Any) -> bool:
        return self._has(key) and super().__contains__(key)

    def get(self, key: Any, default: Any = None, *, flags: int = 0) -> Any:
        return super().get(key, default, flags=flags) if self._has(key) else default


class Indexed(ByIndex):
    """What all arrays share. Entries can't be deleted; `clear()` sets all to zero."""

    __slots__ = ()

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.max_entries))

    def __len__(self) -> int:
        return self.max_entries

    def __contains__(self, key: Any) -> bool:
        return self._has(key)

    def __delitem__(self, key: Any) -> NoReturn:
        raise self._fixed()

    def pop(self, key: Any, default: Any = None) -> NoReturn:
        raise self._fixed()

    def drain(self) -> NoReturn:
        raise self._fixed()

    def _fixed(self) -> MapError:
        return MapError(f"entries of array {self.name!r} can't be deleted: assign zero, or clear() for all")

    def clear(self) -> None:
        """Set all entries to zero."""
        from .batch import write

        count = min(self.max_entries, max(1, _CLEARED // self.span))
        zeros = bytes(count * self.span)
        for at in range(0, self.max_entries, count):
            keys = [self.key.pack(i) for i in range(at, min(at + count, self.max_entries))]
            write(self, bytearray().join(keys), zeros, len(keys))

    def delete_many(self, keys: Any) -> NoReturn:
        raise self._fixed()


class Array(Indexed):
    """BPF_MAP_TYPE_ARRAY."""

    __slots__ = ()
