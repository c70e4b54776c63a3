"""Variables by name: the part of DWARF 2 to 5 that debuggers of BPF programs need.

LLVM's DWARF for BPF, and what it leaves out: registers are numbered as r0 to r10, the frame base is r10, but
offsets from it (`DW_OP_fbreg`) count from the lower end of the stack frame.
"""

from __future__ import annotations

from probee.errors import ProbeeError
from probee.obj.dwarf.types import BtfTypes, Field, Type
from probee.obj.dwarf.variables import Dwarf, Function, Place, State, Variable
from probee.obj.elf import Elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.obj.spec import Function as Code
    from probee.obj.spec import LinkedProgram, ObjectSpec

__all__ = [
    "BtfTypes",
    "Dwarf",
    "Field",
    "Function",
    "Place",
    "State",
    "Type",
    "Variable",
    "function",
    "namer",
    "of",
]


def of(spec: ObjectSpec) -> Dwarf | None:
    """What is known of an object's variables; None if it says nothing, or nothing that can be read."""
    found = spec.debug
    if found is None or isinstance(found, Dwarf):
        return found
    spec.debug = None
    try:
        if isinstance(found, Elf):
            spec.debug = Dwarf(found)
        else:
            elf = Elf(found())
            code = {s.index: bytes(s.data) for s in elf.sections if s.has_code}
            if code == spec.code:
                spec.debug = Dwarf(elf)
    except ProbeeError:
        return None
    return spec.debug


def function(spec: ObjectSpec, program: str, name: str) -> tuple[Function, Code] | None:
    """What is known of a function that a linked program consists of, and where it is in the object."""
    dwarf = of(spec)
    if dwarf is None:
        return None
    for code in spec.functions:
        here = code.section_index == spec.text_index
        if code.name == name and (here or name == program):
            known = dwarf.function(code.section_index, 8 * code.start)
            if known is not None:
                return known, code
    return None


def namer(spec: ObjectSpec, linked: LinkedProgram) -> Callable[[int], dict[str, str]]:
    """Tells, of an instruction of a linked program, which registers (`r2`) and slots of the stack (`fp-8`)
    are which variables before it.
    """

    def names(insn: int) -> dict[str, str]:
        start, name = next(((s, n) for s, n in reversed(linked.functions) if s <= insn), (0, linked.name))
        found = function(spec, linked.name, name)
        if found is None:
            return {}
        known, code = found
        offset = 8 * (code.start + insn - start)
        return {where: name for name, where in known.holders(offset).items() if not name.endswith("?")}

    return names
