"""Struct ops: a table of functions for the kernel, written in BPF, as a map with one entry."""

from __future__ import annotations

from struct import Struct

from .maps import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEY = bytes(4)
_COMMON = Struct("=II")  # struct bpf_struct_ops_common
_STATES = ("init", "in use", "to be freed", "ready")  # enum bpf_struct_ops_state


class StructOps(Map):
    """BPF_MAP_TYPE_STRUCT_OPS (Linux 5.6), as the kernel shows it: `state`, `references`, `read()`."""

    __slots__ = ()

    def _raw(self) -> bytes:
        try:
            found = self._kernel.map_lookup(self._fd, _KEY, self.value_size)
        except OSError as e:
            raise self.failed(e, "read") from e
        return found if found is not None else bytes(self.value_size)

    @property
    def state(self) -> str:
        """`init`: nothing registered yet; `in use`: registered; `to be freed`; `ready`: filled, a link
        registers it (Linux 6.4)."""
        number = _COMMON.unpack_from(self._raw())[1]
        return _STATES[number] if number < len(_STATES) else str(number)

    @property
    def references(self) -> int:
        """How many hold it."""
        return int(_COMMON.unpack_from(self._raw())[0])

    def read(self) -> Any:
        """The whole value: a record of the kernel's struct where its BTF is known, function pointers being
        the ids of programs, or bytes."""
        return self.value.unpack(self._raw())

    def unregister(self) -> bool:
        """Take it away from the kernel, if it was registered without a link. False if it was not."""
        try:
            return self._kernel.map_delete(self._fd, _KEY)
        except OSError as e:
            raise self.failed(e, "unregister") from e
