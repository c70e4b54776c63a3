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


BPF_F_STACK_BUILD_ID = 1 << 5
_FRAME = Struct("=i20sQ")  # struct bpf_stack_build_id
_EMPTY, _VALID = 0, 1


class BuildIdFrame(tuple):  # type: ignore[type-arg]
    """A frame of a stack in a map with BPF_F_STACK_BUILD_ID: `build_id` (hexadecimal digits) of the file and
    `offset` in it; where the kernel could not find out, "" and the address."""

    __slots__ = ()

    @property
    def build_id(self) -> str:
        id: str = self[0]
        return id

    @property
    def offset(self) -> int:
        offset: int = self[1]
        return offset

    def __repr__(self) -> str:
        return f"BuildIdFrame(build_id={self[0]!r}, offset={self[1]:#x})"


class StackTrace(KeyedMap):
    """BPF_MAP_TYPE_STACK_TRACE: `stacks[id]` is a tuple of addresses, the innermost first.

    A negative id is what `kstack` and `ustack` return when there is no stack: KeyError, with the reason. With
    the flag BPF_F_STACK_BUILD_ID (Linux 4.17) frames are `BuildIdFrame`s.
    """

    __slots__ = ("_frames",)

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        self._frames = Struct(f"={self.value_size // 8}Q")

    @property
    def depth(self) -> int:
        """The most frames a stack has here."""
        return self.value_size // (_FRAME.size if self.by_build_id else 8)

    @property
    def by_build_id(self) -> bool:
        return bool(self.flags & BPF_F_STACK_BUILD_ID)

    def pack_key(self, key: Any) -> bytes:
        if isinstance(key, int) and key < 0:
            why = os.strerror(-key) if -key in errno.errorcode else "no such id"
            raise KeyError(f"{key}: no stack was stored ({errno.errorcode.get(-key, '?')}: {why})")
        return self.key.pack(key)

    def get(self, key: Any, default: Any = None, *, flags: int = 0) -> Any:
        return default if isinstance(key, int) and key < 0 else super().get(key, default, flags=flags)

    def __contains__(self, key: Any) -> bool:
        return not (isinstance(key, int) and key < 0) and super().__contains__(key)

    def load(self, raw: bytes) -> tuple[Any, ...]:
        if self.by_build_id:
            whole = raw[: len(raw) // _FRAME.size * _FRAME.size]
            return tuple(
                [
                    BuildIdFrame((id.hex() if status == _VALID else "", offset))
                    for status, id, offset in _FRAME.iter_unpack(whole)
                    if status != _EMPTY
                ]
            )
        frames: tuple[int, ...]
        frames = self._frames.unpack_from(raw)
        return frames[: frames.index(0)] if 0 in frames else frames

    def load_many(self, values: memoryview, count: int) -> Iterable[Any]:
        return [self.load(values[i * self.span : (i + 1) * self.span].tobytes()) for i in range(count)]

    def dump(self, value: Any) -> NoReturn:
        raise TypeError(f"only programs write stacks into {self.name}")

    def value_dtype(self) -> Any:
        import numpy as np

        if self.by_build_id:
            frame: Any = [("status", np.int32), ("build_id", np.uint8, (20,)), ("offset", np.uint64)]
            return np.dtype((np.dtype(frame), (self.depth,)))
        return np.dtype((np.uint64, (self.depth,)))
