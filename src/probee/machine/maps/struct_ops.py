"""struct_ops maps: one value, the structure of functions, which is registered by an update."""

from __future__ import annotations

import errno

from .arrays import U32, index_of
from .base import EXIST, Attributes, Home, Map, refuse

INIT, IN_USE, TO_FREE, READY = range(4)
F_LINK = 1 << 13
STATE_OFFSET = 4  # struct bpf_struct_ops_common_value: refcnt, state


class StructOps(Map):
    """`data` is the value as it was written; programs in it are held as descriptors, as the kernel gets
    them."""

    def __init__(self, attributes: Attributes, home: Home) -> None:
        super().__init__(attributes, home)
        self.data = b""
        self.state = INIT

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        if index_of(key):
            refuse(errno.ENOENT)
        value = bytearray(self.value_size if self.state in (INIT, TO_FREE) else self.data)
        U32.pack_into(value, STATE_OFFSET, self.state)
        return bytes(value)

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        if flags > EXIST:
            refuse(errno.EINVAL)
        if index_of(key):
            refuse(errno.E2BIG)
        if self.state != INIT:
            refuse(errno.EBUSY)
        self.data = bytes(value)
        self.state = READY if self.flags & F_LINK else IN_USE

    def sys_delete(self, key: bytes) -> None:
        if self.flags & F_LINK:
            refuse(errno.EOPNOTSUPP)
        if self.state != IN_USE:
            refuse(errno.EINPROGRESS if self.state == TO_FREE else errno.ENOENT)
        self.state = TO_FREE

    def sys_next_key(self, key: bytes | None) -> bytes:
        if key is not None and not index_of(key):
            refuse(errno.ENOENT)
        return bytes(4)
