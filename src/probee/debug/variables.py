"""Local variables at a moment: which there are, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import ProbeeError
from ..obj import dwarf
from ..obj.dwarf import BtfTypes, Place, State, Type, Variable
from .timeline import Moment, Timeline
from .views import Gone, Reader, value

if TYPE_CHECKING:
    from ..machine.code import Code
    from ..machine.machine import Machine
    from .places import Places

_FRAME = 512


class Unset(ProbeeError):
    """The program has not come to where this variable gets its first value."""


class Known:
    """A function's DWARF, and where it begins in its section and in its program's code."""

    def __init__(self, function: dwarf.Function, section: int, low: int, start: int) -> None:
        self.function = function
        self.section = section
        self.low = low
        self.start = start

    def offset(self, pc: int) -> int:
        """The byte offset in the section of an instruction of the program."""
        return self.low + 8 * (pc - self.start)


class Variables:
    """The variables of all programs of a machine."""

    def __init__(self, machine: Machine, places: Places, timeline: Timeline) -> None:
        self.machine = machine
        self.places = places
        self.timeline = timeline
        self._functions: dict[tuple[Code, int], Known | None] = {}
        self._kernel: BtfTypes | None = None

    # ---- which there are

    def known(self, moment: Moment) -> Known | None:
        """What is known of the function that a moment is in."""
        return self._known(moment.code, *self.places.start(moment.code, moment.pc))

    def _known(self, code: Code, start: int, name: str) -> Known | None:
        key = code, start
        if key not in self._functions:
            self._functions[key] = self._find(code, start, name)
        return self._functions[key]

    def _find(self, code: Code, start: int, name: str) -> Known | None:
        for collection in self.machine.collections:
            for program in collection.programs.values():
                if program.code is code:
                    found = dwarf.function(collection.spec, program.name, name)
                    if found is None:
                        return None
                    function, where = found
                    return Known(function, where.section_index, 8 * where.start, start)
        return None

    def declared(self, moment: Moment) -> dict[str, Variable]:
        """The variables that are declared at a moment. Those named `x?` say whether `x` is not None."""
        known = self.known(moment)
        return {} if known is None else known.function.variables(known.offset(moment.pc))

    def lost(self, moment: Moment) -> set[str]:
        """The variables that are declared here and optimised out everywhere."""
        known = self.known(moment)
        if known is None:
            return set()
        lost = known.function.lost(known.offset(moment.pc))
        return {name for name in lost if name != "ctx" and not name.endswith("?")}

    def inlined(self, moment: Moment) -> list[tuple[str, int]]:
        """The functions that were inlined here, the innermost first, and the lines of their calls."""
        known = self.known(moment)
        return [] if known is None else known.function.inlined(known.offset(moment.pc))

    def inlined_at(self, name: str) -> list[tuple[Code, int]]:
        """Where the code of a function begins that was inlined into others: code and instruction."""
        out = []
        for program in self.places.programs():
            for start, function in program.linked.functions:
                known = self._known(program.code, start, function)
                if known is not None:
                    found = known.function.inlined_at(name)
                    out += [(program.code, start + (low - known.low) // 8) for low in found]
        return out

    # ---- what they hold

    def get(self, moment: Moment, name: str, entry: Moment | None) -> Any:
        """The value of a declared variable. Raises Gone, Unset, or KeyError."""
        declared = self.declared(moment)
        variable = declared[name]
        there = declared.get(f"{name}?")
        if there is not None:
            present = self._value(moment, there, entry)
            if not present:
                return None
        return self._value(moment, variable, entry)

    def all(self, moment: Moment, entry: Moment | None) -> Iterator[tuple[str, Any]]:
        """All that have a value, and the exception `Gone` instead of it for those that are optimised out."""
        for name in self.declared(moment):
            if name.endswith("?"):
                continue
            try:
                yield name, self.get(moment, name, entry)
            except Gone as gone:
                yield name, gone
            except Unset:
                continue
            except ProbeeError as error:
                yield name, error

    def _value(self, moment: Moment, variable: Variable, entry: Moment | None) -> Any:
        found = self.where(moment, variable, entry)
        for place in found:
            if place.kind == "memory" and not self._written(moment, place.value, variable.type.size):
                raise Unset(f"{variable.name} has no value yet")
        return value(self.reader(moment), found, variable.type, lambda n: moment.registers[n])

    def set(self, moment: Moment, name: str, value: int, entry: Moment | None) -> bool:
        """Change a number. Whether there is such a variable; raises ProbeeError if it can't be changed."""
        declared = self.declared(moment)
        if name not in declared:
            return False
        variable, size = declared[name], declared[name].type.size
        found = self.where(moment, variable, entry)
        whole = len(found) == 1 and not found[0].size and found[0].kind in ("memory", "register")
        if not whole or not 1 <= size <= 8 or variable.type.kind in ("struct", "union", "array"):
            raise ProbeeError(f"{name} can't be changed: it is no number, or optimised out here")
        data = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        if found[0].kind == "register":
            moment.frame.registers[found[0].value] = int.from_bytes(data, "little")
            return True
        memory = self.machine.memory
        if not memory.permits(found[0].value, size, write=True):
            raise ProbeeError(f"{name} can't be changed: its memory is read-only")
        memory.write(found[0].value, data)
        there = declared.get(f"{name}?")
        if there is not None:
            for place in self.where(moment, there, entry):
                if place.kind == "memory":
                    memory.write(place.value, b"\1")
        return True

    def where(self, moment: Moment, variable: Variable, entry: Moment | None) -> list[Place]:
        """Where a variable is."""
        known = self.known(moment)
        assert known is not None
        frame = moment.registers[10] - known.function.size
        state = State(moment.registers, self._read, frame, entry.registers if entry is not None else None)
        return variable.at(known.section, known.offset(moment.pc), state)

    def _written(self, moment: Moment, address: int, size: int) -> bool:
        """Whether something was stored there since the function began; unknown of what is not its own."""
        top = moment.registers[10]
        if not top - _FRAME <= address < top:
            return True
        if self.timeline.stored(moment, address, size):
            return True
        return any(self._read(address, size))

    def reader(self, moment: Moment) -> Reader:
        """How values are read at a moment."""
        python = self.places.line(moment.code, moment.pc).file.endswith(".py")
        return Reader(self._read, self._whole, plain=python)

    def _read(self, address: int, size: int) -> bytes:
        memory = self.machine.memory
        if not memory.permits(address, size):
            raise ProbeeError(f"there is no memory at {address:#x}")
        return memory.read(address, size)

    def _whole(self, address: int, type: Type) -> Type:
        """A struct of the kernel with all its members, where the object has a part of them."""
        if type.kind not in ("struct", "union") or not type.name:
            return type
        region = self.machine.memory.find(address)
        if not type.declared and (region is None or region.kind not in ("kernel", "ctx")):
            return type
        btf = self.machine.btf
        if self._kernel is None and btf is not None:
            self._kernel = BtfTypes(btf)
        name = type.name.partition("___")[0]
        found = self._kernel.struct(name, type.kind) if self._kernel is not None else None
        return found or type
