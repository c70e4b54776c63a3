"""A linked program with everything in place: addresses of maps, variables and kernel symbols, CO-RE."""

from __future__ import annotations

import struct

from ..btf import core
from ..errors import LoadError
from ..isa.insn import PSEUDO_KFUNC_CALL
from ..obj import spec as kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..btf import Btf
    from ..obj.spec import LinkedProgram, ObjectSpec

LINE = struct.Struct("<IIII")
_MISSING_KFUNC = 0x7FFF_FFFF


class Symbols:
    """Where the names are that an object asks of the kernel; all return None for what is not there."""

    def __init__(
        self,
        *,
        map: Callable[[str], int | None],
        value: Callable[[str], int | None],
        variable: Callable[[str, bool], int | None],
        kfunc: Callable[[str, bool], int | None],
        jump_table: Callable[[LinkedProgram, int], int],
    ) -> None:
        self.map = map  # the handle of a map
        self.value = value  # the address of a data map's value
        self.variable = variable  # of a kernel variable; whether its type is known
        self.kfunc = kfunc  # the number of a kernel function, which may be weak
        self.jump_table = jump_table


class Relocation:
    """Relocates the programs of one object."""

    def __init__(self, spec: ObjectSpec, target: Btf, symbols: Symbols) -> None:
        self.spec = spec
        self.target = target
        self.symbols = symbols
        self._relocator: core.Relocator | None = None

    def run(self, linked: LinkedProgram) -> dict[int, str]:
        """Put all in place. Returns the instructions that must not be reached, with what is missing."""
        poisoned = self._types(linked)
        for index, kind, name, addend in linked.relocs:
            if kind in (kinds.KFUNC, kinds.KFUNC_ADDR):
                self._kfunc(linked, index, kind, name, poisoned)
                continue
            address, high = self._address(linked, kind, name, addend), 0
            if address is None:
                poisoned[index] = f"there is no {kinds.RELOC_NAMES[kind]} {name}"
                continue
            if kind in (kinds.MAP_VALUE, kinds.KCONFIG, kinds.JUMP_TABLE):
                (high,) = struct.unpack_from("<I", linked.insns, index * 8 + 12)
            _put(linked, index, address + high)
        return poisoned

    def _types(self, linked: LinkedProgram) -> dict[int, str]:
        poisoned: dict[int, str] = {}
        for reloc in linked.core:
            if self._relocator is None:
                if self.spec.btf is None:
                    raise LoadError(f"{self.spec.name} has CO-RE relocations but no BTF")
                self._relocator = core.Relocator(self.spec.btf, self.target)
            why = core.patch(linked.insns, reloc, self._relocator.resolve(reloc), linked.endian)
            if why:
                poisoned[reloc.insn_off // 8] = why.replace("this kernel", "the machine's BTF")
        return poisoned

    def _address(self, linked: LinkedProgram, kind: int, name: str, addend: int) -> int | None:
        symbols = self.symbols
        if kind == kinds.MAP_FD:
            return symbols.map(name)
        if kind == kinds.MAP_VALUE:
            return symbols.value(name)
        if kind == kinds.KCONFIG:
            return symbols.value(".kconfig")
        if kind == kinds.JUMP_TABLE:
            return symbols.jump_table(linked, addend)
        found = symbols.variable(name, kind == kinds.KSYM_TYPED)
        if found is None:
            if not self.spec.externs[name].weak:
                raise LoadError(f"{self.spec.name} needs the kernel's variable {name}, which the BTF has not")
            return 0
        return found

    def _kfunc(
        self, linked: LinkedProgram, index: int, kind: int, name: str, poisoned: dict[int, str]
    ) -> None:
        extern = self.spec.externs[name]
        number = self.symbols.kfunc(extern.essential_name, extern.weak)
        if kind == kinds.KFUNC_ADDR:
            _put(linked, index, 0 if number is None else 0xFFFF_FFFF_8000_0000 + number)
            return
        if number is None:
            poisoned[index] = f"there is no kernel function {extern.essential_name}"
        registers = linked.insns[8 * index + 1] & 0x0F | PSEUDO_KFUNC_CALL << 4
        linked.insns[8 * index + 1] = registers
        struct.pack_into("<hi", linked.insns, 8 * index + 2, 0, _MISSING_KFUNC if number is None else number)


def _put(linked: LinkedProgram, index: int, address: int) -> None:
    """Make a wide immediate a plain one."""
    at = 8 * index
    linked.insns[at + 1] &= 0x0F
    struct.pack_into("<I", linked.insns, at + 4, address & 0xFFFF_FFFF)
    struct.pack_into("<I", linked.insns, at + 12, address >> 32 & 0xFFFF_FFFF)


def lines(linked: LinkedProgram, btf: Btf | None) -> dict[int, str]:
    """Instruction -> "file:line", where a line begins."""
    if btf is None:
        return {}
    out = {}
    for slot, file, _, place in LINE.iter_unpack(linked.line_info):
        out[slot] = f"{btf.string(file)}:{place >> 10}"
    return out
