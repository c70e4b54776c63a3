"""Prints what programs in a machine write while a scenario plays: records, lines, maps at the end."""

from __future__ import annotations

import sys

from ..tools._common import visible
from .show import _Source, as_json, line, show_globals, show_maps
from .style import dim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..machine_target import Machine


def show(machine: Machine, *, json: bool) -> None:
    """Play the scenario to its end and print what comes of it."""
    sources = [
        _Source(table, collection.spec.btf, padded=hasattr(table, "output"))
        for collection in machine.collections
        for table in collection.maps.values()
        if hasattr(table, "consume")
    ]
    if not json:
        print(dim(f"in the machine: {', '.join(machine.programs)}; its events are made up"), flush=True)
    several, told = len(sources) > 1, 0
    going = True
    while going:
        going = machine.advance()
        for source in sources:
            for raw in source.reader.consume():
                record = source.named(raw)
                name = source.reader.name if several or json else ""
                print(as_json(name, record) if json else line(name, record))
        for text in machine.trace_pipe[told:]:
            print(as_json("print", text) if json else visible(text.rstrip("\n")))
        told = len(machine.trace_pipe)
        sys.stdout.flush()
    for name, lost in machine.drops.items():
        if lost:
            print(f"probee: {lost} records of {name} were lost: its buffer was full", file=sys.stderr)
    if not json:
        session: Any = machine
        show_globals(session)
        show_maps(session)
