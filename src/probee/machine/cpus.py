"""The machine's CPUs, with what the services know of each: context, locks, nesting of RCU and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ProbeeError
from .env import Cpu

if TYPE_CHECKING:
    from .code import Code
    from .helpers.services import Services
    from .tasks import Task


class Deadlock(ProbeeError):
    """CPUs wait for locks that will never be given back. `waiting` is the lock's address by CPU number,
    `holders` who holds each of them."""

    def __init__(self, message: str, waiting: dict[int, int], holders: dict[int, int]) -> None:
        self.waiting = waiting
        self.holders = holders
        super().__init__(message)


class Waiting(ProbeeError):
    """A CPU has to wait for a lock that another one holds: the scheduler lets others run and tries again."""

    def __init__(self, lock: int, holder: int) -> None:
        self.lock = lock
        self.holder = holder
        super().__init__(f"the lock at {lock:#x} is held by CPU {holder}")


class Thrown(ProbeeError):
    """A program called bpf_throw. `cookie` is what it passed."""

    def __init__(self, cookie: int) -> None:
        self.cookie = cookie
        super().__init__(f"the program threw {cookie:#x}")


class MachineCpu(Cpu):
    """`context` is what the running program got (`contexts.base.Context`), `locks` the addresses of the
    locks this CPU holds, in order. `parallel` is whether other CPUs run at the same time, so that waiting
    makes sense."""

    def __init__(self, machine: Services, number: int = 0, *, engine: str = "auto") -> None:
        super().__init__(machine, number, engine=engine)
        self.machine = machine
        self.task: Task = machine.tasks.idle
        self.context: Any = None
        self.locks: list[int] = []
        self.rcu = 0
        self.preempt = 0
        self.irq: list[int] = []
        self.migrate = 0
        self.parallel = False
        self.retval = 0
        self.numa_node = 0

    def run(self, code: Code, *args: int) -> int:
        """As `Cpu.run`. A program that throws ends, and what it threw is its result. One that fails gives
        back what it held."""
        try:
            return super().run(code, *args)
        except Thrown as thrown:
            return thrown.cookie
        except BaseException:
            if self.code is None:
                self.machine.abandon(self)
            raise
