"""What objects ask of the kernel by name: variables, functions and addresses, of the kernel and its modules.

Imported only for objects that have such. All names are resolved before anything is made, as libbpf does: an
object that needs what this kernel has not got is refused as a whole.
"""

from __future__ import annotations

import struct

from probee.btf.kinds import FUNC, VAR
from probee.errors import LoadError
from probee.obj import spec as kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.btf.parser import Btf
    from probee.kernel.modules import Module, Modules
    from probee.obj.spec import ExternSpec, LinkedProgram, ObjectSpec

_POISON_KFUNC = 2002000000  # where libbpf's numbers for calls of weak kfuncs that are not there begin
_PSEUDO_BTF_ID = 3
_MAX_MODULES = (1 << 15) - 1  # the index in an instruction is a signed 16-bit number


class Found:
    """A kernel symbol: its `address`, or its BTF `id` in the kernel or a `module`."""

    __slots__ = ("address", "id", "module")

    def __init__(self, *, address: int = 0, id: int = 0, module: Module | None = None) -> None:
        self.address = address
        self.id = id
        self.module = module


class Externs:
    """The resolved names of one object. Weak ones that are missing are not among `found`.

    `fd_array` holds the descriptors of the modules' BTF whose functions are called; its first place is free.
    """

    __slots__ = ("fd_array", "found", "spec")

    def __init__(self, spec: ObjectSpec, target: Callable[[], Btf], modules: Modules) -> None:
        """Resolve all names but those of `.kconfig`. Raises LoadError if one is missing and not weak."""
        self.spec = spec
        self.found: dict[str, Found] = {}
        self.fd_array: list[int] = []
        typeless = [x for x in spec.externs.values() if x.kind == kinds.KSYM]
        if typeless:
            self._addresses(typeless)
        for extern in spec.externs.values():
            if extern.kind == kinds.KSYM_TYPED:
                self._typed(extern, extern.name, VAR, target(), modules)
            elif extern.kind == kinds.KFUNC:
                self._typed(extern, extern.essential_name, FUNC, target(), modules)

    def _addresses(self, wanted: list[ExternSpec]) -> None:
        from probee.symbols.kallsyms import KernelSymbols

        try:
            symbols = KernelSymbols.read()
        except OSError as error:
            raise LoadError(f"can't look up kernel symbols: {error}", errno=error.errno or 0) from None
        for extern in wanted:
            found = {symbol.address for symbol in symbols.find(extern.name)}
            if not found:  # compilers that see all of the kernel rename static data
                found = _renamed(symbols.text, extern.name)
            if len(found) > 1:
                raise LoadError(f"this kernel has several symbols {extern.name} (see /proc/kallsyms)")
            if found:
                self.found[extern.name] = Found(address=found.pop())
            elif not extern.weak:
                raise LoadError(f"this kernel has no symbol {extern.name} (see /proc/kallsyms)")

    def _typed(self, extern: ExternSpec, name: str, kind: int, target: Btf, modules: Modules) -> None:
        from probee.btf.core import types_compatible

        what = "variable" if kind == VAR else "kfunc"
        where, module = target, None
        id = target.find(name, kind)
        if id is None:
            beyond = modules.find(name, kind)
            if beyond is None:
                if extern.weak:
                    return
                raise LoadError(f"this kernel has no {what} {name} in its BTF, nor in that of a module")
            module, id = beyond
            where = module.btf
        local = self.spec.btf
        assert local is not None
        mine, theirs = extern.type_id, where.type(id).type
        if kind == VAR:
            mine, theirs = local.strip(mine), where.strip(theirs)
        if not types_compatible(local, mine, where, theirs, {}):
            if extern.weak and kind == FUNC:
                return
            raise LoadError(f"the {what} {name} of this kernel has another type than in {self.spec.name}")
        if module is not None and kind == FUNC and not module.index:
            self.fd_array = self.fd_array or [0]
            if len(self.fd_array) > _MAX_MODULES:
                raise LoadError(f"{self.spec.name} uses functions of more modules than a program can")
            module.index = len(self.fd_array)
            self.fd_array.append(module.fd)
        self.found[extern.name] = Found(id=id, module=module)

    def relocate(self, linked: LinkedProgram, index: int, kind: int, name: str) -> str:
        """Put a kernel symbol's address or BTF id into instruction `index`.

        Returns "" or, for the call of a weak kfunc that is not there, what is missing.
        """
        at = index * 8
        insns = linked.insns
        found = self.found.get(name)
        if kind == kinds.KFUNC:
            if found is None:
                _set_source(insns, at, 0, linked.endian)  # a call that must not be reached
                struct.pack_into("=hi", insns, at + 2, 0, _POISON_KFUNC + self._number(name))
                return f"this kernel has no kfunc {self.spec.externs[name].essential_name}"
            struct.pack_into("=hi", insns, at + 2, found.module.index if found.module else 0, found.id)
            return ""
        if kind != kinds.KSYM and found is not None:
            _set_source(insns, at, _PSEUDO_BTF_ID, linked.endian)
            struct.pack_into("=i", insns, at + 4, found.id)
            struct.pack_into("=i", insns, at + 12, found.module.fd if found.module else 0)
            return ""
        # A typeless symbol; or a weak one that is not there, which is null: a plain wide immediate.
        _set_source(insns, at, 0, linked.endian)
        address = found.address if found is not None else 0
        struct.pack_into("=I", insns, at + 4, address & 0xFFFFFFFF)
        struct.pack_into("=I", insns, at + 12, address >> 32)
        return ""

    def _number(self, name: str) -> int:
        """The number libbpf gives an extern: configuration values come first, then the rest by name."""
        others = sorted(one.name for one in self.spec.externs.values() if one.kind != kinds.KCONFIG)
        return len(self.spec.externs) - len(others) + others.index(name)


def _renamed(text: bytes, name: str) -> set[int]:
    """The addresses of data called `name.llvm.NUMBER` in the text of /proc/kallsyms."""
    import re

    pattern = rb"\n([0-9a-f]+) d " + re.escape(name.encode()) + rb"\.llvm\."
    return {int(match[1], 16) for match in re.finditer(pattern, text)}


def _set_source(insns: bytearray, at: int, source: int, endian: str) -> None:
    registers = insns[at + 1]
    insns[at + 1] = registers & 0x0F | source << 4 if endian == "little" else registers & 0xF0 | source
