"""Look-ups that native code does by itself: the same values as Python's, in arrays and hashes."""

from __future__ import annotations

import random

import pytest

from probee.isa import assemble
from probee.machine import Code, Fault
from probee.machine.helpers.services import Services
from probee.machine.layouts import layouts_of
from probee.machine.maps import Attributes, Map
from probee.machine.native import available

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY = 1, 2, 5, 6
ENGINES = ["step", "interpret", *(["jit-checked", "jit-verified"] if available() else [])]


def code_of(text: str, m: Map) -> Code:
    return Code(assemble(text), resolve=lambda slot, kind, low, high: m.address, verified=True)


def looking_up(key_size: int) -> str:
    """Copies the key from the context to the stack, and looks it up; the value's first 8 bytes, or 77."""
    copies = "\n".join(f"r2 = *(u8 *)(r1 + {at})\n*(u8 *)(r10 - {64 - at}) = r2" for at in range(key_size))
    return f"""
        {copies}
        r1 = map_fd(1) ll
        r2 = r10
        r2 += -64
        call 1
        if r0 == 0 goto absent
        r0 = *(u64 *)(r0 + 0)
        exit
        absent:
        r0 = 77
        exit
    """


def run_all(services: Services, code: Code, key: bytes, *, cpu: int = 0) -> set[int]:
    context = services.memory.alloc(max(8, len(key)), "ctx")
    context.data[: len(key)] = key
    out = set()
    one = services.cpu(cpu)
    for engine in ENGINES:
        one.engine = engine
        out.add(one.run(code, context.address))
    services.memory.free(context)
    return out


@pytest.mark.parametrize("key_size", [1, 3, 4, 6, 8, 12, 13, 16, 40])
def test_hash(key_size: int) -> None:
    services = Services()
    m = services.create_map(Attributes(HASH, key_size, 8, 200))
    code = code_of(looking_up(key_size), m)
    assert layouts_of(code, services)[m.address].kind == "hash"
    rng = random.Random(key_size)
    present = {rng.randbytes(key_size) for _ in range(150)}
    for number, key in enumerate(sorted(present)):
        assert m.update(key, (1000 + number).to_bytes(8, "little"), 0, 0) == 0
    removed = sorted(present)[::7]
    for key in removed:
        assert m.delete(key, 0) == 0
    for number, key in enumerate(sorted(present)):
        assert run_all(services, code, key) == {77 if key in removed else 1000 + number}
    for _ in range(20):
        absent = rng.randbytes(key_size)
        if absent not in present:
            assert run_all(services, code, absent) == {77}


def test_array() -> None:
    services = Services()
    m = services.create_map(Attributes(ARRAY, 4, 12, 5))
    for number in range(5):
        m.update(number.to_bytes(4, "little"), (50 + number).to_bytes(12, "little"), 0, 0)
    code = code_of(looking_up(4), m)
    assert layouts_of(code, services)
    for number in range(5):
        assert run_all(services, code, number.to_bytes(4, "little")) == {50 + number}
    for number in (5, 0x7FFFFFFF, 0xFFFFFFFF):
        assert run_all(services, code, number.to_bytes(4, "little")) == {77}


@pytest.mark.parametrize("kind", [PERCPU_ARRAY, PERCPU_HASH])
def test_values_of_each_cpu(kind: int) -> None:
    services = Services(cpus=3)
    m = services.create_map(Attributes(kind, 4, 8, 4))
    key = (2).to_bytes(4, "little")
    for cpu in range(3):
        assert m.update(key, (100 + cpu).to_bytes(8, "little"), 0, cpu) == 0
    code = code_of(looking_up(4), m)
    assert layouts_of(code, services)
    for cpu in range(3):
        assert run_all(services, code, key, cpu=cpu) == {100 + cpu}


def test_a_value_found_is_the_map_s_own_memory() -> None:
    text = """
        *(u32 *)(r10 - 4) = 3
        r1 = map_fd(1) ll
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto absent
        r1 = 5
        lock *(u64 *)(r0 + 0) += r1
        r0 = *(u64 *)(r0 + 0)
        absent:
        exit
    """
    services = Services()
    m = services.create_map(Attributes(ARRAY, 4, 8, 5))
    code = code_of(text, m)
    for number, engine in enumerate(ENGINES, 1):
        services.cpu(0).engine = engine
        assert services.cpu(0).run(code) == 5 * number


def test_a_key_that_may_not_be_read_faults_as_ever() -> None:
    text = """
        r2 = r1
        r1 = map_fd(1) ll
        call 1
        r0 = 0
        exit
    """
    services = Services()
    m = services.create_map(Attributes(ARRAY, 4, 8, 5))
    code = code_of(text, m)
    short = services.memory.alloc(3, "ctx")
    for engine in ENGINES[:3]:
        services.cpu(0).engine = engine
        with pytest.raises(Fault) as caught:
            services.cpu(0).run(code, short.address)
        assert caught.value.index == 3
        assert (caught.value.address, caught.value.size) == (short.address, 4)


def test_keys_on_the_heap_of_a_hash() -> None:
    """Keys that are not on the stack are looked up natively, too."""
    services = Services()
    m = services.create_map(Attributes(HASH, 8, 8, 5))
    key = b"abcdefgh"
    m.update(key, (9).to_bytes(8, "little"), 0, 0)
    text = """
        r2 = r1
        r1 = map_fd(1) ll
        call 1
        if r0 == 0 goto absent
        r0 = *(u64 *)(r0 + 0)
        absent:
        exit
    """
    assert run_all(services, code_of(text, m), key) == {9}


@pytest.mark.parametrize("engine", ENGINES)
def test_look_ups_that_somebody_stands_in_for_or_looks_at(engine: str) -> None:
    services = Services()
    m = services.create_map(Attributes(ARRAY, 4, 8, 5))
    other = services.memory.alloc(8, "map_value")
    other.data[0] = 9
    code = code_of(looking_up(4), m)
    context = services.memory.alloc(8, "ctx")
    cpu = services.cpu(0)
    cpu.engine = engine
    assert cpu.run(code, context.address) == 0
    services.mock("map_lookup_elem", lambda table, key: other.address)
    assert layouts_of(code, services) == {}
    assert cpu.run(code, context.address) == 9
    services.mock("map_lookup_elem", None)
    calls = services.record()
    assert cpu.run(code, context.address) == 0
    assert [(call.name, call.args[0]) for call in calls] == [("map_lookup_elem", m.address)]
    services.record(False)
    assert cpu.run(code, context.address) == 0
    assert len(calls) == 1
