"""Symbol versions: which `foo@VERSION` an entry of `.dynsym` is.

Layouts are those of the Linux Standard Base, "Symbol Versioning" (`.gnu.version`, `.gnu.version_d`).
"""

from __future__ import annotations

import struct

_HIDDEN = 0x8000  # not the default version of this name
_VERDEF, _VERDAUX = "HHHHIII", "II"


class Versions:
    """The version of each entry: `numbers` is `.gnu.version`."""

    __slots__ = ("_names", "_numbers", "_order")

    def __init__(self, order: str, numbers: bytes) -> None:
        self._order = order
        self._numbers = numbers
        self._names: dict[int, str] = {}

    def define(self, data: bytes, strings: bytes) -> None:
        """Read the definitions of `.gnu.version_d`; broken ones end the list."""
        at = 0
        while at + struct.calcsize("=" + _VERDEF) <= len(data):
            _, _, number, _, _, aux, following = struct.unpack_from(self._order + _VERDEF, data, at)
            if at + aux + struct.calcsize("=" + _VERDAUX) > len(data):
                return
            name, _ = struct.unpack_from(self._order + _VERDAUX, data, at + aux)
            stop = strings.find(b"\0", name)
            if stop > name:
                self._names[number & ~_HIDDEN] = strings[name:stop].decode(errors="replace")
            if not following:
                return
            at += following

    def of(self, index: int) -> tuple[str, bool]:
        """(version, whether it is the default one) of an entry; none where the table is too short."""
        if 2 * index + 2 > len(self._numbers):
            return "", True
        (number,) = struct.unpack_from(self._order + "H", self._numbers, 2 * index)
        return self._names.get(number & ~_HIDDEN, ""), not number & _HIDDEN
