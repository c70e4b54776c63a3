"""The memory of a user ring buffer, as a program would find it, and positions that nobody would write."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.errors import MapError
from probee.kernel.maps import USER_RINGBUF, Map
from probee.kernel.ring import BUSY, DISCARD
from probee.obj import MapSpec
from probee.sys import use
from probee.sys.fake import FakeKernel

PAGE, SIZE = mmap.PAGESIZE, 4096


class Kernel:
    """A ring buffer, and what a program would take out of it."""

    def __init__(self) -> None:
        self._use = use(FakeKernel())
        fake: Any = self._use.__enter__()
        self.ring = Map.create(MapSpec("commands", map_type=USER_RINGBUF, max_entries=SIZE))
        self.memory = fake.open[self.ring.fd].memory = os.memfd_create("ring")
        os.ftruncate(self.memory, 2 * PAGE + 2 * SIZE)

    def close(self) -> None:
        self.ring.close()
        self._use.__exit__()

    def positions(self, consumer: int, producer: int) -> None:
        os.pwrite(self.memory, struct.pack("=Q", consumer), 0)
        os.pwrite(self.memory, struct.pack("=Q", producer), PAGE)

    def drain(self) -> list[bytes]:
        """As bpf_user_ringbuf_drain does, over memory that is mapped twice."""
        consumer = struct.unpack("=Q", os.pread(self.memory, 8, 0))[0]
        producer = struct.unpack("=Q", os.pread(self.memory, 8, PAGE))[0]
        data = os.pread(self.memory, 2 * SIZE, 2 * PAGE)
        out = []
        while consumer != producer:
            at = consumer % SIZE
            length = struct.unpack_from("=I", data, at)[0]
            if length & BUSY:
                break
            size = length & ~DISCARD
            if not length & DISCARD:
                out.append(data[at + 8 : at + 8 + size])
            consumer = (consumer + (size + 15) // 8 * 8) % (1 << 64)
        os.pwrite(self.memory, struct.pack("=Q", consumer), 0)
        return out


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    yield made
    made.close()


def test_what_is_sent_is_found(kernel: Kernel) -> None:
    ring = kernel.ring
    ring.send(b"one")
    with ring.reserve(5) as record:
        record.memory[:] = b"three"
    assert kernel.drain() == [b"one", b"three"]
    assert ring.free == SIZE


@given(
    st.lists(st.tuples(st.binary(max_size=200), st.sampled_from(["submit", "discard"])), max_size=60),
    st.integers(0, (1 << 64) - 1),
)
def test_any_sequence_of_records(items: list[tuple[bytes, str]], start: int) -> None:
    kernel = Kernel()
    try:
        start = start // SIZE * SIZE  # the fake has no second mapping: no record may lie across the end
        kernel.positions(start, start)
        for raw, end in items:
            record = kernel.ring.reserve(len(raw))
            record.memory[:] = raw
            getattr(record, end)()
            at = struct.unpack("=Q", os.pread(kernel.memory, 8, PAGE))[0]
            assert kernel.drain() == ([raw] if end == "submit" else [])
            assert kernel.ring.free == SIZE
            if at % SIZE > SIZE // 2:
                kernel.positions(at + SIZE - at % SIZE, at + SIZE - at % SIZE)
    finally:
        kernel.close()


def test_a_full_buffer_blocks(kernel: Kernel) -> None:
    for i in range(SIZE // 16):
        kernel.ring.send(bytes([i % 256]) * 8)
    assert kernel.ring.free == 0
    with pytest.raises(BlockingIOError, match="have not drained"):
        kernel.ring.send(b"x")
    assert len(kernel.drain()) == SIZE // 16


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), st.integers(0, 5000))
def test_positions_of_any_kind_end_in_a_record_or_an_error(consumer: int, producer: int, size: int) -> None:
    kernel = Kernel()
    try:
        kernel.positions(consumer, producer)
        try:
            kernel.ring.reserve(size).submit()
        except (MapError, BlockingIOError, ValueError):
            pass
        else:
            assert (producer - consumer) % (1 << 64) <= SIZE
            assert producer % 8 == 0
    finally:
        kernel.close()
