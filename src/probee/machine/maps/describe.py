"""What programs read of a map through its handle: the kernel's `struct bpf_map`, by the BTF at hand."""

from __future__ import annotations

from ...btf.kinds import STRUCT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...btf import Btf
    from .base import Map

# Fields of struct bpf_map -> attributes of a map.
_FIELDS = {
    "map_type": "type",
    "key_size": "key_size",
    "value_size": "value_size",
    "max_entries": "max_entries",
    "map_extra": "extra",
    "map_flags": "flags",
}


class Description:
    """`struct bpf_map` as a BTF has it."""

    def __init__(self, btf: Btf) -> None:
        self._size = 0
        self._places: dict[str, int] = {}
        number = btf.find("bpf_map", STRUCT)
        if number is not None:
            found = btf.type(number)
            self._size = found.size
            self._places = {m.name: m.bit_offset // 8 for m in found.members if m.name in {*_FIELDS, "name"}}

    def of(self, m: Map) -> bytes:
        """The struct of a map; nothing if the BTF has no such type."""
        out = bytearray(self._size)
        for field, place in self._places.items():
            if field == "name":
                out[place : place + 15] = m.name.encode()[:15].ljust(15, b"\0")
            else:
                size = 8 if field == "map_extra" else 4
                out[place : place + size] = int(getattr(m, _FIELDS[field])).to_bytes(size, "little")
        return bytes(out)
