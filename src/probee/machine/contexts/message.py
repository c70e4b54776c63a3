"""Data that a socket sends, as sk_msg programs see it: a list of pieces, of which one is in sight at a time.

Rules after `sk_msg` of the kernel: a program sees the first piece; `pull` joins pieces and shows what was
asked for; `push` and `pop` split pieces, and show the first one again.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ..memory import BASE, Memory
from .base import Context, struct

if TYPE_CHECKING:
    from ..kernel_memory import Kernel

_ROOM = 1 << 16  # what programs may push


class Message:
    """The bytes of a message. `pieces` are the lengths of its scatterlist's elements, in order; the bytes lie
    one behind the other in the machine's memory. `linear` limits the first piece."""

    def __init__(self, memory: Memory, data: bytes, *, linear: int | None = None) -> None:
        self.memory = memory
        self._region = memory.alloc(len(data) + _ROOM, "packet", align=64, name="message")
        self._region.data[: len(data)] = data
        self._size = len(data)
        first = len(data) if linear is None else min(linear, len(data))
        self.pieces = [size for size in (first, len(data) - first) if size]
        self._show(0, first)

    def _show(self, start: int, end: int) -> None:
        """Let programs reach some bytes and no others."""
        region = self._region
        self._start, self._end = start, end
        self.memory.protect(region, 0, region.size, readable=False, writable=False)
        first, whole = start & ~7, end & ~7
        if whole > first:
            self.memory.protect(region, first, whole - first)
        if end > whole:  # a part of the last 8 bytes, which `protect` has no words for
            self.memory._mark(region.address + whole - BASE, end - whole, True, True)

    @property
    def data(self) -> int:
        """The address of the first byte in sight."""
        return self._region.address + self._start

    @property
    def data_end(self) -> int:
        """The address behind the last one."""
        return self._region.address + self._end

    @property
    def length(self) -> int:
        return self._size

    @property
    def payload(self) -> bytes:
        """All bytes of the message."""
        return bytes(self._region.data[: self._size])

    def _piece(self, start: int) -> tuple[int, int]:
        """The number and the offset of the piece that holds a byte; the last one for those behind the end."""
        offset = 0
        for number, size in enumerate(self.pieces):
            if start < offset + size or number + 1 == len(self.pieces):
                return number, offset
            offset += size
        return 0, 0

    # ---- what helpers do; numbers are 0 or a negative errno

    def pull(self, start: int, end: int) -> int:
        """Show the bytes from `start` to `end`, which become one piece (bpf_msg_pull_data)."""
        if end <= start or end > self._size:
            return -errno.EINVAL
        first, offset = self._piece(start)
        last, size = first, self.pieces[first]
        while offset + size < end:
            last += 1
            size += self.pieces[last]
        self.pieces[first : last + 1] = [size]
        self._show(start, end)
        return 0

    def push(self, start: int, size: int) -> int:
        """Make room for bytes (bpf_msg_push_data). They are zero here, unknown in the kernel."""
        if not size:
            return 0
        if start > self._size:
            return -errno.EINVAL
        if self._size + size > self._region.size:
            return -errno.ENOMEM
        self._split(start)
        data = self._region.data
        data[start + size : self._size + size] = bytes(data[start : self._size])
        data[start : start + size] = bytes(size)
        number = self._at_border(start)
        self.pieces.insert(number, size)
        self._size += size
        self._show(0, self.pieces[0])
        return 0

    def pop(self, start: int, size: int) -> int:
        """Take bytes out (bpf_msg_pop_data)."""
        if not size:
            return 0
        if start >= self._size or start + size > self._size:
            return -errno.EINVAL
        self._split(start)
        self._split(start + size)
        first, last = self._at_border(start), self._at_border(start + size)
        del self.pieces[first:last]
        data = self._region.data
        data[start : self._size - size] = bytes(data[start + size : self._size])
        self._size -= size
        self._show(0, self.pieces[0] if self.pieces else 0)
        return 0

    def _split(self, at: int) -> None:
        number, offset = self._piece(at)
        if self.pieces and 0 < at - offset < self.pieces[number]:
            self.pieces[number : number + 1] = [at - offset, self.pieces[number] - (at - offset)]

    def _at_border(self, at: int) -> int:
        """The number of the piece that begins at an offset."""
        number = offset = 0
        while offset < at:
            offset += self.pieces[number]
            number += 1
        return number

    def free(self) -> None:
        """Give the memory back."""
        self.memory.free(self._region)


class MessageContext(Context):
    """`sk_msg_md` with its message."""

    def __init__(self, kernel: Kernel, fields: dict[str, Any], message: Message) -> None:
        inside = struct(kernel, "sk_msg_md", fields)
        super().__init__(inside.region, 0, inside.fields)
        self.packet = message  # type: ignore[assignment]
        self.refresh()

    def refresh(self) -> None:
        message, fields = self.packet, self.fields
        assert message is not None
        assert fields is not None
        fields.data, fields.data_end, fields.size = message.data, message.data_end, message.length
