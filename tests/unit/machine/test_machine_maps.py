"""Maps of the machine where no kernel is asked: memory, layouts, special members, objects in maps."""

from __future__ import annotations

import errno

import pytest

from machine_asm import Asm
from probee.btf.build import BtfBuilder
from probee.machine.maps import Attributes, Home, create
from probee.machine.maps.base import Map
from probee.machine.maps.elements import hash_of
from probee.machine.maps.fields import fields_of
from probee.machine.memory import Fault, Memory

HASH, ARRAY, PROG_ARRAY, PERCPU_HASH, PERCPU_ARRAY, STACK_TRACE = 1, 2, 3, 5, 6, 7
LRU_HASH, HASH_OF_MAPS, SOCKMAP, SOCKHASH, REUSEPORT, TASK_STORAGE, ARENA = 9, 13, 15, 18, 20, 29, 33


def make(
    type: int, key: int, value: int, entries: int, flags: int = 0, cpus: int = 2, **facts: object
) -> Map:
    home = Home(Memory(), cpus)
    return create(Attributes(type, key, value, entries, flags=flags, **facts), home)  # type: ignore[arg-type]


def word(number: int) -> bytes:
    return number.to_bytes(4, "little")


def find_in_memory(m: Map, key: bytes) -> int:
    """A hash's value as native code looks it up: by the documented layout alone."""
    layout = m.layout()
    assert layout is not None
    raw = m.memory.buffer
    base = layout.origin

    def u32(address: int) -> int:
        return int.from_bytes(raw[address - base : address - base + 4], "little")

    number = hash_of(key)
    place = u32(layout.buckets + 4 * (number & layout.mask))
    while place:
        element = layout.origin + place
        start = element - base + layout.key_offset
        if u32(element + 4) == number and bytes(raw[start : start + len(key)]) == key:
            return element + layout.value_offset
        place = u32(element)
    return 0


@pytest.mark.parametrize("key_size", [1, 4, 7, 8, 13, 16])
def test_hash_layout_is_what_it_says(key_size: int) -> None:
    m = make(HASH, key_size, 8, 200)
    keys = [i.to_bytes(1, "little") * key_size for i in range(150)]
    for i, key in enumerate(keys):
        assert m.update(key, i.to_bytes(8, "little"), 0, 0) == 0
    for key in keys[::3]:
        assert m.delete(key, 0) == 0
    for key in keys[1::3]:
        m.update(key, bytes(8), 0, 0)
    for i, key in enumerate(keys):
        assert find_in_memory(m, key) == m.lookup(key, 0) == (0 if i % 3 == 0 else m.lookup(key, 0))
        assert bool(m.lookup(key, 0)) == (i % 3 != 0)


def test_array_layouts() -> None:
    m = make(ARRAY, 4, 5, 3)
    layout = m.layout()
    assert layout is not None
    assert m.lookup(word(2), 0) == layout.elements + 2 * layout.stride
    assert layout.stride == 8
    assert m.lookup(word(3), 0) == 0
    per_cpu = make(PERCPU_ARRAY, 4, 4, 3)
    layout = per_cpu.layout()
    assert layout is not None
    assert per_cpu.lookup(word(1), 1) == layout.elements + layout.cpu_stride + layout.stride
    assert per_cpu.lookup_on(word(1), 2) == 0


def test_programs_reach_values_and_nothing_else_of_a_hash() -> None:
    m = make(HASH, 4, 12, 4)
    m.update(word(1), bytes(12), 0, 0)
    value = m.lookup(word(1), 0)
    m.memory.write(value, bytes(12))
    for address, size in ((value + 12, 1), (value - 8, 8), (value + 8, 8)):
        with pytest.raises(Fault):
            m.memory.write(address, bytes(size))
    m.memory.read(value - 8, 4)  # a callback reads keys


def test_an_update_makes_a_new_element_and_the_old_value_stays_readable() -> None:
    m = make(HASH, 4, 8, 4)
    m.update(word(1), (7).to_bytes(8, "little"), 0, 0)
    old = m.lookup(word(1), 0)
    m.update(word(1), (8).to_bytes(8, "little"), 0, 0)
    assert m.lookup(word(1), 0) != old
    assert m.memory.load(old, 8) == 7
    m.delete(word(1), 0)
    assert m.memory.load(old, 8) == 7


def test_keys_are_listed_in_the_order_they_came() -> None:
    m = make(HASH, 4, 8, 10)
    for number in (5, 3, 9):
        m.update(word(number), bytes(8), 0, 0)
    m.update(word(3), bytes(8), 0, 0)
    keys = [m.sys_next_key(None)]
    for _ in range(2):
        keys.append(m.sys_next_key(keys[-1]))
    with pytest.raises(OSError, match="No such file"):
        m.sys_next_key(keys[-1])
    assert keys == [word(5), word(3), word(9)]


def test_a_large_map_takes_memory_for_what_it_holds() -> None:
    m = make(HASH, 4, 64, 10_000_000)
    m.update(word(1), bytes(64), 0, 0)
    assert sum(region.size for region in m.regions if region.kind == "map_value") < 4096


def test_read_only_values_fault_when_written() -> None:
    m = make(ARRAY, 4, 8, 1, flags=1 << 7)
    with pytest.raises(Fault, match="not writable"):
        m.memory.store(m.lookup(word(0), 0), 8, 1)


def test_closed_maps_are_gone() -> None:
    m = make(ARRAY, 4, 8, 1)
    value = m.lookup(word(0), 0)
    m.close()
    m.close()
    with pytest.raises(Fault, match="freed"):
        m.memory.load(value, 8)


def test_out_of_memory_is_enomem() -> None:
    with pytest.raises(OSError, match="memory") as caught:
        make(ARRAY, 4, 1 << 20, 4096)
    assert caught.value.errno == errno.ENOMEM


def special() -> tuple[object, int, int]:
    b = BtfBuilder()
    u32 = b.int_("unsigned int", 4, 0)
    u64 = b.int_("unsigned long", 8, 0)
    lock = b.struct("bpf_spin_lock", 4, [("val", u32, 0)])
    timer = b.struct("bpf_timer", 16, [("a", u64, 0), ("b", u64, 64)])
    inner = b.struct("inner", 24, [("lock", lock, 0), ("timer", timer, 64)])
    value = b.struct("value", 40, [("n", u64, 0), ("inside", inner, 64), ("m", u64, 256)])
    return b.btf(), u32, value


def test_special_members_are_found_in_nested_structs() -> None:
    btf, _, value = special()
    found = fields_of(btf, value, 40)  # type: ignore[arg-type]
    assert [(field.kind, field.offset) for field in found.all] == [("spin_lock", 8), ("timer", 16)]
    assert found.plain == [(0, 8), (12, 16), (32, 40)]


def test_updates_leave_special_members_alone() -> None:
    btf, key, value = special()
    m = make(ARRAY, 4, 40, 1, btf=btf, key_type_id=key, value_type_id=value)
    at = m.lookup(word(0), 0)
    m.memory.store(at + 8, 4, 1)
    m.update(word(0), b"\xff" * 40, 0, 0)
    assert m.memory.load(at, 8) == (1 << 64) - 1
    assert m.memory.load(at + 8, 4) == 1
    assert m.sys_lookup(word(0))[8:12] == bytes(4)


def test_a_key_of_another_map_type_is_what_its_kernel_says() -> None:
    machine = Asm()
    inner = machine.map(HASH, 4, 8, 4)
    attributes = Attributes(HASH_OF_MAPS, 4, 4, 2, inner=machine.found(inner))
    outer = machine.services.create_map(attributes)
    outer.sys_update(word(1), word(inner))
    assert outer.lookup(word(1), 0) == machine.found(inner).address
    assert outer.sys_lookup(word(1)) == word(machine.found(inner).id)
    with pytest.raises(OSError, match="Bad file"):
        outer.sys_update(word(1), word(5))


class Thing:
    def __init__(self, address: int) -> None:
        self.address = address
        self.cookie = 77
        self.id = 0


def test_sockets_in_maps() -> None:
    machine = Asm()
    sock = machine.services.sockets.new("tcp", local_port=80)
    fd = machine.services.sockets.fd(sock)
    for type, key in ((SOCKMAP, word(0)), (SOCKHASH, b"abcd"), (REUSEPORT, word(0))):
        m = machine.found(machine.map(type, 4, 8, 1))
        with pytest.raises(OSError, match="No such file"):
            m.sys_update(key, fd.to_bytes(8, "little"), 2)
        m.sys_update(key, fd.to_bytes(8, "little"))
        assert m.sys_lookup(key) == sock.cookie.to_bytes(8, "little")
        assert m.lookup(key, 0) == sock.address
        with pytest.raises(OSError, match="File exists"):
            m.sys_update(key, fd.to_bytes(8, "little"), 1)
        m.sys_delete(key)
        with pytest.raises(OSError, match="No such file"):
            m.sys_lookup(key)


def test_storage_of_tasks() -> None:
    machine = Asm()
    fd = machine.typed(TASK_STORAGE, "u64", 0, 1, key="i32")
    m = machine.found(fd)
    task = machine.services.tasks.new(42)
    with pytest.raises(OSError, match="No such file"):
        m.sys_lookup(word(42))
    m.sys_update(word(42), (9).to_bytes(8, "little"))
    assert m.sys_lookup(word(42)) == (9).to_bytes(8, "little")
    assert m.get(task.address, None, 0)  # type: ignore[attr-defined]
    m.sys_delete(word(42))
    assert m.get(task.address, None, 0) == 0  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="Bad file"):
        m.sys_lookup(word(43))


def test_stacks_by_id() -> None:
    m = make(STACK_TRACE, 4, 4 * 8, 16)
    store = m.store  # type: ignore[attr-defined]
    id = store([10, 20, 30], 0)
    assert id >= 0
    assert store([10, 20, 30], 0) == id
    assert m.sys_lookup(word(id))[:24] == b"".join(n.to_bytes(8, "little") for n in (10, 20, 30))
    assert store([], 0) == -errno.EFAULT
    assert store([1], 1 << 20) == -errno.EINVAL
    other = next(n for n in range(1000) if hash_of(n.to_bytes(8, "little")) & 15 == id)
    assert store([other], 0) == -errno.EEXIST
    assert store([other], 1 << 10) == id


def test_arena_pages_come_and_go() -> None:
    m = make(ARENA, 0, 0, 4, flags=1 << 10)
    alloc, free = m.alloc, m.free  # type: ignore[attr-defined]
    one = alloc(0, 2)
    m.memory.store(one, 8, 5)
    assert alloc(0, 3) == 0
    two = alloc(0, 2)
    assert two == one + 2 * 4096
    free(one, 2)
    with pytest.raises(Fault):
        m.memory.load(one, 8)
    again = alloc(one + 4096, 1)
    assert again == one + 4096
    assert m.memory.load(again, 8) == 0
