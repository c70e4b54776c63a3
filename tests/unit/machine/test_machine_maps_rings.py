"""Ring buffers of the machine: records, order, full buffers, both ends of the memory."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.kernel.ring import Ring
from probee.machine.maps import Attributes, Home, create
from probee.machine.maps.calls import MapCalls
from probee.machine.memory import Fault, Memory
from probee.machine.rings import BUSY, DISCARD, PerfOutput, RingBuf, UserRingBuf

PAGE = 4096


def ring(flags: int = 0, size: int = PAGE) -> RingBuf:
    made = create(Attributes(27, 0, 0, size, flags=flags), Home(Memory(1 << 20)))
    assert isinstance(made, RingBuf)
    return made


def test_a_record_is_seen_when_it_is_submitted() -> None:
    m = ring()
    first, second = m.reserve(8), m.reserve(3)
    m.memory.store(first, 8, 7)
    m.memory.write(second, b"abc")
    m.commit(second, 0, discard=False)
    assert m.records() == []  # the older one is busy
    m.commit(first, 0, discard=False)
    assert m.records() == [(7).to_bytes(8, "little"), b"abc"]
    assert m.query(0) == 0


def test_only_reserved_records_can_be_touched() -> None:
    m = ring()
    record = m.reserve(8)
    with pytest.raises(Fault):
        m.memory.store(record - 8, 4, 0)
    with pytest.raises(Fault):
        m.memory.store(record + 8, 8, 0)
    m.commit(record, 0, discard=False)
    with pytest.raises(Fault):
        m.memory.store(record, 8, 0)


def test_the_header_is_the_kernels() -> None:
    m = ring()
    record = m.reserve(5)
    at = record - 8 - m.ring.address
    assert int.from_bytes(m.bytes[at : at + 4], "little") == 5 | BUSY
    m.commit(record, 0, discard=True)
    assert int.from_bytes(m.bytes[at : at + 4], "little") == 5 | DISCARD
    assert m.records() == []


def test_a_full_ring_drops() -> None:
    m = ring()
    taken = 0
    while m.reserve(56):
        taken += 1
    assert taken == PAGE // 64 - 1  # never filled to the last byte
    assert m.dropped_records == 1
    assert m.query(0) == taken * 64
    assert m.output(bytes(56), 0) == -errno.EAGAIN
    assert m.output(b"", 4) == -errno.EINVAL
    assert ring().reserve(PAGE) == 0


def test_an_overwriting_ring_keeps_the_newest() -> None:
    m = ring(flags=1 << 19)
    for i in range(1000):
        assert m.output(i.to_bytes(8, "little"), 0) == 0
    kept = [int.from_bytes(record, "little") for record in m.records()]
    assert kept == list(range(1000 - len(kept), 1000))
    assert len(kept) == PAGE // 16 - 1


@given(st.lists(st.tuples(st.integers(0, 700), st.booleans(), st.booleans()), max_size=60))
def test_pythons_reader_sees_the_same_bytes(records: list[tuple[int, bool, bool]]) -> None:
    """The class that reads the kernel's ring buffers, on the machine's memory, over many turns of it."""
    m = ring()
    calls = MapCalls(m.home)
    fd = calls.add(m)
    consumer = calls.mmap(fd, PAGE, write=True)
    rest = calls.mmap(fd, PAGE + 2 * PAGE, offset=PAGE)
    reader = Ring(consumer, rest, rest[PAGE:])
    wanted: list[bytes] = []
    for i, (size, discard, read) in enumerate(records):
        address = m.reserve(size)
        if address:
            m.memory.write(address, bytes([i]) * size)
            m.commit(address, 0, discard=discard)
            wanted += [bytes([i]) * size] * (not discard)
        if read or not address:
            runs, position = reader.scan(1 << 30)
            assert [record for run in runs for record in reader.objects(run, None)] == wanted
            reader.release(position)
            wanted = []
            assert m.consumer == m.producer


def test_user_ring_buffer() -> None:
    made = create(Attributes(31, 0, 0, PAGE), Home(Memory(1 << 20)))
    assert isinstance(made, UserRingBuf)
    for turn in range(200):
        made.send(bytes([turn]) * 100)
        found = made.next()
        assert isinstance(found, tuple)
        address, size = found
        at = address - made.ring.address
        assert bytes(made.bytes[at : at + size]) == bytes([turn]) * 100
        made.release(size)
    assert made.next() == -errno.ENODATA
    for _ in range(PAGE // 112):
        made.send(bytes(100))
    with pytest.raises(OSError, match="No space"):
        made.send(bytes(100))


def test_perf_events_by_cpu() -> None:
    made = create(Attributes(4, 4, 4, 2), Home(Memory(1 << 20), 2))
    assert isinstance(made, PerfOutput)
    assert made.output(b"ab", 0xFFFFFFFF, 1) == 0
    assert made.output(b"ab", 0, 1) == -errno.EOPNOTSUPP
    assert made.output(b"ab", 2, 1) == -errno.E2BIG
    made.room = 30
    assert made.output(b"0123456789", 0xFFFFFFFF, 0) == 0
    assert made.output(b"0123456789", 0xFFFFFFFF, 0) == -errno.ENOSPC
    assert made.lost == {0: 1}
    assert made.take() == [(1, b"ab\0\0"), (0, b"0123456789\0\0")]
    made.listening = False
    assert made.output(b"ab", 0xFFFFFFFF, 1) == -errno.ENOENT
