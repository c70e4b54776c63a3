"""How a debugger and its face come to a machine."""

from __future__ import annotations

from typing import Any

from ..machine.machine import Machine
from . import terminal
from .debugger import Debugger, Quit
from .face import Face


def attach(machine: Machine, face: Face | None = None) -> Debugger:
    """The debugger of a machine, made when first asked for."""
    holder: Any = machine
    found: Debugger | None = getattr(machine, "debugger", None)
    if found is None:
        made = face or Face(terminal.script)

        def talk(debugger: Debugger, why: str) -> None:
            with terminal.taken():
                made.talk(debugger, why)

        found = holder.debugger = Debugger(machine, talk)
    return found


def debug(machine: Machine) -> None:
    """Stop at the next instruction of any program."""
    attach(machine).pause()


__all__ = ["Quit", "attach", "debug"]
