"""`probee run --machine`: the programs of a file in the user-space machine, on events that are made up."""

from __future__ import annotations

import sys
import time

from .. import machine_target, session
from ..errors import ProbeeError
from ..lang.decl import programs_in
from .run import check_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..machine_target import Machine


def run_machine(
    path: str, argv: list[str], events: str, json: bool, look: Callable[[Machine], object] | None = None
) -> int:
    """Run the file with the machine as the target of `attach`; show the rest as `probee run` does.

    `look` gets the machine before its first event.
    """
    if not events and "--events" in argv[1:-1] and argv[argv.index("--events") + 1].endswith(".json"):
        given = argv[argv.index("--events") + 1]
        raise ProbeeError(
            f"what stands behind {path} is for the program itself: write "
            f"probee run --machine --events {given} {path}"
        )
    if events:
        check_file(events)
    from_file = machine_target.events_scenario(events) if events else None

    def scenario(machine: Machine, names: dict[str, Any]) -> object:
        if look is not None:
            look(machine)
        return _scenario(path, from_file, names, machine)(machine)

    session.default_target = "machine"
    machine_target.scenario = scenario
    if not path.endswith(".py"):
        if from_file is None:
            raise ProbeeError(f"{path} says nothing of events: give some with --events FILE.json")
        return _show((path,), json)
    attached: list[object] = []
    session.on_attach.append(attached.append)
    sys.argv = argv
    real, time.sleep = time.sleep, _sleep
    try:
        module = session.import_file(path, "__main__")
    finally:
        time.sleep = real
    programs = [] if attached else programs_in(vars(module))
    if not programs and not attached:
        print(f"probee: {path} has no programs, and has attached none", file=sys.stderr)
    if programs:
        machine_target.scenario = lambda machine, names: scenario(machine, vars(module))
        return _show(tuple(programs), json)
    return 0


def _sleep(seconds: Any, /) -> None:
    """What the program waits for is the scenario's events; when there are none left, Ctrl-C ends it."""
    done = [machine.advance() for machine in machine_target.playing]
    if not any(done):
        raise KeyboardInterrupt
    while any(machine.advance() for machine in machine_target.playing):
        pass


def _scenario(
    path: str, from_file: Any, names: dict[str, Any], machine: Machine
) -> Callable[[Machine], object]:
    found = from_file or names.get("scenario")
    if found is None:
        from ..machine.suggest import event_for

        lines = dict.fromkeys(event_for(machine, program) for program in machine.programs.values())
        raise ProbeeError(
            f"{path} has no function scenario(m) that fires events; write one, or give events with "
            f"probee run --machine --events FILE.json {path}. Its programs run on these:\n\n"
            "def scenario(m):\n" + "\n".join(f"    {line}" for line in lines or ["m.fire(…)"])
        )
    if not callable(found):
        raise ProbeeError(f"{path}: scenario is no function")
    chosen: Callable[[Machine], object] = found
    return chosen


def _show(what: tuple[Any, ...], json: bool) -> int:
    live: Any = session.attach(*what)
    with live as machine:
        from .show_machine import show

        show(machine, json=json)
    return 0
