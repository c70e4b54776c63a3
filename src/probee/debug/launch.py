"""How a debugger and its face come to a machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from .debugger import Debugger
from .face import Face

if TYPE_CHECKING:
    from ..machine_target import Machine

# Where a terminal has to be had first: pytest's plugin lets go of its capturing.
terminal: Callable[[], AbstractContextManager[object]] = nullcontext
script: list[str] = []  # commands that the next face takes first


def attach(machine: Machine, face: Face | None = None) -> Debugger:
    """The debugger of a machine, made when first asked for."""
    found: Debugger | None = machine.debugger
    if found is None:
        made = face or Face(script)

        def talk(debugger: Debugger, why: str) -> None:
            with terminal():
                made.talk(debugger, why)

        found = machine.debugger = Debugger(machine, talk)
    return found


def debug(machine: Machine) -> None:
    """Stop at the next instruction of any program."""
    attach(machine).pause()
