"""The memory of perf rings, made up: what the kernel would write, and what nobody would."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.errors import MapError
from probee.kernel import records
from probee.kernel.perf_ring import HEAD_AT, LEAD, PerfRing, backward

ALL = 1 << 62
SIZE = 4096


class Writer:
    """The kernel's side."""

    def __init__(self, *, timed: bool = False, start: int = 0) -> None:
        self.page, self.data = bytearray(4096), bytearray(SIZE)
        struct.pack_into("=QQ", self.page, HEAD_AT, start, start)
        self.timed = timed
        self.ring = PerfRing(memoryview(self.page), memoryview(self.data), timed=timed)

    @property
    def head(self) -> int:
        return int(struct.unpack_from("=Q", self.page, HEAD_AT)[0])

    def put(self, raw: bytes) -> None:
        head = self.head
        for i, b in enumerate(raw):
            self.data[(head + i) % SIZE] = b
        struct.pack_into("=Q", self.page, HEAD_AT, (head + len(raw)) % (1 << 64))

    def sample(self, data: bytes, when: int = 0, misc: int = 1) -> None:
        pad = -(len(data) + 4) % 8
        body = (struct.pack("=Q", when) if self.timed else b"") + struct.pack("=I", len(data) + pad)
        body += data + bytes(pad)
        self.put(struct.pack("=IHH", 9, misc, 8 + len(body)) + body)

    def lost(self, n: int) -> None:
        self.put(struct.pack("=IHHQQ", 2, 0, 24, 1, n))

    def read(self, limit: int = ALL, until: int | None = None) -> list[bytes]:
        parts, position = self.ring.scan(limit, until)
        found = [
            r
            for memory, runs in parts
            for run in runs
            for r in records.objects(memory, run, self.ring.lead, None)
        ]
        self.ring.release(position)
        return found


def test_samples_come_out_and_their_memory_goes_back() -> None:
    w = Writer()
    assert w.read() == []
    for i in range(5):
        w.sample(bytes([i]) * 12)
    assert w.ring.available == 5 * 24
    assert w.read(2) == [bytes([i]) * 12 for i in (0, 1)]
    assert w.read() == [bytes([i]) * 12 for i in (2, 3, 4)]
    assert w.ring.available == 0


def test_losses_and_unknown_records() -> None:
    w = Writer()
    w.sample(b"a" * 4)
    w.lost(7)
    w.put(struct.pack("=IHHQ", 99, 0, 16, 5))
    w.sample(b"b" * 4)
    w.lost(3)
    assert w.read() == [b"aaaa", b"bbbb"]
    assert w.ring.lost == 10


def test_positions_wrap_at_64_bits_and_records_at_the_end_of_the_data() -> None:
    w = Writer(start=(1 << 64) - 24 - SIZE)
    for i in range(300):
        w.sample(bytes([i % 256]) * 20)
        if i % 3 == 2:
            assert w.read() == [bytes([j % 256]) * 20 for j in (i - 2, i - 1, i)]


def test_samples_after_a_time_wait() -> None:
    w = Writer(timed=True)
    for when in (10, 20, 30, 40):
        w.sample(struct.pack("=I", when), when)
    assert w.read(until=5) == []
    assert [struct.unpack("=I", r)[0] for r in w.read(until=20)] == [10, 20]
    parts, _ = w.ring.scan(ALL, 35)
    assert w.ring.times(parts) == [30]
    assert len(w.read()) == 2


@pytest.mark.parametrize(
    ("head", "tail", "text"),
    [(SIZE + 8, 0, "make no sense"), (0, 8, "make no sense"), (9, 0, "make no sense")],
)
def test_positions_that_make_no_sense(head: int, tail: int, text: str) -> None:
    w = Writer()
    struct.pack_into("=QQ", w.page, HEAD_AT, head, tail)
    with pytest.raises(MapError, match=text):
        w.read()
    assert w.ring.available == 0  # or the same error would come for ever


@pytest.mark.parametrize("size", [0, 4, 12, 4096, 8])
def test_sizes_that_make_no_sense(size: int) -> None:
    w = Writer()
    w.put(struct.pack("=IHH", 9, 0, size))
    with pytest.raises(MapError, match=f"of {size} bytes"):
        w.read()
    w.sample(b"next")
    assert w.read() == [b"next"]


@given(st.binary(min_size=0, max_size=600), st.integers(0, 1 << 64), st.booleans(), st.integers(1, 50))
def test_any_memory_ends_in_records_or_an_error(raw: bytes, start: int, timed: bool, limit: int) -> None:
    w = Writer(timed=timed, start=start % (1 << 64) // 8 * 8)
    w.put(raw + bytes(-len(raw) % 8))
    for _ in range(100):
        try:
            found = w.read(limit, 1 << 40 if timed else None)
        except MapError:
            assert w.ring.available == 0
            return
        assert len(found) <= limit
        if not found:
            return


@given(st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=60), st.integers(1, 30), st.data())
def test_any_sequence_of_samples_comes_out(items: list[tuple[bytes, bool]], limit: int, data: Any) -> None:
    w = Writer(start=data.draw(st.integers(0, 600)) * 8)
    expected, found, lost = [], [], 0
    for raw, loss in items:
        if loss:
            w.lost(len(raw))
            lost += len(raw)
        else:
            w.sample(raw, misc=data.draw(st.sampled_from([1, 2])))
            expected.append(raw)
        if w.ring.available > SIZE // 2 or data.draw(st.booleans()):
            found += w.read(limit)
    while w.ring.available:
        found += w.read(limit)
    assert [f[: len(e)] for f, e in zip(found, expected, strict=True)] == expected
    assert all(len(f) - len(e) < 8 for f, e in zip(found, expected, strict=True))
    assert w.ring.lost == lost


def test_a_ring_written_backwards() -> None:
    page, data = bytearray(4096), bytearray(SIZE)
    head = 0
    for i in range(500):
        record = struct.pack("=IHHIQI", 9, 1, 24, 12, i, 0)
        head = (head - len(record)) % (1 << 64)
        for j, b in enumerate(record):
            data[(head + j) % SIZE] = b
        struct.pack_into("=Q", page, HEAD_AT, head)
        memory, runs = backward(memoryview(page), memoryview(data))
        numbers = [
            struct.unpack("=Q", r[:8])[0] for run in runs for r in records.objects(memory, run, LEAD, None)
        ]
        assert numbers == list(range(max(0, i + 1 - SIZE // 24), i + 1))


@given(st.binary(max_size=400), st.integers(0, (1 << 64) - 1))
def test_any_memory_written_backwards_ends(raw: bytes, head: int) -> None:
    page, data = bytearray(4096), bytearray(raw.ljust(SIZE, b"\xff"))
    struct.pack_into("=Q", page, HEAD_AT, head)
    memory, runs = backward(memoryview(page), memoryview(data))
    for run in runs:
        records.objects(memory, run, LEAD, None)
