"""Reading and writing whole maps: in batches where the kernel can (Linux 5.6 and later, by map type), else
key by key."""

from __future__ import annotations

import errno

from ..errors import MapError
from .maps import (
    ARRAY,
    BPF_EXIST,
    HASH,
    LRU_HASH,
    LRU_PERCPU_HASH,
    MISSING_FEATURE,
    PERCPU_ARRAY,
    PERCPU_HASH,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from .maps import KeyedMap

    Chunk = tuple[memoryview, memoryview, int]

_CHUNK_BYTES = 1 << 20  # large enough to make system calls cheap, small enough for the processor's cache
_LEAST = 256
_FIRST = 1 << 13  # entries of the first chunk: more is rare, and too much memory for a small map
_WRITTEN = 1 << 16  # entries written by one system call: it is not interrupted by signals
_WORTH_A_BATCH = 8
_MANY = 1 << 20  # keys of a map that has no limit
# A batch of these begins after the last bucket or index. Of others it begins after the last key, and at the
# start again if that key is gone: keys may come twice.
_STEADY = frozenset((HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH, ARRAY, PERCPU_ARRAY))


def chunks(m: KeyedMap, take: bool = False, flags: int = 0) -> Iterator[Chunk]:
    """Keys and values of a map as packed bytes, and how many; `take` deletes what it reads."""
    most = max(1, min(m.max_entries, max(_LEAST, _CHUNK_BYTES // max(1, m.key_size + m.span))))
    room = min(most, _FIRST)
    keys, values = _buffers(m, room)
    position: bytes | None = None
    done = False
    seen: set[bytes] | None = None if m.type in _STEADY else set()
    patience = 4 * m.max_entries + 64  # or programs that add and delete could keep us for ever
    while not done and patience > 0:
        try:
            n, position, done = m._kernel.map_lookup_batch(
                m.fd, position, keys, values, room, batch_size=max(4, m.key_size), delete=take, flags=flags
            )
        except OSError as e:
            if e.errno == errno.ENOSPC and room < m.max_entries:  # one bucket holds more than a chunk
                room = min(m.max_entries, room * 4)
                keys, values = _buffers(m, room)
                continue
            # EINTR: a key vanished while the kernel read its value, three times in a row
            if (position is None and e.errno in MISSING_FEATURE) or e.errno == errno.EINTR:
                yield from _walk(m, keys, values, take, flags, seen or set())
                return
            raise m.failed(e, "read") from e
        if seen is not None:
            patience -= n
            n = _unseen(m, keys, values, n, seen)
        if n:
            yield keys, values, n
        if room < most and not done:
            room = most
            keys, values = _buffers(m, room)


def _buffers(m: KeyedMap, room: int) -> tuple[memoryview, memoryview]:
    return memoryview(bytearray(room * m.key_size)), memoryview(bytearray(room * m.span))


def _unseen(m: KeyedMap, keys: memoryview, values: memoryview, n: int, seen: set[bytes]) -> int:
    """Keep only the entries with keys that are not in `seen`, and add these to it. Returns how many."""
    size, span = m.key_size, m.span
    kept = 0
    for i in range(n):
        key = keys[i * size : (i + 1) * size].tobytes()
        if key in seen:
            continue
        seen.add(key)
        if kept != i:
            keys[kept * size : (kept + 1) * size] = key
            values[kept * span : (kept + 1) * span] = values[i * span : (i + 1) * span]
        kept += 1
    return kept


def walk_keys(m: KeyedMap, seen: set[bytes] | None = None) -> Iterator[bytes]:
    """The keys, one by one. The kernel starts again when the current key is deleted: skip what was seen."""
    kernel, key_size = m._kernel, m.key_size
    seen = set() if seen is None else seen
    key: bytes | None = None
    most = 4 * m.max_entries + 64 if m.max_entries else _MANY
    for _ in range(most):  # or programs that add and delete could keep us for ever
        key = kernel.map_next_key(m.fd, key, key_size)
        if key is None:
            return
        if key not in seen:
            seen.add(key)
            yield key


def _walk(
    m: KeyedMap, keys: memoryview, values: memoryview, take: bool, flags: int, seen: set[bytes]
) -> Iterator[Chunk]:
    """The same as `chunks`, key by key."""
    kernel, key_size, span = m._kernel, m.key_size, m.span
    room = len(keys) // max(1, key_size)
    n = 0
    try:
        for key in walk_keys(m, seen):
            value = kernel.map_lookup(m.fd, key, span, flags)
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


def write(m: KeyedMap, keys: Buffer, values: Buffer, count: int, flags: int = 0) -> None:
    """Set `count` entries, packed one after the other. Raises MapError; those before stay written then."""
    all_keys, all_values = memoryview(keys).cast("B"), memoryview(values).cast("B")
    size, span = m.key_size, m.span
    kernel = m._kernel
    done = 0
    batches = count > _WORTH_A_BATCH
    try:
        while done < count:
            n = min(_WRITTEN, count - done) if batches else 1
            some_keys = all_keys[done * size : (done + n) * size]
            some_values = all_values[done * span : (done + n) * span]
            if not batches:
                kernel.map_update(m.fd, some_keys, some_values, flags)
                done += 1
                continue
            try:
                written = kernel.map_update_batch(m.fd, some_keys, some_values, n, flags=flags)
            except OSError as e:
                if done or e.errno not in MISSING_FEATURE:
                    raise
                batches = False
                continue
            done += written
            if written < n:
                raise OSError(errno.ENOENT, "no such key")
    except OSError as e:
        if e.errno == errno.ENOENT and flags & BPF_EXIST:
            missing = m.key.unpack(all_keys, done * size)
            raise MapError(f"can't write {m._called()}: it has no {missing!r}", errno=errno.ENOENT) from None
        raise m.failed(e, "write") from e


def delete(m: KeyedMap, keys: list[bytes]) -> int:
    """Delete some keys. Returns how many of them were there."""
    kernel = m._kernel
    at = deleted = 0
    batches = len(keys) > _WORTH_A_BATCH
    most = _WRITTEN
    try:
        while at < len(keys):
            if batches:
                some = keys[at : at + most]
                try:
                    n = kernel.map_delete_batch(m.fd, bytearray().join(some), len(some))
                except OSError as e:
                    if e.errno not in MISSING_FEATURE:
                        raise
                    batches = False
                    continue
                at += n
                deleted += n
                if n < len(some):  # the batch ends at a key that is not there
                    at += 1
                    most = max(_WORTH_A_BATCH, n)
                else:
                    most = min(_WRITTEN, most * 2)
                continue
            deleted += kernel.map_delete(m.fd, keys[at])
            at += 1
    except OSError as e:
        raise m.failed(e, "delete from") from e
    return deleted
