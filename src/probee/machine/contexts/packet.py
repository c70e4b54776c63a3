"""A packet in the machine's memory, with room before and behind it as a driver's buffer has.

Programs may touch only what lies between `data_meta` and `data_end`; all else of the buffer faults.
"""

from __future__ import annotations

import errno

from ..memory import BASE, Memory

HEADROOM = 256  # XDP_PACKET_HEADROOM (linux/bpf.h)
TAILROOM = 320  # what a driver keeps for skb_shared_info
_META_MOST = 255
_ETHERNET = 14


class Packet:
    """The bytes of a packet and where they lie.

    `linear` is how many of them programs see directly; the others are in fragments, which only helpers reach
    (`bpf_skb_load_bytes`) until `pull` brings them in. Positions are counted from the first byte. `before` is
    the link layer's header of a packet whose first byte is that of the network layer; programs don't see it.
    """

    def __init__(
        self,
        memory: Memory,
        data: bytes,
        *,
        linear: int | None = None,
        meta: bytes = b"",
        headroom: int = HEADROOM,
        tailroom: int = TAILROOM,
        before: bytes | None = None,
    ) -> None:
        self.memory = memory
        self._tailroom = tailroom
        self._headroom = headroom
        if len(meta) % 4 or len(meta) > min(headroom, _META_MOST):
            raise ValueError(f"metadata are whole words and at most {_META_MOST} bytes, not {len(meta)}")
        linear = len(data) if linear is None else min(linear, len(data))
        self._region = memory.alloc(headroom + len(data) + tailroom, "packet", align=64)
        self._start = headroom
        self._meta = headroom - len(meta)
        self._size = len(data)
        self._linear = linear
        self._region.data[self._start : self._start + len(data)] = data
        self._region.data[self._meta : self._start] = meta
        # Where the headers of the link and the network layer begin, from the first byte on.
        self.link, self.network = 0, _ETHERNET
        if before is not None:
            self.link, self.network = -len(before), 0
            self._region.data[self._start - len(before) : self._start] = before
        self._permit()

    def _permit(self) -> None:
        """Let programs reach what they see, exactly at its end, to 8 bytes at its start."""
        region = self._region
        self.memory.protect(region, 0, region.size, readable=False, writable=False)
        first, last = self._meta & ~7, self._start + self._linear
        whole = last & ~7
        if whole > first:
            self.memory.protect(region, first, whole - first)
        if last > whole:  # a part of the last 8 bytes, which `protect` has no words for
            self.memory._mark(region.address + whole - BASE, last - whole, True, True)

    # ---- where

    @property
    def data(self) -> int:
        """The address of the first byte."""
        return self._region.address + self._start

    @property
    def data_end(self) -> int:
        """The address behind the last byte that programs see."""
        return self.data + self._linear

    @property
    def data_meta(self) -> int:
        """The address of the metadata before the packet."""
        return self._region.address + self._meta

    @property
    def length(self) -> int:
        """Bytes in all."""
        return self._size

    @property
    def linear(self) -> int:
        return self._linear

    @property
    def headroom(self) -> int:
        return self._start

    @property
    def payload(self) -> bytes:
        """The packet's bytes."""
        return bytes(self._region.data[self._start : self._start + self._size])

    @property
    def meta(self) -> bytes:
        """The metadata before the packet."""
        return bytes(self._region.data[self._meta : self._start])

    # ---- what helpers do; numbers are 0 or a negative errno

    def read(self, offset: int, size: int) -> bytes | None:
        """Bytes at an offset; None if they are not all in the packet."""
        if offset < 0 or size < 0 or offset + size > self._size:
            return None
        at = self._start + offset
        return bytes(self._region.data[at : at + size])

    def read_header(self, offset: int, size: int) -> bytes | None:
        """As `read`, from the link layer's header on even if that lies before the first byte."""
        if offset >= 0:
            return self.read(offset, size)
        if offset < self.link or offset + size > self._size:
            return None
        at = self._start + offset
        return bytes(self._region.data[at : at + size])

    def write(self, offset: int, data: bytes) -> bool:
        """Put bytes at an offset; False if they are not all in the packet."""
        if offset < 0 or offset + len(data) > self._size:
            return False
        at = self._start + offset
        self._region.data[at : at + len(data)] = data
        return True

    def pull(self, size: int) -> int:
        """Let programs see at least `size` bytes."""
        if size > self._size:
            return -errno.ENOMEM
        if size > self._linear:
            self._linear = size
            self._permit()
        return 0

    def adjust_head(self, delta: int) -> int:
        """Move the start: a negative number of bytes makes the packet longer (bpf_xdp_adjust_head)."""
        start = self._start + delta
        meta = self._start - self._meta
        if start - meta < 0 or delta > self._linear - 14:  # an Ethernet header has to stay
            return -errno.EINVAL
        if meta:
            self._region.data[start - meta : start] = self.meta
        self._start, self._meta = start, start - meta
        self._size -= delta
        self._linear -= delta
        if delta < 0:
            self._region.data[start : start - delta] = bytes(-delta)
        self._permit()
        return 0

    def adjust_tail(self, delta: int) -> int:
        """Move the end (bpf_xdp_adjust_tail)."""
        size = self._size + delta
        if size < 14 or self._start + size > self._region.size:
            return -errno.EINVAL
        if delta > 0:
            at = self._start + self._size
            self._region.data[at : at + delta] = bytes(delta)
        linear = self._linear + delta if self._linear == self._size else min(self._linear, size)
        self._size, self._linear = size, linear
        self._permit()
        return 0

    def adjust_meta(self, delta: int) -> int:
        """Move the start of the metadata (bpf_xdp_adjust_meta)."""
        meta = self._meta + delta
        size = self._start - meta
        if meta < 0 or not 0 <= size <= _META_MOST or size % 4:
            return -errno.EINVAL if size < 0 or meta < 0 else -errno.EACCES
        self._meta = meta
        self._permit()
        return 0

    def replace(self, data: bytes, *, linear: int | None = None) -> None:
        """Make it another packet, of any length, in another place: pointers that programs kept are stale."""
        meta = self.meta
        old = self._region
        self._region = self.memory.alloc(self._headroom + len(data) + self._tailroom, "packet", align=64)
        self._start = self._headroom
        self._meta = self._start - len(meta)
        self._size = len(data)
        self._linear = len(data) if linear is None else min(linear, len(data))
        self._region.data[self._start : self._start + len(data)] = data
        self._region.data[self._meta : self._start] = meta
        self.memory.free(old)
        self._permit()

    def splice(self, offset: int, remove: int, insert: bytes) -> None:
        """Take `remove` bytes out at an offset and put others there."""
        data = self.payload
        whole = self._linear == self._size
        linear = None if whole else max(0, self._linear - remove + len(insert))
        self.replace(data[:offset] + insert + data[offset + remove :], linear=linear)

    def free(self) -> None:
        """Give the memory back."""
        self.memory.free(self._region)


def packet_bytes(packet: object) -> bytes:
    """The bytes of what a test gives as a packet: bytes, or anything `bytes()` takes, as scapy's packets."""
    if isinstance(packet, (bytes, bytearray, memoryview)):
        return bytes(packet)
    if isinstance(packet, (str, int)) or not hasattr(packet, "__bytes__"):
        raise TypeError(f"a packet is bytes, or a packet of scapy's, not {packet!r}")
    return bytes(packet)
