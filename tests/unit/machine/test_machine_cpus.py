"""Programs on several CPUs at the same time: races, locks and deadlocks, the same in each run."""

from __future__ import annotations

import pytest

from machine_asm import Asm
from probee.machine.code import Code
from probee.machine.cpus import Deadlock
from probee.machine.scheduler import Interleaving

ARRAY, PERCPU_ARRAY, CPUS = 2, 6, 2


def shared(cpus: int = CPUS) -> tuple[Asm, int]:
    """A machine and the address of 64 bytes that all its programs reach."""
    m = Asm(cpus)
    return m, m.bytes(bytes(64))


def counting(m: Asm, at: int, body: str) -> Code:
    return m.code(f"r6 = {at:#x} ll\nr7 = 0\nagain:\n{body}r7 += 1\nif r7 < 20 goto again\nr0 = 0\nexit\n")


PLAIN = "r1 = *(u64 *)(r6 + 0)\nr1 += 1\n*(u64 *)(r6 + 0) = r1\n"
ATOMIC = "r1 = 1\nlock *(u64 *)(r6 + 0) += r1\n"
LOCKED = f"r1 = r6\nr1 += 8\ncall spin_lock\n{PLAIN}r1 = r6\nr1 += 8\ncall spin_unlock\n"


def total(body: str, seed: int) -> int:
    m, at = shared()
    code = counting(m, at, body)
    race = Interleaving(m.services, seed=seed)
    for cpu in range(CPUS):
        race.add(cpu, code)
    assert race.run() == {0: 0, 1: 0}
    return m.memory.load(at, 8)


def test_an_increment_that_is_not_atomic_loses_updates() -> None:
    assert any(total(PLAIN, seed) < 40 for seed in range(5))


@pytest.mark.parametrize("body", [ATOMIC, LOCKED])
def test_atomics_and_locks_lose_none(body: str) -> None:
    assert [total(body, seed) for seed in range(5)] == [40] * 5


def test_the_same_seed_is_the_same_run() -> None:
    orders = []
    for _ in range(2):
        m, at = shared()
        code = counting(m, at, PLAIN)
        race = Interleaving(m.services, seed=11)
        race.add(0, code)
        race.add(1, code)
        race.run()
        orders.append((race.order, m.memory.load(at, 8)))
    assert orders[0] == orders[1]


def test_a_given_schedule() -> None:
    """Both load 0, then both store 1: a lost update, step by step."""
    m, at = shared()
    code = m.code(f"r6 = {at:#x} ll\n{PLAIN}r0 = 0\nexit\n")
    race = Interleaving(m.services, schedule=[(0, 2), (1, 2), (0, 2), (1, 2)])
    race.add(0, code)
    race.add(1, code)
    race.run()
    assert race.order[:8] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert m.memory.load(at, 8) == 1
    again, there = shared()
    code = again.code(f"r6 = {there:#x} ll\n{PLAIN}r0 = 0\nexit\n")
    repeat = Interleaving(again.services, schedule=race.order)
    repeat.add(0, code)
    repeat.add(1, code)
    repeat.run()
    assert repeat.order == race.order


def test_locks_taken_in_two_orders_deadlock() -> None:
    m, at = shared()

    def program(first: int, second: int) -> Code:
        return m.code(
            f"r1 = {at + first:#x} ll\ncall spin_lock\nr1 = {at + second:#x} ll\ncall spin_lock\n"
            f"r1 = {at + second:#x} ll\ncall spin_unlock\nr1 = {at + first:#x} ll\ncall spin_unlock\n"
            "r0 = 0\nexit\n"
        )

    race = Interleaving(m.services, schedule=[0, 0, 1, 1])
    race.add(0, program(0, 8))
    race.add(1, program(8, 0))
    with pytest.raises(Deadlock, match=r"CPU 0 .* waits for .* which CPU 1 holds") as caught:
        race.run()
    assert caught.value.waiting == {0: at + 8, 1: at}
    assert caught.value.holders == {at + 8: 1, at: 0}


def test_a_lock_taken_twice_deadlocks_at_once() -> None:
    m, at = shared()
    with pytest.raises(Deadlock, match="holds itself"):
        m.run(f"r6 = {at:#x} ll\nr1 = r6\ncall spin_lock\nr1 = r6\ncall spin_lock\nr0 = 0\nexit\n")


def test_each_cpu_has_its_values_and_number() -> None:
    m = Asm(3)
    fd = m.map(PERCPU_ARRAY, 4, 8, 1)
    text = (
        f"*(u32 *)(r10 - 4) = 0\nr1 = map_fd({fd}, 0x0) ll\nr2 = r10\nr2 += -4\ncall map_lookup_elem\n"
        "if r0 == 0 goto out\nr6 = r0\ncall get_smp_processor_id\nr0 += 100\n"
        "*(u64 *)(r6 + 0) = r0\nout:\nexit\n"
    )
    for cpu in range(3):
        assert m.run(text, cpu=cpu) == 100 + cpu
    raw = m.found(fd).sys_lookup(bytes(4))
    assert [int.from_bytes(raw[i : i + 8], "little") for i in (0, 8, 16)] == [100, 101, 102]


def test_a_cpu_runs_one_program_at_a_time() -> None:
    m, at = shared()
    race = Interleaving(m.services)
    race.add(0, counting(m, at, PLAIN))
    with pytest.raises(ValueError, match="CPU 0"):
        race.add(0, counting(m, at, PLAIN))
    assert race.run() == {0: 0}
    assert m.memory.load(at, 8) == 20
