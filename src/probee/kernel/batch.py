"""Reading whole maps: in batches where the kernel can (Linux 5.6 and later, by map type), else key by key."""

from __future__ import annotations

import errno

from .maps import MISSING_FEATURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy as np

    from .maps import KeyedMap

    Chunk = tuple[memoryview, memoryview, int]

_CHUNK_BYTES = 1 << 20  # large enough to make system calls cheap, small enough for the processor's cache
_LEAST = 256
_BUCKET = 64  # more entries than a bucket has: a full chunk may lack so many
_FIRST = 1 << 13  # entries of the first chunk: more is rare, and too much memory for a small map


def chunks(m: KeyedMap, take: bool = False) -> Iterator[Chunk]:
    """Keys and values of a map as packed bytes, and how many; `take` deletes what it reads."""
    most = max(1, min(m.max_entries, max(_LEAST, _CHUNK_BYTES // max(1, m.key_size + m.span))))
    room = min(most, _FIRST)
    keys, values = _buffers(m, room)
    position: bytes | None = None
    done = False
    while not done:
        try:
            n, position, done = m._kernel.map_lookup_batch(
                m.fd, position, keys, values, room, batch_size=max(4, m.key_size), delete=take
            )
        except OSError as e:
            if e.errno == errno.ENOSPC and room < m.max_entries:  # one bucket holds more than a chunk
                room = min(m.max_entries, room * 4)
                keys, values = _buffers(m, room)
                continue
            if position is None and e.errno in MISSING_FEATURE:
                yield from _walk(m, keys, values, room, take)
                return
            raise m.failed(e, "read") from e
        if n:
            yield keys, values, n
        if room < most and not done:
            room = most
            keys, values = _buffers(m, room)


def _buffers(m: KeyedMap, room: int) -> tuple[memoryview, memoryview]:
    return memoryview(bytearray(room * m.key_size)), memoryview(bytearray(room * m.span))


def _walk(m: KeyedMap, keys: memoryview, values: memoryview, room: int, take: bool) -> Iterator[Chunk]:
    """The same, key by key. The kernel starts again when the current key is deleted: skip what was seen."""
    kernel, key_size, span = m._kernel, m.key_size, m.span
    seen: set[bytes] = set()
    key: bytes | None = None
    n = 0
    try:
        for _ in range(4 * m.max_entries + 64):  # or programs that add and delete could keep us for ever
            key = kernel.map_next_key(m.fd, key, key_size)
            if key is None:
                break
            if key in seen:
                continue
            seen.add(key)
            value = kernel.map_lookup(m.fd, key, span)
            if value is None:
                continue
            keys[n * key_size : (n + 1) * key_size] = key
            values[n * span : (n + 1) * span] = value
            n += 1
            if n == room:
                yield from _delivered(m, keys, values, n, take)
                n = 0
        if n:
            yield from _delivered(m, keys, values, n, take)
    except OSError as e:
        raise m.failed(e, "read") from e


def _delivered(m: KeyedMap, keys: memoryview, values: memoryview, n: int, take: bool) -> Iterator[Chunk]:
    if take:
        for i in range(n):
            m._kernel.map_delete(m.fd, keys[i * m.key_size : (i + 1) * m.key_size])
    yield keys, values, n


def to_numpy(m: KeyedMap, locked: bool) -> np.ndarray[Any, Any]:
    """A structured array of all entries: `key` and `value`."""
    import numpy as np

    key, value = m.key.dtype(), np.dtype(m.value_dtype())
    cpus = getattr(m, "cpus", 0)
    shape = (cpus,) if cpus else ()
    # Entries are moved as what NumPy moves fastest: numbers as numbers, anything else as so many bytes.
    moved_key, moved_value = _mover(np, key), _mover(np, value)
    slot = np.dtype(
        {"names": ["v"], "formats": [moved_value], "offsets": [0], "itemsize": m.span // (cpus or 1)}
    )
    layout: dict[str, Any] = {"names": ["key", "value"], "offsets": [0, m.key_size]}
    layout["itemsize"] = m.key_size + value.itemsize * (cpus or 1)
    raw: Any = np.dtype({**layout, "formats": [moved_key, (moved_value, shape)]})  # type: ignore[call-overload]
    out = np.empty(0, raw)
    filled = 0
    try_walk = not locked
    for keys, values, n in m.chunks():
        if filled + n > len(out):
            grown = np.empty(max(filled + n, min(m.max_entries, 4 * filled)), raw)
            grown[:filled] = out[:filled]
            out = grown
        part = out[filled : filled + n]
        part["key"] = np.frombuffer(keys, moved_key, n)
        part["value"] = np.frombuffer(values, slot, n * (cpus or 1))["v"].reshape(n, *shape)
        filled += n
        if try_walk and n > _FIRST - _BUCKET:  # there is more than one chunk
            found = _walked(m, moved_key, moved_value)
            if found is not None:
                out = np.empty(len(found), raw)
                out["key"], out["value"] = found["key"], found["value"]
                filled = len(found)
                break
        try_walk = False
    out = out[:filled].copy() if filled < len(out) * 3 // 4 else out[:filled]
    return out.view(np.dtype({**layout, "formats": [key, (value, shape)]}))  # type: ignore[call-overload]


def _walked(m: KeyedMap, key: Any, value: Any) -> Any:
    """The entries as a program in the kernel copies them; None if it can't."""
    from . import walk

    rows = walk.walk(m) if walk.fits(m) else None
    if rows is None:
        return None
    import numpy as np

    size = rows.shape[1] * 8
    offsets = [0, m.key_size + 7 & ~7]
    item: Any = {"names": ["key", "value"], "formats": [key, value], "offsets": offsets, "itemsize": size}
    return np.frombuffer(rows, np.dtype(item))


def _mover(np: Any, dtype: Any) -> Any:
    plain = dtype.names is None and dtype.subdtype is None and dtype.kind in "iufb"
    return dtype if plain else np.dtype(f"V{dtype.itemsize}")
