"""Stack traces by id, as `bpf_get_stackid` leaves them."""

from __future__ import annotations

import errno
import os
from struct import Struct

from .maps import KeyedMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn


class StackTrace(KeyedMap):
    """BPF_MAP_TYPE_STACK_TRACE: `stacks[id]` is a tuple of addresses, the innermost first.

    A negative id is what `kstack` and `ustack` return when there is no stack: KeyError, with the reason.
    """

    __slots__ = ("_frames",)

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        self._frames = Struct(f"={self.value_size // 8}Q")

    @property
    def depth(self) -> int:
        """The most frames a stack has here."""
        return self.value_size // 8

    def pack_key(self, key: Any) -> bytes:
        if isinstance(key, int) and key < 0:
            why = os.strerror(-key) if -key in errno.errorcode else "no such id"
            raise KeyError(f"{key}: no stack was stored ({errno.errorcode.get(-key, '?')}: {why})")
        return self.key.pack(key)

    def get(self, key: Any, default: Any = None) -> Any:
        return default if isinstance(key, int) and key < 0 else super().get(key, default)

    def __contains__(self, key: Any) -> bool:
        return not (isinstance(key, int) and key < 0) and super().__contains__(key)

    def load(self, raw: bytes) -> tuple[int, ...]:
        frames = self._frames.unpack_from(raw)
        return frames[: frames.index(0)] if 0 in frames else frames

    def load_many(self, values: memoryview, count: int) -> Iterable[Any]:
        return [self.load(values[i * self.span : (i + 1) * self.span].tobytes()) for i in range(count)]

    def dump(self, value: Any) -> NoReturn:
        raise TypeError(f"only programs write stacks into {self.name}")

    def value_dtype(self) -> Any:
        import numpy as np

        return np.dtype((np.uint64, (self.depth,)))
