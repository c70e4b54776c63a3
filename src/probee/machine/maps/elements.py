"""The table under all hash maps: elements in the machine's memory, found through buckets.

**Layout, which native code reads too.** `buckets` is an array of u32, one for each of `mask + 1` hash values:
the place of the first element of that bucket, 0 if there is none. A place is the element's address less
`origin` (an element's place is never 0). An element is

    u32 next; u32 hash; key, padded with zeros to 8; value

with `next` the place of the next element of the bucket, 0 at the end, the key at offset 8 and the value at
`value_offset`. The hash of a key is `hash_of`: its bytes in words of 8, little-endian, the last padded with
zeros.

Elements come in slabs, each twice as large as the one before, so that a map with room for millions takes
memory for those it has. Python finds elements by a dict of keys; the buckets are written along with it.
Elements are kept in the order in which they came, and this is the order in which keys are listed.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING

from ..memory import BASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..memory import Memory, Region

KEY_OFFSET = 8
HASH_MULTIPLIER = 0x9E3779B97F4A7C15
HASH_SEED = 0x5DEECE66D
_M64 = (1 << 64) - 1
_HEAD = struct.Struct("<II")
_U32 = struct.Struct("<I")
_FIRST_SLAB = 16
_LARGEST_SLAB = 1 << 16
_MOST_BUCKETS = 1 << 20


def hash_of(key: bytes) -> int:
    """The 32-bit hash of a key: for each word, xor it in, multiply, fold the upper half down."""
    h = HASH_SEED
    for at in range(0, len(key), 8):
        h = (h ^ int.from_bytes(key[at : at + 8], "little")) * HASH_MULTIPLIER & _M64
        h ^= h >> 32
    return h & 0xFFFFFFFF


def permissions(key_size: int, value_size: int, *, readable: bool, writable: bool) -> bytes:
    """The shadow bytes of an element: the header is nobody's, keys are read by callbacks, values as given."""
    unit = (1 if readable else 0) | (16 if writable else 0)
    key = bytes([8]) * (key_size >> 3) + (bytes([key_size & 7]) if key_size & 7 else b"")
    rest = value_size & 7
    return bytes(1) + key + bytes([8 * unit]) * (value_size >> 3) + (bytes([rest * unit]) if rest else b"")


class Element:
    """An element's place in memory, and what the map knows of it. `older`, `newer`, `place`, `referenced` and
    `cpu` are the LRU lists'."""

    __slots__ = (
        "address",
        "after",
        "before",
        "cpu",
        "hash",
        "key",
        "memory",
        "newer",
        "offset",
        "older",
        "place",
        "referenced",
    )

    older: Element
    newer: Element
    before: Element | None
    after: Element | None

    def __init__(self, region: Region | None = None, offset: int = 0) -> None:
        self.key: bytes | None = None  # None while it is free
        self.hash = 0
        self.offset = offset
        self.address = region.address + offset if region is not None else 0
        if region is not None:
            self.memory: memoryview = region.data
        self.place = 0
        self.referenced = False
        self.cpu = 0
        self.before = self.after = None


class Table:
    """Elements by key.

    `allocate` gives memory of a size and kind, `permits` is what programs may do with an element, a shadow
    byte for each of its words.
    """

    __slots__ = (
        "_allocate",
        "_bucket_memory",
        "_heads",
        "_permits",
        "_shadow",
        "_slab",
        "buckets",
        "first",
        "found",
        "free",
        "key_size",
        "last",
        "mask",
        "origin",
        "stride",
        "value_offset",
    )

    def __init__(
        self,
        memory: Memory,
        allocate: Callable[[int, str], Region],
        key_size: int,
        value_size: int,
        max_entries: int,
        permits: bytes,
    ) -> None:
        self.key_size = key_size
        self.value_offset = KEY_OFFSET + (key_size + 7 & ~7)
        self.stride = self.value_offset + (value_size + 7 & ~7)
        count = min(_MOST_BUCKETS, 1 << max(0, max_entries - 1).bit_length())
        self.mask = count - 1
        self._allocate = allocate
        self._shadow = memory.shadow
        self._permits = permits
        region = allocate(4 * count, "handle")
        self.buckets: int = region.address
        self._bucket_memory = region.data
        self.origin = BASE
        self.found: dict[bytes, Element] = {}
        self.free: deque[Element] = deque()
        self._heads: dict[int, list[Element]] = {}
        self._slab = _FIRST_SLAB
        self.first: Element | None = None
        self.last: Element | None = None

    def grow(self, most: int) -> list[Element]:
        """Memory for some more elements, at most `most`."""
        count = max(1, min(self._slab, most))
        self._slab = min(self._slab * 2, _LARGEST_SLAB)
        region = self._allocate(count * self.stride, "map_value")
        first = region.address - BASE >> 3
        self._shadow[first : first + (count * self.stride >> 3)] = self._permits * count
        return [Element(region, i * self.stride) for i in range(count)]

    def insert(self, element: Element, key: bytes) -> None:
        """Put an element, whose value is written, under a key that is not there."""
        number = hash_of(key)
        element.key, element.hash = key, number
        at = element.offset
        element.memory[at + KEY_OFFSET : at + KEY_OFFSET + self.key_size] = key
        bucket = number & self.mask
        chain = self._heads.setdefault(bucket, [])
        following = chain[-1].address - self.origin if chain else 0
        _HEAD.pack_into(element.memory, at, following, number)
        chain.append(element)
        _U32.pack_into(self._bucket_memory, 4 * bucket, element.address - self.origin)
        self.found[key] = element
        element.before, element.after = self.last, None
        if self.last is None:
            self.first = element
        else:
            self.last.after = element
        self.last = element

    def remove(self, element: Element) -> None:
        """Take an element out. Its bytes stay as they are until it is used again."""
        assert element.key is not None
        bucket = element.hash & self.mask
        chain = self._heads[bucket]
        at = chain.index(element)
        following = chain[at - 1].address - self.origin if at else 0
        if at + 1 < len(chain):
            after = chain[at + 1]
            _U32.pack_into(after.memory, after.offset, following)
        else:
            _U32.pack_into(self._bucket_memory, 4 * bucket, following)
        del chain[at]
        if not chain:
            del self._heads[bucket]
        del self.found[element.key]
        element.key = None
        before, after_it = element.before, element.after
        if before is None:
            self.first = after_it
        else:
            before.after = after_it
        if after_it is None:
            self.last = before
        else:
            after_it.before = before

    def replace(self, old: Element, new: Element) -> None:
        """Put `new`, whose value is written, in place of `old`, keeping the key's place in the order."""
        key = old.key
        assert key is not None
        before, after = old.before, old.after
        self.remove(old)
        self.insert(new, key)
        if after is None:
            return
        # insert() has put it last: move it to where the old one was
        assert new.before is not None
        new.before.after = None
        self.last = new.before
        new.before, new.after = before, after
        after.before = new
        if before is None:
            self.first = new
        else:
            before.after = new
