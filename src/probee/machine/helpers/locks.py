"""bpf_spin_lock, and swapping kptrs.

With one CPU at a time a lock that is held can never be given back, so waiting for it is a Deadlock; in an
interleaving the CPU waits (`Waiting`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..cpus import Deadlock, Waiting
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu


def acquire(cpu: MachineCpu, lock: int) -> int | None:
    """Take a lock; None, or the CPU that holds it."""
    machine = cpu.machine
    holder = machine.locks.get(lock)
    if holder is None:
        machine.locks[lock] = cpu.number
        cpu.locks.append(lock)
        cpu.memory.store(lock, 4, 1)
    return holder


def release(cpu: MachineCpu, lock: int) -> bool:
    """Give a lock back. Whether this CPU held it."""
    if cpu.machine.locks.get(lock) != cpu.number:
        return False
    del cpu.machine.locks[lock]
    cpu.locks.remove(lock)
    cpu.memory.store(lock, 4, 0)
    return True


@helper("spin_lock")
def spin_lock(cpu: MachineCpu, r1: int, *_: int) -> int:
    holder = acquire(cpu, r1)
    if holder is None:
        return 0
    if cpu.parallel and holder != cpu.number:
        raise Waiting(r1, holder)
    who = "it holds itself" if holder == cpu.number else f"CPU {holder} holds, which does not run"
    raise Deadlock(
        f"deadlock: CPU {cpu.number} waits for the lock at {r1:#x}, which {who}",
        {cpu.number: r1},
        {r1: holder},
    )


@helper("spin_unlock")
def spin_unlock(cpu: MachineCpu, r1: int, *_: int) -> int:
    if not release(cpu, r1):
        raise Deadlock(
            f"CPU {cpu.number} gives back the lock at {r1:#x}, which it does not hold",
            {},
            {r1: cpu.machine.locks.get(r1, -1)},
        )
    return 0


@helper("kptr_xchg")
def kptr_xchg(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    old = cpu.memory.load(r1, 8)
    cpu.memory.store(r1, 8, r2)
    return old
