"""Array maps: all entries exist from the start, keys are 0 to max_entries - 1."""

from __future__ import annotations

from _operator import index

from ..errors import MapError
from .maps import KeyedMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn


class Indexed(KeyedMap):
    """What all arrays share. Entries can't be deleted; `clear()` sets all to zero."""

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

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.max_entries))

    def __len__(self) -> int:
        return self.max_entries

    def __contains__(self, key: Any) -> bool:
        return self._has(key)

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key] if self._has(key) else default

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
        zero = bytes(self.span)
        try:
            for i in range(self.max_entries):
                self._kernel.map_update(self._fd, self.key.pack(i), zero)
        except OSError as e:
            raise self.failed(e, "write") from e


class Array(Indexed):
    """BPF_MAP_TYPE_ARRAY."""

    __slots__ = ()
