"""Functions and their variables: which are known at an instruction, and where they are."""

from __future__ import annotations

from probee.errors import ObjectError
from probee.isa.insn import LD_IMM64
from probee.obj.dwarf import numbers as n
from probee.obj.dwarf.expressions import Place, State, places
from probee.obj.dwarf.lists import Range, locations, ranges
from probee.obj.dwarf.types import Type, Types
from probee.obj.dwarf.units import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from probee.obj.dwarf.units import Die
    from probee.obj.elf import Elf

_MOV64, _ADD64 = 0xBF, 0x07
_FRAME = 10
_FBREG = 0x91


class Variable:
    """A local variable or parameter. `where` are its places: expressions with the code they hold in."""

    __slots__ = ("die", "file", "line", "name", "parameter", "scope", "type", "where")

    def __init__(self, file: File, die: Die, origin: Die, types: Types, scope: list[Range]) -> None:
        self.file = file
        self.die = die
        self.name = die.name or origin.name
        self.line = die.number(n.DECL_LINE) or origin.number(n.DECL_LINE)
        self.parameter = die.tag == n.FORMAL_PARAMETER
        self.scope = scope
        self.type: Type = types.of(die if n.TYPE in die.attributes else origin)
        self.where = locations(file, die.unit, die.get(n.LOCATION))

    @property
    def lasting(self) -> bool:
        """Whether it has one place wherever it is known."""
        return len(self.where) == 1 and self.where[0][0] is None

    def expression(self, section: int, offset: int) -> bytes | None:
        """The expression that holds at an instruction."""
        default = None
        for range, expression in self.where:
            if range is None:
                default = expression
            elif _inside([range], section, offset):
                return expression
        return default

    def at(self, section: int, offset: int, state: State) -> list[Place]:
        """Its places before the instruction at a byte offset of a section."""
        constant = self.die.get(n.CONST_VALUE)
        if isinstance(constant, bytes):
            return [Place("bytes", data=constant)]
        if isinstance(constant, int):
            return [Place("value", constant & (1 << 64) - 1)]
        expression = self.expression(section, offset)
        if expression is None:
            return [Place("gone")]
        return places(self.file, self.die.unit, expression, state)

    def register(self, section: int, offset: int) -> int | None:
        """The register that is the variable at an instruction, if it is one."""
        expression = self.expression(section, offset)
        if expression is not None and len(expression) == 1 and 0x50 <= expression[0] <= 0x5A:
            return expression[0] - 0x50
        return None

    def __repr__(self) -> str:
        return f"<{self.type} {self.name}>"


class Scope:
    """A function, a function that was inlined into it, or a block: what it declares, and where that holds."""

    __slots__ = ("inlined", "inner", "line", "lost", "ranges", "variables")

    def __init__(self, ranges: list[Range], inlined: str, line: int) -> None:
        self.ranges = ranges
        self.inlined = inlined  # the name of the function that was inlined, "" for the rest
        self.line = line  # of its call
        self.variables: list[Variable] = []
        self.inner: list[Scope] = []
        self.lost: list[str] = []  # variables that are optimised out altogether


class Function:
    """A function that has code: from `low` up to `high`, in bytes of section `section`."""

    __slots__ = ("high", "low", "name", "scope", "section", "size")

    def __init__(self, name: str, section: int, low: int, high: int, scope: Scope) -> None:
        self.name = name
        self.section = section
        self.low = low
        self.high = high
        self.scope = scope
        self.size = 0  # of its stack frame in bytes

    def scopes(self, offset: int) -> list[Scope]:
        """The scopes that an instruction is in, the innermost first."""
        found = [self.scope]
        while True:
            inner = next((s for s in found[0].inner if _inside(s.ranges, self.section, offset)), None)
            if inner is None:
                return found
            found.insert(0, inner)

    def variables(self, offset: int) -> dict[str, Variable]:
        """What is declared at an instruction, by name; the inner ones hide the outer ones.

        Of several in one scope, one that has a place there counts, and the last of those.
        """
        out: dict[str, Variable] = {}
        for scope in self.scopes(offset):
            here: dict[str, Variable] = {}
            for variable in scope.variables:
                known = here.get(variable.name)
                if known is None or variable.expression(self.section, offset) is not None:
                    here[variable.name] = variable
            for name, variable in here.items():
                out.setdefault(name, variable)
        return out

    def holders(self, offset: int) -> dict[str, str]:
        """Where variables are at an instruction: in a register, as `r2`, or on the stack, as `fp-8`."""
        out = {}
        for name, variable in self.variables(offset).items():
            expression = variable.expression(self.section, offset)
            if not expression:
                continue
            register = variable.register(self.section, offset)
            if register is not None:
                out[name] = f"r{register}"
            elif expression[0] == _FBREG:
                reach = _reach(expression, 0)
                if 0 <= reach < self.size:
                    out[name] = f"fp-{self.size - reach}"
        return out

    def lost(self, offset: int) -> set[str]:
        """The variables that are declared at an instruction and optimised out of the whole function."""
        return {name for scope in self.scopes(offset) for name in scope.lost} - self.variables(offset).keys()

    def inlined_at(self, name: str) -> list[int]:
        """Where the code of a function begins that was inlined into this one."""
        out, todo = [], [self.scope]
        while todo:
            scope = todo.pop()
            todo += scope.inner
            if scope.inlined == name:
                out.append(min(low for _, low, _ in scope.ranges))
        return sorted(out)

    def inlined(self, offset: int) -> list[tuple[str, int]]:
        """The functions inlined at an instruction, the innermost first, with the lines of their calls."""
        return [(scope.inlined, scope.line) for scope in self.scopes(offset) if scope.inlined]


class Dwarf:
    """The functions of an object with their variables."""

    def __init__(self, elf: Elf) -> None:
        """Raises ObjectError if the DWARF is broken."""
        self.file = File(elf)
        self.types = Types(self.file)
        self._code = {s.index: bytes(s.data) for s in elf.sections if s.has_code}
        self._functions: dict[tuple[int, int], Function] = {}
        for _, root in self.file.units:
            for die in root.children:
                if die.tag == n.SUBPROGRAM:
                    self._add(die)

    def function(self, section: int, offset: int) -> Function | None:
        """The function that begins at a byte offset of a section."""
        return self._functions.get((section, offset))

    def _add(self, die: Die) -> None:
        found = ranges(self.file, die)
        if not found:
            return
        section, low, high = found[0]
        scope = self._scope(die, found, "", 0, 0)
        made = Function(self._origin(die).name or die.name, section, low, high, scope)
        made.size = self._frame(made)
        self._functions[section, low] = made

    def _origin(self, die: Die) -> Die:
        """What an entry is an instance of."""
        for _ in range(16):
            at = die.get(n.ABSTRACT_ORIGIN, die.get(n.SPECIFICATION))
            found = self.file.dies.get(at) if isinstance(at, int) else None
            if found is None:
                return die
            die = found
        return die

    def _scope(self, die: Die, where: list[Range], inlined: str, line: int, depth: int) -> Scope:
        made = Scope(where, inlined, line)
        if depth > 100:
            raise ObjectError("broken DWARF: scopes are nested too deep")
        for child in die.children:
            if child.tag in (n.FORMAL_PARAMETER, n.VARIABLE):
                variable = Variable(self.file, child, self._origin(child), self.types, where)
                if variable.name and (variable.where or n.CONST_VALUE in child.attributes):
                    made.variables.append(variable)
                else:
                    made.lost.append(variable.name)
            elif child.tag in (n.LEXICAL_BLOCK, n.INLINED_SUBROUTINE):
                name = self._origin(child).name if child.tag == n.INLINED_SUBROUTINE else ""
                inside = ranges(self.file, child)
                if inside:
                    made.inner.append(self._scope(child, inside, name, child.number(n.CALL_LINE), depth + 1))
        return made

    def _frame(self, function: Function) -> int:
        """Bytes of a function's stack frame. LLVM counts offsets of variables from its lower end, and writes
        nowhere how large it is: as large as what the function reaches below r10.
        """
        code = self._code.get(function.section, b"")[function.low : function.high]
        little = self.file.endian == "little"
        deepest, at = 0, 0
        copies = set()
        while at + 8 <= len(code):
            opcode, registers = code[at], code[at + 1]
            dst, src = (registers & 15, registers >> 4) if little else (registers >> 4, registers & 15)
            order = self.file.endian
            offset = int.from_bytes(code[at + 2 : at + 4], order, signed=True)  # type: ignore[arg-type]
            imm = int.from_bytes(code[at + 4 : at + 8], order, signed=True)  # type: ignore[arg-type]
            kind = opcode & 7
            if (kind == 1 and src == _FRAME) or (kind in (2, 3) and dst == _FRAME):
                deepest = min(deepest, offset)
            elif opcode == _MOV64 and src == _FRAME:
                copies.add(dst)
            elif opcode == _ADD64 and dst in copies:
                deepest = min(deepest, imm)
                copies.discard(dst)
            at += 16 if opcode == LD_IMM64 else 8
        for variable in _variables(function.scope):
            for _, expression in variable.where:
                deepest = min(deepest, -_reach(expression, variable.type.size))
        return (-deepest + 7) // 8 * 8


def _variables(scope: Scope) -> Iterator[Variable]:
    yield from scope.variables
    for inner in scope.inner:
        yield from _variables(inner)


def _reach(expression: bytes, size: int) -> int:
    """How much of a stack frame a variable at `DW_OP_fbreg n` takes."""
    if not expression or expression[0] != _FBREG:
        return 0
    value = shift = 0
    for byte in expression[1:]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if value >> (shift - 1) & 1:
        return 0
    return value + (size if len(expression) == 1 + shift // 7 else 8)


def _inside(where: list[Range], section: int, offset: int) -> bool:
    return any(s in (section, 0) and low <= offset < high for s, low, high in where)


__all__ = ["Dwarf", "Function", "Place", "State", "Variable"]
