"""Maps as they were: which keys there were is noted with each moment, values are read from memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..machine.machine import Machine
from ..machine.memory import BASE

Entries = dict[str, dict[bytes, int]]  # map -> key -> the value's address
_HASH, _LRU_HASH, _LPM = 1, 9, 11  # enum bpf_map_type
_MOST = 4096  # entries of a map that is noted


def entries(machine: Machine) -> Entries:
    """The keys of all hashes and tries that are not too large."""
    out: Entries = {}
    for collection in machine.collections:
        for name, m in collection.inner.items():
            inside: Any = m
            if m.type in (_HASH, _LRU_HASH) and len(inside.table.found) <= _MOST:
                offset = inside.table.value_offset
                out[name] = {k: e.address + offset for k, e in inside.table.found.items()}
            elif m.type == _LPM and len(inside.found) <= _MOST:
                out[name] = dict(inside.found.values())
    return out


class PastMap(Mapping[Any, Any]):
    """The entries of a map at a moment that is over. Read only."""

    def __init__(self, machine: Machine, live: Any, addresses: dict[bytes, int]) -> None:
        self.name: str = live.name
        self._found: dict[Any, Any] = {}
        for key, address in addresses.items():
            start = address - BASE
            data = bytes(machine.memory.buffer[start : start + live.value_size])
            self._found[live.key.unpack(key)] = live.value.unpack(data)

    def __getitem__(self, key: Any) -> Any:
        return self._found[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
