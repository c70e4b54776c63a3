"""Programs on several CPUs at the same time, one instruction at a time, in an order that can be repeated.

    race = Interleaving(machine, seed=7)
    race.add(0, program, context)
    race.add(1, program, context)
    race.run()                     # r0 by CPU

The order comes from a seed, or is given: `schedule=[0, 0, 1, …]` names the CPU of each instruction (as does
the pair `(1, 5)` for five of them); what is left after it runs in turn. A helper is one instruction, with
the callbacks it makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import TYPE_CHECKING, Any

from .cpus import Deadlock, MachineCpu, Thrown, Waiting
from .step import Execution

if TYPE_CHECKING:
    from .code import Code
    from .helpers.services import Services
    from .load import Program
    from .machine import Machine

DEFAULT_LIMIT = 10_000_000


class _Running:
    __slots__ = ("cpu", "execution", "lock")

    def __init__(self, cpu: MachineCpu, execution: Execution) -> None:
        self.cpu = cpu
        self.execution = execution
        self.lock = 0  # the lock it waits for


class Interleaving:
    """Programs to run at the same time, one on each CPU. `order` is which CPU ran each instruction: given as
    `schedule` to another one, it repeats the run."""

    def __init__(
        self,
        machine: Services | Machine,
        *,
        seed: int | None = None,
        schedule: Iterable[int | tuple[int, int]] | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        found: Any = machine
        self.machine: Services = getattr(found, "services", found)
        self._random = None if seed is None else Random(seed)
        self._schedule = _flat(schedule or ())
        self._limit = limit
        self._running: dict[int, _Running] = {}
        self._turn = 0
        self.order: list[int] = []
        self.results: dict[int, int] = {}

    def add(self, cpu: int, program: Code | Program, *args: int, context: Any = None) -> None:
        """Start a program on a CPU, with a context or with numbers. Raises ValueError if one was started
        there."""
        given: Any = program
        code: Code = getattr(given, "code", given)
        if cpu in self._running:
            raise ValueError(f"CPU {cpu} has a program to run")
        found = self.machine.cpu(cpu)
        self.machine.enter(found, context)
        if context is not None and not args:
            args = (context.address,)
        found.left = found.budget
        found.tail_calls = 0
        found.parallel = True
        self._running[cpu] = _Running(found, Execution(found, code, 0, args))

    def run(self) -> dict[int, int]:
        """Run all programs to their ends; r0 by CPU.

        Raises Deadlock when all wait for locks, and whatever a program raises.
        """
        try:
            for _ in range(self._limit):
                if not self._running:
                    return self.results
                self._step(self._next())
            raise Deadlock(f"still running after {self._limit} instructions", {}, {})
        finally:
            for running in self._running.values():
                self._end(running)

    def _end(self, running: _Running) -> None:
        cpu = running.cpu
        if cpu.context is not None:
            self.machine.contexts.pop(cpu.context.address, None)
        self.machine.abandon(cpu)
        cpu.parallel, cpu.code, cpu.depth, cpu.context = False, None, 0, None

    def _next(self) -> _Running:
        for number in self._schedule:
            found = self._running.get(number)
            if found is not None and not self._blocked(found):
                return found
        ready = [running for running in self._running.values() if not self._blocked(running)]
        if not ready:
            self._deadlock()
        if self._random is not None:
            return self._random.choice(ready)
        self._turn += 1
        return ready[self._turn % len(ready)]

    def _blocked(self, running: _Running) -> bool:
        return running.lock in self.machine.locks

    def _deadlock(self) -> None:
        waiting = {number: running.lock for number, running in self._running.items()}
        holders = {lock: self.machine.locks[lock] for lock in waiting.values()}
        told = ", ".join(
            f"CPU {number} ({running.execution.frame.code.name or 'program'}"
            f"{' at ' + running.execution.frame.line if running.execution.frame.line else ''}) waits for "
            f"{running.lock:#x}, which CPU {holders[running.lock]} holds"
            for number, running in self._running.items()
        )
        raise Deadlock(f"deadlock: {told}", waiting, holders)

    def _step(self, running: _Running) -> None:
        number = running.cpu.number
        running.cpu.code = running.execution.frame.code
        running.lock = 0
        self.order.append(number)
        try:
            more = running.execution.step()
        except Waiting as wait:
            running.lock = wait.lock
            return
        except Thrown as thrown:
            self._finish(running, thrown.cookie)
            return
        if not more:
            self._finish(running, running.execution.result or 0)

    def _finish(self, running: _Running, result: int) -> None:
        number = running.cpu.number
        self.results[number] = result
        self._end(self._running.pop(number))


def _flat(schedule: Iterable[int | tuple[int, int]]) -> Iterator[int]:
    for item in schedule:
        if isinstance(item, tuple):
            for _ in range(item[1]):
                yield item[0]
        else:
            yield item
