"""Declared maps of maps."""

from __future__ import annotations

from .maps import MapDecl
from .refuse import refuse
from .structs import normalise
from .types import u32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Outer(MapDecl):
    __slots__ = ()

    def _declare(self, of: tuple[Any, ...]) -> None:
        what = type(self).__name__
        inner = of[-1]
        if not isinstance(inner, MapDecl):
            raise refuse(f"{what}: the maps inside are described by one, not by {inner!r}", self._example)
        if isinstance(inner, (_Outer,)) or inner.kind in (3, 27, 31):
            raise refuse(f"{what}: maps of the kind {type(inner).__name__} can't be inside another map")
        self.inner = inner
        self.key = u32 if len(of) == 1 else normalise(of[0], f"{what}[key]")
        self.value = u32


class ArrayOfMaps(_Outer):
    """BPF_MAP_TYPE_ARRAY_OF_MAPS (Linux 4.12): `ArrayOfMaps[Hash[u32, u64](64)](4)`.

    The map in brackets says what those inside are like. Python puts them in; a program finds them by index.
    """

    __slots__ = ()
    kind = 12
    _takes = ("map",)
    _example = "write for example ArrayOfMaps[Hash[u32, u64](64)](4)"


class HashOfMaps(_Outer):
    """BPF_MAP_TYPE_HASH_OF_MAPS (Linux 4.12): `HashOfMaps[u32, Array[u64](16)](64)`."""

    __slots__ = ()
    kind = 13
    _takes = ("key", "map")
    _example = "write for example HashOfMaps[u32, Array[u64](16)](64)"
