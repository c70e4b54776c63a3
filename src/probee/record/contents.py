"""What maps hold and what rings were given, as bytes: the same for maps of the kernel and of the machine."""

from __future__ import annotations

from typing import Any

from ..errors import ProbeeError

RINGBUF = 27
_ARRAYS = (2, 6)
# Maps whose entries can be read and written as plain bytes.
PLAIN = {
    1: "hash",
    2: "array",
    5: "percpu_hash",
    6: "percpu_array",
    9: "lru_hash",
    10: "lru_percpu_hash",
    11: "lpm_trie",
}

Entries = list[tuple[bytes, bytes]]


def contents(m: Any) -> Entries | None:
    """The entries of a map in the order of their keys; of arrays those that are not zero. None for maps that
    can't be read so.
    """
    if m.type not in PLAIN:
        return None
    kernel, fd, out = m._kernel, m.fd, []
    size = _value_size(m)
    zero = bytes(size)
    key: bytes | None = None
    try:
        if m.type in _ARRAYS:
            for index in range(m.max_entries):
                key = index.to_bytes(4, "little")
                value = kernel.map_lookup(fd, key, size)
                if value is not None and value != zero:
                    out.append((key, bytes(value)))
            return out
        while True:
            key = kernel.map_next_key(fd, key, m.key_size)
            if key is None:
                break
            value = kernel.map_lookup(fd, key, size)
            if value is not None:
                out.append((bytes(key), bytes(value)))
    except OSError as error:
        raise ProbeeError(f"can't read map {m.name}: {error.strerror}") from error
    return sorted(out)


def _value_size(m: Any) -> int:
    if m.type in (5, 6, 10):
        return int(m.value_size + 7 & ~7) * int(m._kernel.possible_cpus())
    return int(m.value_size)


def records_of(m: Any) -> list[bytes]:
    """The records that wait in a ring buffer, as bytes; they are taken out. Of other maps: nothing."""
    if m.type != RINGBUF:
        return []
    ring = m._open()
    runs, position = ring.scan(1 << 30)
    found = [bytes(one) for run in runs for one in ring.objects(run, None)]
    ring.release(position)
    return found
