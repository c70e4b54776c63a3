"""Maps of the machine through the kernel's map classes."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from machine_asm import Asm
from probee.btf.values import Codecs
from probee.errors import MapError
from probee.kernel.describe import Types
from probee.machine.maps import Attributes
from probee.machine.maps.python import class_for

HASH, ARRAY, PROG_ARRAY, PERF, PERCPU_HASH, CGROUP_ARRAY, LRU, LPM, ARRAY_OF_MAPS = (
    1,
    2,
    3,
    4,
    5,
    8,
    9,
    11,
    12,
)
SOCKMAP, QUEUE, TASK_STORAGE, RINGBUF, BLOOM, USER_RINGBUF, CGRP_STORAGE, ARENA = (
    15,
    22,
    29,
    27,
    30,
    31,
    32,
    33,
)


class Faces(Asm):
    def face(
        self, type: int, key: Any = None, value: Any = None, entries: int = 4, flags: int = 0, **facts: Any
    ) -> Any:
        """A new map as Python has it; types in words."""
        types = Types()
        key_id, key_size, _ = types.add(key, "key") if key is not None else (0, 0, 0)
        value_id, value_size, _ = types.add(value) if value is not None else (0, 0, 0)
        btf = types.builder.btf()
        fd = self.map(
            type,
            key_size,
            value_size,
            entries,
            flags,
            btf=btf,
            key_type_id=key_id,
            value_type_id=value_id,
            **facts,
        )
        codecs = Codecs(btf, types.classes)
        found = {
            "key": codecs.get(key_id) if key_id else None,
            "value": codecs.get(value_id) if value_id else None,
        }
        return class_for(type)(
            fd,
            kernel=self.services.syscalls,
            type=type,
            key_size=key_size,
            value_size=value_size,
            max_entries=entries,
            flags=flags,
            name="m",
            codecs=codecs,
            **found,
        )


def test_a_hash_is_a_mapping() -> None:
    m = Faces().face(HASH, "u32", {"n": "u64", "comm": "char[8]"}, 20)
    m[7] = (1, "init")
    m[8] = {"n": 2, "comm": "sh"}
    assert m[8].comm == "sh"
    assert dict(m.items()) == {7: (1, "init"), 8: (2, "sh")}
    assert len(m) == 2
    assert 9 not in m
    with pytest.raises(KeyError):
        m[9]
    with pytest.raises(MapError, match="exists"):
        m.put(7, (1, ""), 1)
    assert m.pop(7).n == 1
    m.update({i: (i, "") for i in range(19)})
    with pytest.raises(MapError, match="full"):
        m.update({100 + i: (i, "") for i in range(19)})
    assert m.delete_many(range(100)) == 19
    assert len(m.drain()) == 1


def test_columns() -> None:
    np = pytest.importorskip("numpy")
    m = Faces().face(HASH, "u32", "u64", 1000)
    m.update_many(np.arange(500, dtype=np.uint32), np.arange(500, dtype=np.uint64) * 2)
    array = m.to_numpy()
    assert array["value"].sum() == 2 * sum(range(500))
    assert len(array) == 500
    per_cpu = Faces(3).face(PERCPU_HASH, "u32", "u64", 10)
    per_cpu[1] = [1, 2, 3]
    assert per_cpu.to_numpy()["value"].tolist() == [[1, 2, 3]]


def test_values_of_each_cpu() -> None:
    m = Faces(3).face(PERCPU_HASH, "u32", "u64", 10)
    m[5] = [1, 2, 3]
    assert m[5] == [1, 2, 3]
    assert m.sum(5) == 6
    with pytest.raises(ValueError, match="3 values"):
        m[5] = [1]


def test_arrays_and_networks() -> None:
    m = Faces().face(ARRAY, "u32", "u64", 4)
    m[1] = 5
    assert list(m.values()) == [0, 5, 0, 0]
    m.clear()
    assert m[1] == 0
    machine = Faces()
    fd = machine.map(LPM, 8, 8, 10, 1)
    trie = class_for(LPM)(
        fd,
        kernel=machine.services.syscalls,
        type=LPM,
        key_size=8,
        value_size=8,
        max_entries=10,
        flags=1,
        name="t",
    )
    trie["10.0.0.0/8"] = 1
    trie["10.1.0.0/16"] = 2
    assert trie["10.1.2.3"] == 2
    assert set(trie) == {ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("10.0.0.0/8")}


def test_queues_and_filters() -> None:
    queue = Faces().face(QUEUE, None, "u32", 2)
    queue.extend([1, 2])
    queue.push(3, replace=True)
    assert queue.drain() == [2, 3]
    with pytest.raises(IndexError):
        queue.pop()
    bloom = Faces().face(BLOOM, None, "u32", 10)
    bloom.add(5)
    assert 5 in bloom
    assert bloom.hashes == 5


def test_ring_buffers_both_ways() -> None:
    machine = Faces()
    ring = machine.face(RINGBUF, entries=4096)
    inside: Any = machine.found(ring.fd)
    inside.output((7).to_bytes(4, "little"), 0)
    ring.of("u32")
    assert ring.consume() == [7]
    user = machine.face(USER_RINGBUF, entries=4096).of("u32")
    user.send(9)
    found: Any = machine.found(user.fd)
    address, size = found.next()
    assert size == 4
    assert found.memory.buffer[address - found.ring.address :] is not None
    found.release(size)


def test_perf_buffers_are_typed() -> None:
    machine = Faces()
    fd = machine.map(PERF, 4, 4, 1)
    array = class_for(PERF)(
        fd,
        kernel=machine.services.syscalls,
        type=PERF,
        key_size=4,
        value_size=4,
        max_entries=1,
        name="events",
    )
    array.output, array.more = machine.found(fd), lambda: False
    array.output.output((3).to_bytes(4, "little") + b"ab\0\0", 0xFFFFFFFF, 0)
    with array.buffer({"n": "u32", "text": "char[4]"}) as buffer:
        assert list(buffer) == [(3, "ab")]
        assert buffer.lost == 0


def test_maps_in_maps() -> None:
    machine = Faces()
    inner = machine.face(HASH, "u32", "u64", 4)
    attributes = Attributes(ARRAY_OF_MAPS, 4, 4, 2, inner=machine.found(inner.fd))
    outer_map = machine.services.create_map(attributes)
    outer = class_for(ARRAY_OF_MAPS)(
        machine.services.syscalls.descriptor_of("map", outer_map),
        kernel=machine.services.syscalls,
        type=ARRAY_OF_MAPS,
        key_size=4,
        value_size=4,
        max_entries=2,
        name="outer",
    )
    outer[1] = inner
    inner[3] = 4
    assert outer[1][3] == 4
    assert list(outer) == [1]
    with pytest.raises(KeyError):
        outer[0]


def test_programs_sockets_and_cgroups_are_the_machines() -> None:
    machine = Faces()
    services = machine.services
    programs = machine.face(PROG_ARRAY, "u32", "u32")

    class Program:
        code = machine.code("r0 = 4\nexit\n")
        id = 0

    program = Program()
    programs[2] = program
    assert programs.program(2) is program
    assert programs[2] == program.id
    sockets = machine.face(SOCKMAP, "u32", "u64")
    sock = services.sockets.new("tcp", local_port=80)
    sockets[0] = sock
    assert sockets[0] == sock.cookie
    cgroups = machine.face(CGROUP_ARRAY, "u32", "u32")
    cgroups[1] = "/a/b"
    held: Any = machine.found(cgroups.fd)
    assert held.item(1) is services.tasks.cgroup("/a/b")


def test_storages_by_task_and_cgroup() -> None:
    machine = Faces()
    tasks = machine.face(TASK_STORAGE, "i32", "u64", 0, 1)
    task = machine.services.tasks.new(42)
    with pytest.raises(KeyError):
        tasks[42]
    tasks[42] = 7
    assert tasks[task] == 7
    assert tasks.get(43) is None
    assert tasks.pop(42) == 7
    cgroups = machine.face(CGRP_STORAGE, "i32", "u64", 0, 1)
    cgroups["/a"] = 3
    assert cgroups[machine.services.tasks.cgroup("/a")] == 3


def test_an_arena_is_memory() -> None:
    machine = Faces()
    arena = machine.face(ARENA, entries=4, flags=1 << 10)
    inside: Any = machine.found(arena.fd)
    page = inside.alloc(0, 1)
    arena.memory[5] = 9
    assert machine.memory.load(page + 5, 1) == 9
    assert arena.offset(page) == 0
