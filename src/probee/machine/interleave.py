"""Events on several CPUs at the same time: each in a thread that stands still while its program runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Event, Thread
from typing import Any

from ..errors import ProbeeError
from .scheduler import Interleaving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contexts.base import Context
    from .load import Program
    from .machine import Machine


class _Lane:
    """One event: it is fired in a thread of its own, which waits where its first program would run."""

    def __init__(self, cpu: int, event: Callable[[], Any]) -> None:
        self.cpu = cpu
        self.event = event
        self.ready, self.done = Event(), Event()
        self.waiting: tuple[Program, Context, Any] | None = None
        self.r0 = 0
        self.failed: BaseException | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.thread = Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.result = self.event()
        except BaseException as error:
            self.error = error
        finally:
            self.ready.set()

    def wait(self, program: Program, context: Context, task: Any) -> int:
        """What `Machine.run` does instead of running: wait until the programs have run together."""
        self.waiting = program, context, task
        self.ready.set()
        self.done.wait()
        if self.failed is not None:
            raise self.failed
        return self.r0


class Interleaved(list[Any]):
    """The events' results, in the order in which they were given. `order` is which CPU ran each instruction:
    given as `schedule`, it repeats the run.
    """

    order: list[int]


def interleave(
    machine: Machine,
    events: tuple[Callable[[], Any], ...],
    *,
    seed: int | None = None,
    schedule: Iterable[int | tuple[int, int]] | None = None,
) -> Interleaved:
    """What `Machine.interleave` does."""
    if len(events) > len(machine.cpus):
        raise ProbeeError(
            f"{len(events)} events at the same time need as many CPUs; the machine has {len(machine.cpus)}: "
            "give it cpus="
        )
    lanes = [_Lane(cpu, event) for cpu, event in enumerate(events)]
    race = Interleaving(machine, seed=seed, schedule=schedule)
    failed: BaseException | None = None
    try:
        for lane in lanes:
            machine.lane = lane
            lane.thread.start()
            lane.ready.wait()
            machine.lane = None
            if lane.error is not None:
                raise lane.error
            if lane.waiting is not None:
                program, context, task = lane.waiting
                machine.cpus[lane.cpu].task = task
                program.runs += 1
                race.add(lane.cpu, program, context=context)
        race.run()
    except BaseException as error:
        failed = error
    machine.lane = None
    for lane in lanes:  # one after the other: what comes after a program is not meant for threads
        lane.r0, lane.failed = race.results.get(lane.cpu, 0), failed
        lane.done.set()
        if lane.thread.ident is not None:
            lane.thread.join()
    if failed is not None:
        raise failed
    for lane in lanes:
        if lane.error is not None:
            raise lane.error
    found = Interleaved(lane.result for lane in lanes)
    found.order = race.order
    return found
