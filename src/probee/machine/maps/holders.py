"""Maps whose entries are other objects: programs, perf events, cgroups, maps.

Written as descriptors, which `Home.resolve` turns into objects (with an `id`), read as ids.
"""

from __future__ import annotations

import errno
import struct
from typing import Any

from .arrays import U32, Indexed, index_of
from .base import ENOTSUPP, F_INNER_MAP, Attributes, Home, Map, refuse
from .hashes import Hash

_I32 = struct.Struct("<i")
_OBJECTS_TOO_DEEP = (12, 13)  # maps of maps hold no maps of maps


class Holder(Indexed):
    """An array of objects. `kind` is what `Home.resolve` is asked for."""

    kind = ""
    told = True  # whether user space may read ids

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.held: dict[int, Any] = {}

    def item(self, index: int) -> Any:
        """The object at an index, None if there is none."""
        return self.held.get(index)

    def object_for(self, value: bytes) -> Any:
        fd = _I32.unpack_from(value)[0]
        found = self.home.resolve(self.kind, fd)
        if found is None:
            refuse(errno.EBADF)
        return found

    def put(self, index: int, item: Any) -> None:
        """Hold an object itself."""
        if not 0 <= index < self.max_entries:
            refuse(errno.E2BIG)
        self.held[index] = item

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if flags:
            refuse(errno.EINVAL)
        if not self.told:
            refuse(ENOTSUPP)
        found = self.held.get(index_of(key))
        if found is None:
            refuse(errno.ENOENT)
        return U32.pack(found.id)

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        if flags:
            refuse(errno.EINVAL)
        index = index_of(key)
        if index >= self.max_entries:
            refuse(errno.E2BIG)
        self.held[index] = self.object_for(value)

    def sys_delete(self, key: bytes) -> None:
        index = index_of(key)
        if index >= self.max_entries:
            refuse(errno.E2BIG)
        if self.held.pop(index, None) is None:
            refuse(errno.ENOENT)


class ProgArray(Holder):
    kind = "prog"


class PerfEventArray(Holder):
    """`records` is what programs wrote with `bpf_perf_event_output`: see `rings`."""

    kind = "perf"
    told = False


class CgroupArray(Holder):
    kind = "cgroup"
    told = False


def fits(template: Map, candidate: Map) -> bool:
    """Whether a map may be held where `template` says what the maps inside are like."""
    same = all(
        getattr(template, word) == getattr(candidate, word)
        for word in ("type", "key_size", "value_size", "flags")
    )
    array = 2
    if same and template.type == array and not template.flags & F_INNER_MAP:
        return template.max_entries == candidate.max_entries
    return same


def inner_for(outer: Map, value: bytes) -> Map:
    found = outer.home.resolve("map", _I32.unpack_from(value)[0])
    if not isinstance(found, Map):
        refuse(errno.EBADF)
    if outer.inner is None or not fits(outer.inner, found):
        refuse(errno.EINVAL)
    return found


class ArrayOfMaps(Holder):
    """A program's look-up gives the handle of the map inside."""

    kind = "map"

    def object_for(self, value: bytes) -> Map:
        return inner_for(self, value)

    def lookup(self, key: bytes, cpu: int) -> int:
        found = self.held.get(index_of(key))
        return 0 if found is None else found.address


class HashOfMaps(Hash):
    """The same by key. Elements hold nothing that native code could read."""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.held: dict[bytes, Map] = {}

    def layout(self) -> None:
        return None

    def lookup(self, key: bytes, cpu: int) -> int:
        found = self.held.get(key)
        return 0 if found is None else found.address

    def put(self, key: bytes, item: Map, flags: int = 0) -> None:
        """Hold a map itself."""
        self.answer(Hash.update(self, key, U32.pack(item.id), flags, 0))
        self.held[key] = item

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self.check_lock(flags)
        self.put(key, inner_for(self, value), flags)

    def delete(self, key: bytes, cpu: int) -> int:
        self.held.pop(key, None)
        return super().delete(key, cpu)

    def sys_take(self, key: bytes, flags: int = 0) -> bytes:
        return refuse(ENOTSUPP)
