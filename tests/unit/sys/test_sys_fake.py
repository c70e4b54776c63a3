"""The fake kernel: it must refuse what the real one refuses."""

from __future__ import annotations

import errno

import pytest

from probee.sys.bpf import ProgAttr, VerifierLog
from probee.sys.fake import FakeKernel

HASH, ARRAY, PERCPU_ARRAY = 1, 2, 6
ONE, TWO, THREE = (n.to_bytes(4, "little") for n in (1, 2, 3))


@pytest.fixture
def fake() -> FakeKernel:
    return FakeKernel(cpus=3)


def test_a_hash(fake: FakeKernel) -> None:
    fd = fake.map_create(HASH, 4, 2, 2)
    assert fake.map_lookup(fd, ONE, 2) is None
    fake.map_update(fd, ONE, b"ab")
    fake.map_update(fd, TWO, b"cd")
    assert fake.map_lookup(fd, ONE, 2) == b"ab"
    with pytest.raises(OSError) as full:
        fake.map_update(fd, THREE, b"ef")
    assert full.value.errno == errno.E2BIG
    with pytest.raises(FileExistsError):
        fake.map_update(fd, ONE, b"xx", 1)
    assert (fake.map_next_key(fd, None, 4), fake.map_next_key(fd, ONE, 4), fake.map_next_key(fd, TWO, 4)) == (
        ONE,
        TWO,
        None,
    )
    assert (fake.map_delete(fd, ONE), fake.map_delete(fd, ONE)) == (True, False)
    assert fake.map_lookup_and_delete(fd, TWO, 2) == b"cd"
    with pytest.raises(FileNotFoundError):
        fake.map_update(fd, TWO, b"cd", 2)


def test_batches(fake: FakeKernel) -> None:
    fd = fake.map_create(HASH, 4, 2, 10)
    assert fake.map_update_batch(fd, ONE + TWO + THREE, b"aabbcc", 3) == 3
    keys, values = bytearray(8), bytearray(4)
    got, following, done = fake.map_lookup_batch(fd, None, keys, values, 2, batch_size=4)
    assert (got, keys, values, done) == (2, ONE + TWO, b"aabb", False)
    got, following, done = fake.map_lookup_batch(fd, following, keys, values, 2, batch_size=4)
    assert (got, keys[:4], values[:2], following, done) == (1, THREE, b"cc", None, True)
    assert fake.map_delete_batch(fd, ONE + TWO + ONE, 3) == 2


def test_an_array_is_memory(fake: FakeKernel) -> None:
    fd = fake.map_create(ARRAY, 4, 8, 2)
    fake.map_update(fd, ONE, b"12345678")
    with fake.mmap(fd, 4096, write=True) as memory:
        assert memory[8:16] == b"12345678"
        memory[0:8] = b"abcdefgh"
    assert fake.map_lookup(fd, bytes(4), 8) == b"abcdefgh"
    assert fake.map_lookup(fd, TWO, 8) is None
    with pytest.raises(OSError):
        fake.map_delete(fd, ONE)
    fake.map_freeze(fd)
    with pytest.raises(PermissionError):
        fake.map_update(fd, ONE, b"12345678")
    fake.close(fd)
    assert fake.open == {}


def test_per_cpu_values_have_a_slot_for_each_cpu(fake: FakeKernel) -> None:
    fd = fake.map_create(PERCPU_ARRAY, 4, 4, 1)
    assert fake.map_lookup(fd, bytes(4), 24) == bytes(24)


def test_refusals_and_logs(fake: FakeKernel) -> None:
    fake.refuse("prog_load", errno.EINVAL, log="x" * 100)
    fake.refuse("prog_load", errno.EACCES, log="last words")
    attr = ProgAttr(5, bytes(8), "GPL", "p")
    small = VerifierLog(10)
    with pytest.raises(OSError) as cut:
        fake.prog_load(attr, small)
    assert (cut.value.errno, small.true_size, small.text) == (errno.ENOSPC, 101, "x" * 9)
    log = VerifierLog(100)
    with pytest.raises(PermissionError):
        fake.prog_load(attr, log)
    assert log.text == "last words"
    fd = fake.prog_load(attr)
    assert [call["name"] for call in fake.called("prog_load")] == ["p", "p", "p"]
    fake.close(fd)
    with pytest.raises(OSError):
        fake.close(fd)
