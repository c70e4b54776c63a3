"""DWARF expressions: where a variable is, or what it is worth."""

from __future__ import annotations

from probee.errors import ObjectError
from probee.obj.dwarf import numbers as n
from probee.obj.dwarf.cursor import Cursor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probee.obj.dwarf.units import File, Unit

_U64 = (1 << 64) - 1
_STEPS = 10_000  # of one expression: branches make loops
_DEEPEST = 64

_CONSTANTS = {0x08: (1, 0), 0x09: (1, 1), 0x0A: (2, 0), 0x0B: (2, 1), 0x0C: (4, 0), 0x0D: (4, 1)}
_CONSTANTS.update({0x0E: (8, 0), 0x0F: (8, 1)})


class Unknown(Exception):
    """The expression asks for what isn't known here."""


class Place:
    """Where a variable, or a part of it, is: `kind` is "memory" (at `value`), "register" (number `value`),
    "value" (it is the number `value` and lies nowhere), "bytes" (it is `data`), "section" (at offset `value`
    of section `section`) or "gone" (optimised out). `size` is that of a part in bytes, 0 for the whole.
    """

    __slots__ = ("data", "kind", "section", "size", "value")

    def __init__(
        self, kind: str, value: int = 0, *, section: int = 0, data: bytes = b"", size: int = 0
    ) -> None:
        self.kind = kind
        self.value = value
        self.section = section
        self.data = data
        self.size = size

    def __repr__(self) -> str:
        return f"Place({self.kind!r}, {self.value:#x}, size={self.size})"


class State:
    """What expressions are about: `registers` r0 to r10 (None: not known), `memory` to read from, `frame`
    (the address that offsets of variables in the stack frame count from), and the registers at the function's
    `entry`.
    """

    __slots__ = ("entry", "frame", "memory", "registers")

    def __init__(
        self,
        registers: Sequence[int | None],
        memory: Callable[[int, int], bytes],
        frame: int | None,
        entry: Sequence[int] | None = None,
    ) -> None:
        self.registers = registers
        self.memory = memory
        self.frame = frame
        self.entry = entry


def places(file: File, unit: Unit, expression: bytes, state: State) -> list[Place]:
    """The places that an expression tells, one for each part of the variable.

    Raises ObjectError for a broken one.
    """
    try:
        found = _Machine(file, unit, state).run(expression)
    except Unknown:
        return [Place("gone")]
    return found or [Place("gone")]


class _Machine:
    def __init__(self, file: File, unit: Unit, state: State) -> None:
        self.file = file
        self.unit = unit
        self.state = state
        self.stack: list[int] = []
        self.place: Place | None = None  # told by the last operation
        self.parts: list[Place] = []
        self.section = 0

    def pop(self) -> int:
        if not self.stack:
            raise ObjectError("broken DWARF: an expression takes from its empty stack")
        return self.stack.pop()

    def push(self, value: int) -> None:
        if len(self.stack) >= _DEEPEST:
            raise ObjectError("broken DWARF: an expression's stack has no end")
        self.stack.append(value & _U64)

    def register(self, number: int) -> int:
        registers = self.state.registers
        found = registers[number] if number < len(registers) else None
        if found is None:
            raise Unknown
        return found

    def run(self, expression: bytes) -> list[Place]:
        cursor = Cursor(expression, 0, "an expression", self.file.endian)
        steps = 0
        while not cursor.done:
            steps += 1
            if steps > _STEPS:
                raise ObjectError("broken DWARF: an expression does not end")
            op = cursor.number(1)
            if op in (0x93, 0x9D):  # piece, bit_piece
                bits = cursor.uleb() * 8 if op == 0x93 else cursor.uleb()
                if op == 0x9D and cursor.uleb():
                    raise Unknown
                self._part(bits // 8)
            else:
                self._step(op, cursor)
        if self.parts:
            return self.parts
        whole = self._whole()
        return [whole] if whole is not None else []

    def _whole(self) -> Place | None:
        if self.place is not None:
            return self.place
        if not self.stack:
            return None
        if self.section:
            return Place("section", self.stack[-1], section=self.section)
        return Place("memory", self.stack[-1])

    def _part(self, size: int) -> None:
        part = self._whole() or Place("gone")
        part.size = size
        self.parts.append(part)
        if self.place is None and self.stack:
            self.stack.pop()
        self.place = None
        self.section = 0

    def _step(self, op: int, cursor: Cursor) -> None:
        if 0x30 <= op <= 0x4F:  # lit
            self.push(op - 0x30)
        elif 0x50 <= op <= 0x6F:  # reg
            self.place = Place("register", op - 0x50)
        elif 0x70 <= op <= 0x8F:  # breg
            self.push(self.register(op - 0x70) + cursor.sleb())
        elif op in _CONSTANTS:
            size, signed = _CONSTANTS[op]
            value = cursor.number(size)
            self.push(value - (1 << 8 * size) if signed and value >> (8 * size - 1) else value)
        elif op in _BINARY:
            b, a = self.pop(), self.pop()
            self.push(_BINARY[op](a, b))
        elif op in _OTHERS:
            _OTHERS[op](self, cursor)
        else:
            raise Unknown  # what no compiler for BPF writes

    # ---- the rarer operations

    def address(self, cursor: Cursor) -> None:
        # the expression was cut out of its section, so relocations of it are not at hand
        cursor.take(self.unit.address_size)
        raise Unknown

    def addrx(self, cursor: Cursor) -> None:
        self.section, offset = self.file.indexed(self.unit, cursor.uleb())
        self.push(offset)

    def deref(self, cursor: Cursor, size: int = 8) -> None:
        self.push(int.from_bytes(self.state.memory(self.pop(), size), self.file.endian))  # type: ignore[arg-type]

    def deref_size(self, cursor: Cursor) -> None:
        size = cursor.number(1)
        if not 1 <= size <= 8:
            raise ObjectError(f"broken DWARF: an expression reads {size} bytes")
        self.deref(cursor, size)

    def fbreg(self, cursor: Cursor) -> None:
        offset = cursor.sleb()
        if self.state.frame is None:
            raise Unknown
        self.push(self.state.frame + offset)

    def pick(self, index: int) -> None:
        if index >= len(self.stack):
            raise ObjectError("broken DWARF: an expression picks from below its stack")
        self.push(self.stack[-1 - index])

    def swap(self, cursor: Cursor) -> None:
        b, a = self.pop(), self.pop()
        self.push(b)
        self.push(a)

    def rot(self, cursor: Cursor) -> None:
        c, b, a = self.pop(), self.pop(), self.pop()
        for value in (c, a, b):
            self.push(value)

    def branch(self, cursor: Cursor, always: bool) -> None:
        distance = cursor.number(2)
        distance -= (distance & 0x8000) << 1
        if always or self.pop():
            cursor.at += distance
            if not 0 <= cursor.at <= len(cursor.data):
                raise ObjectError("broken DWARF: an expression jumps out of itself")

    def implicit_value(self, cursor: Cursor) -> None:
        self.place = Place("bytes", data=cursor.take(cursor.uleb()))

    def stack_value(self, cursor: Cursor) -> None:
        self.place = Place("value", self.pop())

    def entry_value(self, cursor: Cursor) -> None:
        inner = cursor.take(cursor.uleb())
        entry = self.state.entry
        if entry is None or len(inner) != 1 or not 0x50 <= inner[0] < 0x50 + len(entry):
            raise Unknown
        self.push(entry[inner[0] - 0x50])

    def convert(self, cursor: Cursor) -> None:
        offset = cursor.uleb()
        if not offset:
            return
        die = self.file.dies.get(self.unit.offset + offset)
        if die is None:
            raise Unknown
        size = die.number(n.BYTE_SIZE)
        if not 1 <= size <= 8:
            raise Unknown
        value = self.pop() & ((1 << 8 * size) - 1)
        signed = die.number(n.ENCODING) in (n.SIGNED, n.SIGNED_CHAR)
        self.push(value - (1 << 8 * size) if signed and value >> (8 * size - 1) else value)

    def regx(self, cursor: Cursor) -> None:
        self.place = Place("register", cursor.uleb())

    def bregx(self, cursor: Cursor) -> None:
        number = cursor.uleb()
        self.push(self.register(number) + cursor.sleb())


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _divide(a: int, b: int) -> int:
    if not b:
        raise Unknown
    a, b = _signed(a), _signed(b)
    result = abs(a) // abs(b)
    return result if (a < 0) == (b < 0) else -result


def _modulo(a: int, b: int) -> int:
    if not b:
        raise Unknown
    return a % b


_BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b,
    0x1B: _divide,
    0x1C: lambda a, b: a - b,
    0x1D: _modulo,
    0x1E: lambda a, b: a * b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << b if b < 64 else 0,
    0x25: lambda a, b: a >> b if b < 64 else 0,
    0x26: lambda a, b: _signed(a) >> min(b, 63),
    0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: int(_signed(a) == _signed(b)),
    0x2A: lambda a, b: int(_signed(a) >= _signed(b)),
    0x2B: lambda a, b: int(_signed(a) > _signed(b)),
    0x2C: lambda a, b: int(_signed(a) <= _signed(b)),
    0x2D: lambda a, b: int(_signed(a) < _signed(b)),
    0x2E: lambda a, b: int(_signed(a) != _signed(b)),
}
_OTHERS: dict[int, Callable[[_Machine, Cursor], None]] = {
    0x03: _Machine.address,
    0x06: _Machine.deref,
    0x10: lambda m, c: m.push(c.uleb()),
    0x11: lambda m, c: m.push(c.sleb()),
    0x12: lambda m, c: m.pick(0),
    0x13: lambda m, c: [m.pop()].clear(),
    0x14: lambda m, c: m.pick(1),
    0x15: lambda m, c: m.pick(c.number(1)),
    0x16: _Machine.swap,
    0x17: _Machine.rot,
    0x19: lambda m, c: m.push(abs(_signed(m.pop()))),
    0x1F: lambda m, c: m.push(-m.pop()),
    0x20: lambda m, c: m.push(~m.pop()),
    0x23: lambda m, c: m.push(m.pop() + c.uleb()),
    0x28: lambda m, c: m.branch(c, False),
    0x2F: lambda m, c: m.branch(c, True),
    0x90: _Machine.regx,
    0x91: _Machine.fbreg,
    0x92: _Machine.bregx,
    0x94: _Machine.deref_size,
    0x96: lambda m, c: None,
    0x9E: _Machine.implicit_value,
    0x9F: _Machine.stack_value,
    0xA1: _Machine.addrx,
    0xA3: _Machine.entry_value,
    0xA8: _Machine.convert,
    0xF3: _Machine.entry_value,
}
