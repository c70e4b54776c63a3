"""How a debugger and its face come to a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import terminal
from .debugger import Debugger, Quit
from .face import Face

if TYPE_CHECKING:
    from ..machine_target import Machine


def attach(machine: Machine, face: Face | None = None) -> Debugger:
    """The debugger of a machine, made when first asked for."""
    found: Debugger | None = machine.debugger
    if found is None:
        made = face or Face(terminal.script)

        def talk(debugger: Debugger, why: str) -> None:
            with terminal.taken():
                made.talk(debugger, why)

        found = machine.debugger = Debugger(machine, talk)
    return found


def debug(machine: Machine) -> None:
    """Stop at the next instruction of any program."""
    attach(machine).pause()


__all__ = ["Quit", "attach", "debug"]
