"""Prints what attached programs write when nobody else does: records, the trace pipe, and maps at the end."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from ..tools._common import visible
from ..tracepipe import TracePipe, used_by
from .main import one_interrupt
from .style import bold, dim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..btf import Btf
    from ..session import Session
    from .shapes import Shapes

MOST = 20  # entries of a map that are shown


def show(session: Session, *, json: bool) -> None:
    """Print until Ctrl-C, then the globals and maps."""
    one_interrupt()
    with ExitStack() as stack:
        codes = (program.spec.link().insns for program in session.programs.values())
        pipe = stack.enter_context(TracePipe()) if used_by(codes) else None
        if not json:
            hooks = ", ".join(dict.fromkeys(link.hook for link in session.links))
            print(dim(f"attached to {hooks}; Ctrl-C to end"), flush=True)
        try:
            _loop(session, pipe, json, stack)
        except KeyboardInterrupt:
            if not json:
                print()
                show_globals(session)
                show_maps(session)


class _Source:
    """Something that records come through."""

    def __init__(self, reader: Any, btf: Btf | None, *, padded: bool) -> None:
        self.reader = reader
        self._btf = btf
        self._padded = padded
        self._shapes: Shapes | None = None

    def named(self, record: Any) -> Any:
        """A record with its members, also if its ring buffer does not say what it is."""
        if not isinstance(record, bytes):
            return record
        if self._shapes is None:
            from .shapes import Shapes

            self._shapes = Shapes(self._btf, padded=self._padded)
        return self._shapes.decode(record)


def _sources(session: Session, stack: ExitStack) -> list[_Source]:
    found = []
    for collection in session.collections:
        for table in collection.maps.values():
            if hasattr(table, "consume"):
                found.append(_Source(table, collection.spec.btf, padded=False))
            elif hasattr(table, "buffer"):  # a perf event array
                found.append(_Source(stack.enter_context(table.buffer()), collection.spec.btf, padded=True))
    return found


def _loop(session: Session, pipe: TracePipe | None, json: bool, stack: ExitStack) -> None:
    from select import EPOLLIN, epoll

    sources = _sources(session, stack)
    several = len(sources) > 1
    for source in sources:
        if not hasattr(source.reader, "count_drops"):  # the session tells of ring buffers
            stack.callback(_tell_losses, source.reader)
    with epoll() as wait:
        for source in sources:
            wait.register(source.reader.fileno(), EPOLLIN)
        if pipe is not None:
            wait.register(pipe.fileno(), EPOLLIN)
        while True:
            for source in sources:
                for raw in source.reader.consume():
                    record = source.named(raw)
                    name = source.reader.name if several or json else ""
                    print(as_json(name, record) if json else line(name, record))
            for text in pipe.read() if pipe is not None else ():
                print(as_json("print", text) if json else visible(text))
            sys.stdout.flush()
            wait.poll()


def _tell_losses(reader: Any) -> None:
    if reader.dropped:
        text = f"probee: {reader.dropped} records of {reader.name} were lost: its buffer was full"
        print(text, file=sys.stderr)


def line(name: str, record: Any) -> str:
    """A record for people: `name  pid=7 comm=bash`."""
    head = f"{bold(name)}  " if name else ""
    fields = getattr(record, "_asdict", None)
    if fields is None:
        return head + (record.hex(" ") if isinstance(record, bytes) else repr(record))
    return head + "  ".join(f"{dim(key + '=')}{visible(str(value))}" for key, value in fields().items())


def as_json(name: str, record: Any) -> str:
    from json import dumps

    fields = getattr(record, "_asdict", None)
    return dumps({"from": name, **plain(fields())} if fields else {"from": name, "data": plain(record)})


def plain(value: Any) -> Any:
    """`value` in what JSON has: bytes as hexadecimal text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return plain(value._asdict()) if hasattr(value, "_asdict") else value


def show_maps(session: Session) -> None:
    """The entries of the maps that are not empty, the largest first."""
    for name, table in session.maps.items():
        if "." in name or not hasattr(table, "items") or hasattr(table, "consume"):
            continue  # global data has names such as .rodata
        entries = [(key, _total(value)) for key, value in table.items()]
        entries = [(key, value) for key, value in entries if value]
        if not entries:
            continue
        if all(isinstance(value, int) for _, value in entries):
            entries.sort(key=lambda entry: entry[1], reverse=True)
        print(bold(name))
        for key, value in entries[:MOST]:
            print(f"  {line('', key):<40} {line('', value)}")
        if len(entries) > MOST:
            print(f"  … and {len(entries) - MOST} more")


def show_globals(session: Session) -> None:
    """Variables that programs may have changed and that are not zero."""
    for collection in session.collections:
        for name, spec in collection.spec.globals.items():
            if spec.const or name.startswith("__"):
                continue
            value = collection.globals[name]
            if value:
                print(f"{bold(name)} = {line('', value)}")


def _total(value: Any) -> Any:
    """A per-CPU number as its sum."""
    return sum(value) if isinstance(value, list) and all(isinstance(v, int) for v in value) else value
