"""Maps whose values are maps."""

from __future__ import annotations

import errno

from ..errors import MapError
from ..sys.bpf import MAP_GET_FD_BY_ID
from .holders import Holder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class MapOfMaps(Holder):
    """Assign a map, read a map. What is read is opened by its id, which takes CAP_SYS_ADMIN, and closed with
    the last reference to it, if not before; ids alone are had with `ids()`.

    Keys and values of the maps inside have the types of the object's template, else those that the kernel
    has for the map itself.
    """

    __slots__ = ()

    def load(self, raw: bytes) -> Any:
        found = self._opened(int.from_bytes(raw, _order()))
        if found is None:
            raise MapError(f"the map inside of {self.name!r} is gone", errno=errno.ENOENT)
        return found

    def load_many(self, values: memoryview, count: int) -> Iterable[Any]:
        """A map that is gone meanwhile is None."""
        return [self._opened(id) for id in values[: 4 * count].cast("I")]

    def _opened(self, id: int) -> Any:
        from .found import from_descriptor
        from .maps import Map

        try:
            fd = self._kernel.fd_by_id(MAP_GET_FD_BY_ID, id)
        except OSError as e:
            if e.errno == errno.ENOENT:
                return None
            if e.errno == errno.EPERM:
                from ..sys import caps

                raise caps.denied(f"opening map {id}", caps.CAP_SYS_ADMIN) from None
            raise self.failed(e, "open a map of") from e
        try:
            if self._inner is not None and self._codecs is not None:
                found = Map.open(fd, self._inner, self._codecs)
            else:
                found = from_descriptor(fd)
        except BaseException:
            self._kernel.close(fd)
            raise
        found._loose = True
        return found

    def id_of(self, key: Any) -> int:
        """The id of a map inside, without opening it. Raises KeyError."""
        raw = self._look(key)
        if raw is None:
            raise KeyError(key)
        return int.from_bytes(raw, _order())

    def ids(self) -> dict[Any, int]:
        """The ids of all maps inside, by key."""
        out: dict[Any, int] = {}
        for keys, values, n in self.chunks():
            out.update(zip(self.key.unpack_many(keys, n), values[: 4 * n].cast("I"), strict=True))
        return out


def _order() -> Any:
    import sys

    return sys.byteorder


class ArrayOfMaps(MapOfMaps):
    """BPF_MAP_TYPE_ARRAY_OF_MAPS (Linux 4.12): only the indexes in use are there."""

    __slots__ = ()


class HashOfMaps(MapOfMaps):
    """BPF_MAP_TYPE_HASH_OF_MAPS (Linux 4.12)."""

    __slots__ = ()
