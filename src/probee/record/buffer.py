"""The memory that instrumented programs write to, as the recorder has it, and what comes out of it."""

from __future__ import annotations

import errno
import struct
from mmap import PAGESIZE, mmap

from ..errors import LoadError, ProbeeError
from . import layout as at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ARRAY, _MMAPABLE = 2, 1 << 10
_SIZES = (1 << 24, 1 << 21)  # kernels before 6.4 take no value of more than 4 MiB
_U64 = struct.Struct("<Q")
_HEAD = struct.Struct("<HHI")


class Buffer:
    """The ring, mapped into this process. `size` is its size in bytes, `fd` the map's descriptor.

    `limit` is how many invocations are recorded; `keep` how many bytes are taken out of it at most.
    """

    def __init__(self, kernel: Any, *, limit: int = 0, keep: int = 256 << 20) -> None:
        self._kernel = kernel
        self.fd, self.size = _create(kernel)
        try:
            length = (at.value_size(self.size) + PAGESIZE - 1) // PAGESIZE * PAGESIZE
            self._memory = mmap(self.fd, length)
        except BaseException:
            kernel.close(self.fd)
            raise
        self.chunks: list[bytes] = []
        self.kept = 0
        self.full = False
        self._room = keep
        self._put(at.NEXT_ID, 1)
        self._limit = limit or 1 << 31
        self._put(at.LAST_ID, self._limit)

    def _get(self, offset: int) -> int:
        return int(_U64.unpack_from(self._memory, offset)[0])

    def _put(self, offset: int, value: int) -> None:
        _U64.pack_into(self._memory, offset, value)

    @property
    def begun(self) -> int:
        """How many invocations began to be recorded."""
        return min(self._get(at.NEXT_ID) - 1, self._limit)

    @property
    def late(self) -> int:
        """How many came after the last one to be recorded."""
        return self._get(at.NEXT_ID) - 1 - self.begun

    @property
    def dropped(self) -> int:
        """How many invocations were not recorded because the ring was full."""
        return self._get(at.DROPPED)

    def stop(self) -> None:
        """Let no further invocation be recorded."""
        self._limit = self.begun
        self._put(at.LAST_ID, self._limit)

    def drain(self) -> int:
        """Take out what is finished. Returns the number of bytes."""
        memory, size = self._memory, self.size
        start = position = self._get(at.CONSUMED)
        end = self._get(at.WRITTEN)
        if end - start > size:
            raise ProbeeError(
                "an invocation wrote more than the recorder could take: its records overran one another"
            )
        head = _HEAD.unpack_from
        while position < end:
            offset = at.BUFFER + (position & size - 1)
            _, words, _ = head(memory, offset)
            if not words:
                break
            length = 8 * words
            if not self.full:
                self.chunks.append(memory[offset : offset + length])
            memory[offset : offset + length] = bytes(length)
            position += length
        self._put(at.CONSUMED, position)
        self.kept += position - start if not self.full else 0
        if self.kept > self._room and not self.full:
            self.full = True
            self.stop()
        return position - start

    def close(self) -> None:
        self._memory.close()
        self._kernel.close(self.fd)


def _create(kernel: Any) -> tuple[int, int]:
    for size in _SIZES:
        try:
            return kernel.map_create(_ARRAY, 4, at.value_size(size), 1, flags=_MMAPABLE, name="record"), size
        except OSError as error:
            if error.errno not in (errno.E2BIG, errno.ENOMEM, errno.EINVAL) or size == _SIZES[-1]:
                raise LoadError(
                    f"can't create the recorder's map: {error.strerror}", errno=error.errno or 0
                ) from error
    raise AssertionError
