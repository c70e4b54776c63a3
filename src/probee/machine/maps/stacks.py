"""Stack traces by id. The id is a hash of the addresses, so two stacks may want the same: the flags of
`bpf_get_stackid` say what happens then. Ids here are not those of the kernel, whose hash is another."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from .arrays import U32, index_of
from .base import F_STACK_BUILD_ID, Attributes, Home, Map, refuse
from .elements import hash_of

SKIP_MASK, USER_STACK, FAST_COMPARE, REUSE_ID = 0xFF, 1 << 8, 1 << 9, 1 << 10
_FRAME = struct.Struct("<i20sQ")  # struct bpf_stack_build_id
_NO_BUILD_ID = 2


class StackTrace(Map):
    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.buckets = 1 << max(0, self.max_entries - 1).bit_length()
        self.frame = _FRAME.size if self.flags & F_STACK_BUILD_ID else 8
        self.depth = self.value_size // self.frame
        self.held: dict[int, tuple[int, bytes]] = {}  # id -> hash, frames as bytes

    def store(self, stack: Sequence[int], flags: int) -> int:
        """An id for a stack (innermost address first), or a negative errno."""
        if flags & ~(SKIP_MASK | USER_STACK | FAST_COMPARE | REUSE_ID):
            return -errno.EINVAL
        kept = stack[flags & SKIP_MASK :][: self.depth]
        if not kept:
            return -errno.EFAULT
        raw = struct.pack(f"<{len(kept)}Q", *kept)
        number = hash_of(raw)
        id = number & self.buckets - 1
        if self.frame != 8:
            raw = b"".join(_FRAME.pack(_NO_BUILD_ID, b"", address) for address in kept)
        old = self.held.get(id)
        if old is not None and old[0] == number and (flags & FAST_COMPARE or old[1] == raw):
            return id
        if old is not None and not flags & REUSE_ID:
            return -errno.EEXIST
        self.held[id] = number, raw
        return id

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if flags:
            refuse(errno.EINVAL)
        found = self.held.get(index_of(key))
        if found is None:
            refuse(errno.ENOENT)
        return found[1].ljust(self.value_size, b"\0")

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        refuse(errno.EINVAL)

    def delete(self, key: bytes, cpu: int) -> int:
        index = index_of(key)
        if index >= self.buckets:
            return -errno.E2BIG
        return 0 if self.held.pop(index, None) is not None else -errno.ENOENT

    def sys_delete(self, key: bytes) -> None:
        self.answer(self.delete(key, 0))

    def sys_next_key(self, key: bytes | None) -> bytes:
        after = -1 if key is None else index_of(key)
        if key is not None and after not in self.held:
            after = -1
        following = [id for id in sorted(self.held) if id > after]
        if not following:
            refuse(errno.ENOENT)
        return U32.pack(following[0])
