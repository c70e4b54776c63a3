"""The memory of a ring buffer, read from bytearrays that a small writer fills as the kernel does."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from probee.btf.build import BtfBuilder
from probee.btf.values import codec
from probee.errors import MapError
from probee.kernel import ring as ring_module
from probee.kernel.ring import BUSY, DISCARD, OverwrittenRing, Ring

SIZE = 4096
ALL = 1 << 62


class Writer:
    """The kernel's side: reserves, submits, discards."""

    def __init__(self, start: int = 0) -> None:
        self.consumer = bytearray(struct.pack("=Q", start))
        self.producer = bytearray(struct.pack("=Q", start))
        self.data = bytearray(2 * SIZE)
        self.ring = Ring(memoryview(self.consumer), memoryview(self.producer), memoryview(self.data))

    @property
    def position(self) -> int:
        return int(struct.unpack("=Q", self.producer)[0])

    @property
    def consumed(self) -> int:
        return int(struct.unpack("=Q", self.consumer)[0])

    def put(self, raw: bytes, flags: int = 0) -> int:
        """Write a record; returns where its header is."""
        at = self.position
        whole = struct.pack("=II", len(raw) | flags, 0xABCD) + raw
        whole += bytes(-len(whole) & 7)
        assert at + len(whole) - self.consumed <= SIZE, "the test's ring is full"
        for i, byte in enumerate(whole):
            place = (at + i) % SIZE
            self.data[place] = self.data[place + SIZE] = byte
        self.producer[:] = struct.pack("=Q", (at + len(whole)) % (1 << 64))
        return at

    def flag(self, at: int, flags: int) -> None:
        """Set the top bits of a record's length."""
        place = at % SIZE
        (length,) = struct.unpack_from("=I", self.data, place)
        for start in (place, place + SIZE):
            struct.pack_into("=I", self.data, start, length & ~(BUSY | DISCARD) | flags)

    def take(self, limit: int = ALL, c: Any = None) -> list[Any]:
        runs, position = self.ring.scan(limit)
        out = [value for run in runs for value in self.ring.objects(run, c)]
        self.ring.release(position)
        return out


def event() -> Any:
    b = BtfBuilder()
    u32 = b.int_("u32", 4)
    id = b.struct("E", 12, [("a", u32, 0), ("b", u32, 32), ("t", b.array(b.int_("char", 1, 1), 4), 64)])
    return codec(b.btf(), id)


def test_an_empty_ring() -> None:
    w = Writer()
    assert w.ring.available == 0
    assert w.take() == []
    assert w.consumed == 0


def test_records_come_in_order_and_their_memory_goes_back() -> None:
    w = Writer(start=SIZE * 5 - 16)  # wraps around at once
    records = [b"a" * n for n in (1, 8, 9, 9, 9, 0, 100, 100)]
    for raw in records:
        w.put(raw)
    assert w.ring.available == w.position - w.consumed
    assert w.take() == records
    assert w.consumed == w.position
    assert w.ring.available == 0


def test_a_limit_leaves_the_rest() -> None:
    w = Writer()
    for i in range(10):
        w.put(bytes([i]))
    assert w.take(3) == [b"\0", b"\1", b"\2"]
    assert w.take(0) == []
    assert w.take(100) == [bytes([i]) for i in range(3, 10)]


def test_a_busy_record_stops_the_scan_until_it_is_submitted() -> None:
    w = Writer()
    w.put(b"one")
    at = w.put(b"two", BUSY)
    w.put(b"three")
    assert w.take() == [b"one"]
    assert w.take() == []
    w.flag(at, 0)
    assert w.take() == [b"two", b"three"]


def test_discarded_records_are_skipped() -> None:
    w = Writer()
    w.put(b"one", DISCARD)
    w.put(b"two")
    at = w.put(b"gone", BUSY)
    w.put(b"four", DISCARD)
    w.flag(at, DISCARD)
    assert w.take() == [b"two"]
    assert w.consumed == w.position


def test_a_full_ring_and_many_turns() -> None:
    w = Writer()
    c = event()
    turn = 0
    for _ in range(20):
        sent = []
        while SIZE - w.ring.available >= 24:
            sent.append((turn, turn * 2, "ab"))
            w.put(c.pack(sent[-1]))
            turn += 1
        assert w.take(c=c) == sent
    assert turn > 3000


def test_positions_beyond_64_bits_wrap() -> None:
    w = Writer(start=(1 << 64) - 4096)
    w.put(b"x")
    assert w.ring.available == 16
    assert w.take() == [b"x"]
    w.put(b"y" * (4096 - 24))
    assert w.position == 0
    assert w.take() == [b"y" * (4096 - 24)]
    assert w.consumed == 0


def test_records_longer_or_shorter_than_their_type() -> None:
    w = Writer()
    c = event()
    w.put(c.pack((1, 2, "abcd")) + b"more")
    w.put(struct.pack("<I", 7))
    w.put(b"")
    assert w.take(c=c) == [(1, 2, "abcd"), (7, 0, ""), (0, 0, "")]


def columns(w: Writer, dtype: Any, limit: int = ALL) -> Any:
    runs, position = w.ring.scan(limit)
    out = w.ring.columns(runs, np.dtype(dtype))
    w.ring.release(position)
    return out


def test_columns_are_what_objects_are() -> None:
    c = event()
    for mixed in (False, True):
        w, v = Writer(start=SIZE - 40), Writer(start=SIZE - 40)
        for i in range(60):
            raw = c.pack((i, i * i, "xyz")) + (b"tail" * (i % 3) if mixed else b"")
            flags = DISCARD if i % 7 == 3 else 0
            w.put(raw, flags)
            v.put(raw, flags)
        array = columns(w, c.dtype())
        objects = v.take(c=c)
        assert [(int(r["a"]), int(r["b"]), r["t"].decode()) for r in array] == objects
        assert array.flags.c_contiguous
        assert array.flags.writeable
        w.data[:] = bytes(2 * SIZE)  # it is a copy
        assert int(array["a"][1]) == 1


def test_columns_of_short_records_end_in_zeros() -> None:
    w = Writer()
    for i in range(20):
        w.put(struct.pack("<I", i))
    array = columns(w, event().dtype())
    assert array["a"].tolist() == list(range(20))
    assert array["b"].tolist() == [0] * 20
    assert len(columns(w, event().dtype())) == 0
    w.put(b"abc")
    assert len(columns(w, np.dtype([]))) == 1


def test_nonsense_in_the_positions() -> None:
    for consumer, producer in ((8, 0), (0, SIZE + 8), (4, 100), (0, 1 << 63)):
        w = Writer()
        w.consumer[:] = struct.pack("=Q", consumer)
        w.producer[:] = struct.pack("=Q", producer)
        with pytest.raises(MapError, match="make no sense"):
            w.ring.scan(ALL)


def test_a_length_beyond_the_end() -> None:
    w = Writer()
    w.put(b"fine")
    at = w.put(b"bad")
    struct.pack_into("=I", w.data, at, 5000)
    with pytest.raises(MapError, match="5000 bytes where 16 are left"):
        w.ring.scan(ALL)


@settings(max_examples=300)
@given(st.binary(min_size=64, max_size=64), st.integers(0, 9), st.integers(0, 80), st.integers(0, 1 << 40))
@example(bytes(64), 0, 64, ALL)
def test_any_memory_ends(raw: bytes, consumer: int, used: int, limit: int) -> None:
    half = bytearray(raw)
    for i in range(0, 64, 8):  # lengths that fit now and then
        half[i + 1] &= raw[0] & 1
        half[i + 2] = 0
        half[i + 3] &= 0xC0
    c = event()
    data = memoryview(half * 2)
    ring = Ring(
        memoryview(bytearray(struct.pack("=Q", consumer * 8))),
        memoryview(bytearray(struct.pack("=Q", consumer * 8 + used))),
        data,
    )
    try:
        runs, position = ring.scan(limit)
    except MapError:
        return
    assert 0 <= position - consumer * 8 <= used
    total = sum(run.count for run in runs)
    assert total <= min(limit, 8)
    assert sum(len(ring.objects(run, c)) for run in runs) == total
    assert sum(len(ring.objects(run, None)) for run in runs) == total
    assert len(ring.columns(runs, c.dtype())) == total


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0, 0, 0, DISCARD])), max_size=60), st.data())
def test_any_sequence_of_records_comes_out(records: list[tuple[int, int]], data: Any) -> None:
    w = Writer(start=data.draw(st.integers(0, SIZE // 8)) * 8)
    sent: list[bytes] = []
    got: list[bytes] = []
    for i, (length, flags) in enumerate(records):
        raw = bytes([i]) * length
        if not flags:
            sent.append(raw)
        w.put(raw, flags)
        if data.draw(st.integers(0, 9)) == 0:
            got += w.take(data.draw(st.integers(0, 5)))
    assert got + w.take() == sent


def test_the_fence_of_other_processors_works_again_and_again() -> None:
    fence = ring_module.fence_for("aarch64")
    for _ in range(3):
        fence()


class OverwritingWriter(Writer):
    """The kernel's side of a ring in which new records overwrite the oldest."""

    def __init__(self, start: int = 0) -> None:
        super().__init__(start)
        self.page = bytearray(struct.pack("=QQQ", start, start, start))
        self.ring = OverwrittenRing(memoryview(self.consumer), memoryview(self.page), memoryview(self.data))
        self.oldest = start

    def put(self, raw: bytes, flags: int = 0) -> int:
        at = self.position
        needed = (len(raw) + 15) // 8 * 8
        while at + needed - self.oldest > SIZE:
            length = struct.unpack_from("=I", self.data, self.oldest % SIZE)[0] & ~(BUSY | DISCARD)
            self.oldest += (length + 15) // 8 * 8
        whole = (struct.pack("=II", len(raw) | flags, 0) + raw).ljust(needed, b"\0")
        for i, byte in enumerate(whole):
            place = (at + i) % SIZE
            self.data[place] = self.data[place + SIZE] = byte
        self.producer[:] = struct.pack("=Q", at + needed)
        self.page[:] = struct.pack("=QQQ", at + needed, at + needed, self.oldest)
        return at


@given(st.lists(st.tuples(st.binary(max_size=90), st.sampled_from([0, 0, DISCARD]), st.booleans())))
def test_a_ring_that_overwrites_gives_the_latest(items: list[tuple[bytes, int, bool]]) -> None:
    w = OverwritingWriter(start=5 * SIZE - 64)
    held: list[tuple[int, bytes, int]] = []
    for raw, flags, read in items:
        held.append((w.put(raw, flags), raw, flags))
        held = [h for h in held if h[0] >= w.oldest]
        if read:
            assert w.take() == [raw for _, raw, flags in held if not flags]
            held.clear()
            assert w.ring.available == 0
    lost = w.oldest - w.consumed if w.oldest > w.consumed else 0
    before = w.ring.overwritten
    assert w.take(3) == [raw for _, raw, flags in held if not flags][:3]
    assert w.ring.overwritten == before + lost


@example(b"", [0, 17, 0])
@example(b"", [0, 4096, 3])
@given(st.binary(max_size=SIZE), st.lists(st.integers(0, 2 * SIZE), min_size=3, max_size=3))
def test_any_memory_that_is_overwritten_ends(raw: bytes, positions: list[int]) -> None:
    w = OverwritingWriter()
    w.data[: len(raw)] = w.data[SIZE : SIZE + len(raw)] = raw
    w.consumer[:] = struct.pack("=Q", positions[0])
    w.page[:] = struct.pack("=QQQ", positions[1], 0, positions[2])
    with suppress(MapError):
        w.take()
