"""Maps that hold other kernel objects: written as descriptors, read as ids."""

from __future__ import annotations

from .maps import KeyedMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Holder(KeyedMap):
    """Assign anything with a `fileno()` or `fd`, or a descriptor; reading gives the object's id."""

    __slots__ = ()

    def dump(self, value: Any) -> bytes:
        if not isinstance(value, int):
            fd = getattr(value, "fd", None)
            if fd is None and hasattr(value, "fileno"):
                fd = value.fileno()
            if not isinstance(fd, int):
                raise TypeError(f"{value!r} has no descriptor to put into {self.name}")
            value = fd
        return self.value.pack(value)


class ProgArray(Holder):
    """BPF_MAP_TYPE_PROG_ARRAY: programs to tail-call, by index; only the indexes in use are there."""

    __slots__ = ()
