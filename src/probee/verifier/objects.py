"""Programs of BPF objects as the verifier takes them: CO-RE done against a kernel's BTF, maps described."""

from __future__ import annotations

import struct

from probee.btf import Btf, core
from probee.btf.kinds import FUNC, STRUCT, TYPEDEF, VAR
from probee.errors import ObjectError
from probee.isa.insn import (
    CALL_IMM,
    PSEUDO_BTF_ID,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
    Insn,
    decode,
)
from probee.isa.tables import ATTACH_TYPES, MAP_TYPES, PROG_TYPES, name_of
from probee.obj import spec as kinds
from probee.obj.dwarf import namer
from probee.verifier.program import MapInfo, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.obj.spec import LinkedProgram, MapSpec, ObjectSpec, ProgramSpec

_MISSING_FUNCTION = 0x7FFF_FFFF
_RDONLY_PROG = 1 << 7
_GPL = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")


class Prepared:
    """A program ready for `verify`. `poisoned`: instructions that CO-RE made unusable, and why. `names` tells
    of an instruction which registers and stack slots are which variables.
    """

    __slots__ = ("line_info", "linked", "names", "poisoned", "program")

    def __init__(
        self,
        program: Program,
        linked: LinkedProgram,
        poisoned: dict[int, str],
        names: Callable[[int], dict[str, str]],
    ) -> None:
        self.program = program
        self.linked = linked
        self.line_info = linked.line_info
        self.poisoned = poisoned
        self.names = names


class Objects:
    """Makes programs of one object ready. `target` is the BTF of the kernel whose verdict is asked for."""

    def __init__(self, spec: ObjectSpec, target: Btf | None) -> None:
        self.spec = spec
        self.target = target
        self._infos: dict[str, MapInfo] = {}
        self._relocator: core.Relocator | None = None

    def prepare(self, program: ProgramSpec) -> Prepared:
        """Raises ObjectError for an object in another byte order, or without BTF where that is needed."""
        linked = program.link()
        if linked.endian != "little":
            raise ObjectError(f"{self.spec.name} is for machines of the other byte order")
        poisoned = self._core(linked)
        insns = decode(linked.insns)
        made = Program(insns, program.prog_type, attach_type=program.attach_type, name=program.name)
        made.gpl = self.spec.license in _GPL
        made.flags = program.flags
        made.btf = self.spec.btf
        made.func_info = list(struct.iter_unpack("<II", linked.func_info))
        made.lines = self._lines(linked)
        for index, kind, name, addend in linked.relocs:
            self._relocate(made, index, kind, name, addend, poisoned)
        self._aim(made, program)
        return Prepared(made, linked, poisoned, namer(self.spec, linked))

    def _core(self, linked: LinkedProgram) -> dict[int, str]:
        poisoned: dict[int, str] = {}
        for reloc in linked.core:
            if self._relocator is None:
                if self.spec.btf is None or self.target is None:
                    raise ObjectError(f"{self.spec.name} needs a kernel's BTF for its CO-RE relocations")
                self._relocator = core.Relocator(self.spec.btf, self.target)
            why = core.patch(linked.insns, reloc, self._relocator.resolve(reloc), linked.endian)
            if why:
                poisoned[reloc.insn_off // 8] = why
        return poisoned

    def _lines(self, linked: LinkedProgram) -> list[tuple[int, str, int, int, str]]:
        btf = self.spec.btf
        if btf is None:
            return []
        return [
            (insn, btf.string(file), place >> 10, place & 1023, btf.string(text))
            for insn, file, text, place in struct.iter_unpack("<IIII", linked.line_info)
        ]

    def _relocate(
        self, made: Program, index: int, kind: int, name: str, addend: int, poisoned: dict[int, str]
    ) -> None:
        insn = made.insns[index]
        if kind in (kinds.MAP_FD, kinds.MAP_VALUE, kinds.KCONFIG):
            source = PSEUDO_MAP_FD if kind == kinds.MAP_FD else PSEUDO_MAP_VALUE
            found = ".kconfig" if kind == kinds.KCONFIG else name
            if found not in self.spec.maps:
                poisoned[index] = f"there is no map {found}"
                return
            made.insns[index] = Insn(insn.opcode, insn.dst, source, insn.off, 0)
            made.map_refs[index] = self.map_info(found)
        elif kind == kinds.KFUNC:
            self._kfunc(made, index, name, poisoned)
        elif kind in (kinds.KSYM, kinds.KSYM_TYPED, kinds.KFUNC_ADDR):
            self._variable(made, index, kind, name)

    def _kfunc(self, made: Program, index: int, name: str, poisoned: dict[int, str]) -> None:
        extern = self.spec.externs[name]
        called = extern.essential_name
        number = self.target.find(called, FUNC) if self.target else None
        if number is None:
            poisoned[index] = f"there is no kernel function {called}"
        else:
            made.kfuncs[index] = called
        insn = made.insns[index]
        made.insns[index] = Insn(
            CALL_IMM, insn.dst, PSEUDO_KFUNC_CALL, 0, _MISSING_FUNCTION if number is None else number
        )

    def _variable(self, made: Program, index: int, kind: int, name: str) -> None:
        insn = made.insns[index]
        if kind == kinds.KSYM_TYPED and self.target:
            number = self.target.find(name, VAR)
            if number is not None:
                made.insns[index] = Insn(insn.opcode, insn.dst, PSEUDO_BTF_ID, insn.off, number)
                return
        made.insns[index] = Insn(insn.opcode, insn.dst, 0, insn.off, 0)

    def map_info(self, name: str) -> MapInfo:
        """A map of the object as the verifier sees it."""
        known = self._infos.get(name)
        if known is None:
            known = self._infos[name] = self._info(self.spec.maps[name])
        return known

    def _info(self, spec: MapSpec) -> MapInfo:
        kind = name_of(MAP_TYPES, spec.map_type)
        entries = spec.max_entries
        if kind == "perf_event_array" and not entries:
            entries = 1
        made = MapInfo(
            spec.map_type,
            spec.key_size,
            spec.value_size,
            entries,
            flags=spec.flags,
            name=spec.kernel_name,
            btf=self.spec.btf,
            key_type=spec.key_type_id,
            value_type=spec.value_type_id,
        )
        if spec.inner is not None:
            made.inner = self._info(spec.inner)
        if spec.readonly and spec.flags & _RDONLY_PROG:
            made.data = spec.initial
        return made

    def _aim(self, made: Program, program: ProgramSpec) -> None:
        """What the program is attached to, by name and by its id in the kernel's BTF."""
        prog, attach = name_of(PROG_TYPES, made.prog_type), name_of(ATTACH_TYPES, made.attach_type)
        made.target = program.attach_to
        btf = self.target
        if btf is None or prog not in ("tracing", "lsm", "struct_ops"):
            return
        if prog == "struct_ops":
            self._struct_ops(made, program, btf)
        elif attach == "trace_raw_tp":
            made.attach_btf_id = btf.find(f"btf_trace_{program.attach_to}", TYPEDEF) or 0
        else:
            prefix = {"lsm": "bpf_lsm_"}.get(prog, "bpf_iter_" if attach == "trace_iter" else "")
            made.attach_btf_id = btf.find(prefix + program.attach_to, FUNC) or 0

    def _struct_ops(self, made: Program, program: ProgramSpec, btf: Btf) -> None:
        """The member of a struct_ops map that the program's function fills."""
        for spec in self.spec.maps.values():
            ops = spec.struct_ops
            member = (
                next((at for at, name in ops.programs.items() if name == program.name), "") if ops else ""
            )
            if ops is None or not member:
                continue
            made.target = f"{ops.type_name}.{member}"
            found = btf.find(ops.type_name, STRUCT)
            if found is None:
                return
            made.attach_btf_id = found
            names = [each.name for each in btf.type(found).members]
            made.attach_type = names.index(member) if member in names else len(names)
            return
