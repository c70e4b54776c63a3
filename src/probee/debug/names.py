"""Names in the debugger's expressions: variables, registers, the context's fields, maps, globals."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from ..errors import ProbeeError
from ..machine.load import Program
from ..machine.machine import Machine
from .past import PastMap
from .places import Places
from .timeline import Moment
from .variables import Unset, Variables
from .views import Gone, Pointer

_REGISTERS = {f"r{n}": n for n in range(11)}


class Names(Mapping[str, Any]):
    """What a name means at one moment. Looked up in this order: variables, registers, `ctx` and its fields,
    maps, globals, `m` (the machine), `task`, `packet`, Python's own.
    """

    def __init__(
        self,
        machine: Machine,
        places: Places,
        known: Variables,
        moment: Moment,
        *,
        past: bool = False,
        entry: Moment | None = None,
    ) -> None:
        self.machine = machine
        self.past = past
        self.entry = entry  # where the function began, if that is still known
        self.places = places
        self.known = known
        self.moment = moment

    def __getitem__(self, name: str) -> Any:
        moment = self.moment
        if name in self.known.declared(moment):
            try:
                return self.known.get(moment, name, self.entry)
            except Unset:
                if name not in self._arguments():
                    raise
            except Gone:
                if name not in self._arguments():
                    raise ProbeeError(f"{name} is optimised out here") from None
        arguments = self._arguments()
        if name in arguments:
            return arguments[name]
        if name in _REGISTERS:
            return moment.registers[_REGISTERS[name]]
        if name == "pc":
            return moment.pc
        if name in ("m", "machine"):
            return self.machine
        if name == "task":
            return self.machine.current
        if name == "packet":
            return self.packet()
        if name == "ctx":
            return self.context()
        if name in self.machine.maps:
            if self.past and name in moment.entries:
                return PastMap(self.machine, self.machine.maps[name], moment.entries[name])
            return self.machine.maps[name]
        for collection in self.machine.collections:
            if name in collection.spec.globals:
                return collection.globals[name]
        if name in self.known.lost(moment):
            raise ProbeeError(f"{name} is optimised out")
        if hasattr(builtins, name):
            return getattr(builtins, name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from self.variables()
        yield from _REGISTERS
        yield from ("pc", "m", "machine", "task", "packet", "ctx")
        yield from self.machine.maps
        for collection in self.machine.collections:
            yield from collection.spec.globals

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def program(self) -> Program | None:
        """The program that runs."""
        return self.places.program(self.moment.code)

    def variables(self) -> dict[str, Any]:
        """The local variables that have a value here (the error that says why not for those that are not
        kept), and what the function was called with.
        """
        return {**self._arguments(), **dict(self.known.all(self.moment, self.entry))}

    def _arguments(self) -> dict[str, Any]:
        """What the function was called with, by its parameters' names. A program's own argument is `ctx`."""
        entry = self.entry
        if entry is None or entry.caller is None:
            return {}
        out: dict[str, Any] = {}
        for n, (name, size, signed) in enumerate(self.places.parameters(entry.code, entry.pc)[:5], 1):
            value = entry.registers[n]
            if size:
                value &= (1 << 8 * size) - 1
                if signed and value >> 8 * size - 1:
                    value -= 1 << 8 * size
            out[name] = value
        return out

    def context(self) -> Any:
        """The context's struct, or its fields as attributes."""
        live = self._live_context()
        if live is not None and live.fields is not None:
            return live.fields
        return SimpleNamespace(**self.context_fields())

    def context_fields(self) -> dict[str, Any]:
        """The context's fields by name, with their values."""
        live = self._live_context()
        if live is None:
            return {}
        if live.fields is not None:
            found: dict[str, Any] = {}
            for name in dir(live.fields):
                value = getattr(live.fields, name)
                if isinstance(value, int):
                    found[name] = value
            return found
        return self._event_fields(live.address)

    def _event_fields(self, address: int) -> dict[str, Any]:
        """The fields of a tracepoint, after the formats that the machine knows."""
        program, memory = self.program, self.machine.memory
        if program is None or program.kind not in ("tp", "tracepoint"):
            return {}
        group, _, event = program.target.partition("/")
        found: dict[str, Any] = {}
        for field in self.machine.types.fields(group, event) or ():
            at = address + field.offset
            if memory.permits(at, field.size):
                data = memory.read(at, field.size)
                if field.data_loc:
                    where = int.from_bytes(data, "little")
                    text = memory.read(address + (where & 0xFFFF), where >> 16)
                    found[field.name] = text.split(b"\0")[0].decode("utf-8", "replace")
                elif "char" in field.type and field.size > 1:
                    found[field.name] = data.split(b"\0")[0].decode("utf-8", "replace")
                elif field.size <= 8:
                    found[field.name] = int.from_bytes(data, "little", signed=field.signed)
        return found

    def packet(self) -> bytes:
        """The packet's bytes. Raises ProbeeError if the program has none."""
        live = self._live_context()
        if live is None or live.packet is None:
            raise ProbeeError("this program has no packet")
        data: bytes = live.packet.payload
        return data

    def _live_context(self) -> Any:
        return getattr(self.machine.cpus[self.moment.cpu], "context", None)

    def evaluate(self, expression: str) -> Any:
        """The value of a Python expression over these names; C's `p->x` and, in front, `*p` are understood.

        Raises ProbeeError, saying what is wrong.
        """
        text = expression.strip()
        if text[:1] == "*":
            pointer = self.evaluate(text[1:])
            return pointer[0] if isinstance(pointer, Pointer) else pointer
        try:
            return eval(compile(text.replace("->", "."), "<debugger>", "eval"), {"__builtins__": {}}, self)
        except NameError as error:
            name = getattr(error, "name", None) or str(error)
            raise ProbeeError(f"{name} is not known here; `vars` shows what is") from None
        except ProbeeError:
            raise
        except Exception as error:
            raise ProbeeError(f"{expression}: {type(error).__name__}: {error}") from None
