"""ELF bytes to `ObjectSpec` (libbpf's conventions: section names, `.maps`, data, `.BTF`, `.BTF.ext`)."""

from __future__ import annotations

import os
import struct

from probee.btf.ext import BtfExt
from probee.btf.kinds import DATASEC, DECL_TAG, FUNC, VAR
from probee.btf.parser import Btf
from probee.errors import ObjectError
from probee.isa.insn import CALL_IMM, LD_IMM64, PSEUDO_CALL
from probee.obj import elf as e_
from probee.obj import maps as m_
from probee.obj.btfdata import complete
from probee.obj.spec import (
    BPF_F_MMAPABLE,
    BPF_F_RDONLY_PROG,
    JUMP_TABLE,
    KCONFIG,
    KFUNC,
    KFUNC_ADDR,
    KSYM,
    KSYM_TYPED,
    MAP_FD,
    MAP_VALUE,
    ExternSpec,
    Function,
    GlobalSpec,
    MapSpec,
    ObjectSpec,
    ProgramSpec,
    Reloc,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.obj.elf import Elf, Section, Symbol

# Relocation types (psABI of BPF; LLVM's names). Those of data (2 to 4) matter only in `.maps`; in debug
# sections and BTF their places hold what readers need already.
R_BPF_64_64, R_BPF_64_ABS64, R_BPF_64_ABS32, R_BPF_64_NODYLD32, R_BPF_64_32 = 1, 2, 3, 4, 10

CALL_TARGET = 0  # kind of a Reloc that is resolved by linking: a call of a subprogram
FUNC_ADDRESS = -1  # the same: the address of a subprogram (a callback)

_EXCEPTION_CALLBACK = b"exception_callback:"  # begins the tag of a program that names its callback
_ARENA_DATA = ".addr_space.1"  # global variables that live in the arena
_JUMP_TABLES = ".jumptables"
_ARENA = 33  # enum bpf_map_type


def read_object(
    data: bytes | bytearray | memoryview | str | os.PathLike[str], name: str = "", *, lenient: bool = False
) -> ObjectSpec:
    """The content of a BPF object file.

    `data` is the file's bytes or its path. `name` is the object's name in kernel map names; by default
    it is the file's, up to its first dot, or "object". `lenient` takes conventions of other loaders too: old
    and loose section names, and maps from before BTF in a section `maps`.

    Raises:
        ObjectError: the bytes are not a whole BPF object, or it uses a convention probee does not know.
        OSError: the path can't be read.
    """
    if isinstance(data, (str, os.PathLike)):
        with open(data, "rb") as f:
            content: bytes | bytearray | memoryview = f.read()
        name = name or os.path.basename(os.fspath(data)).split(".", 1)[0]
    else:
        content = data
    return _Reader(e_.Elf(content), name or "object", lenient).read()


def _exception_callbacks(btf: Btf) -> dict[str, str]:
    """Which subprogram handles a program's `bpf_throw`, by the names of both."""
    prefix = _EXCEPTION_CALLBACK.decode()
    found = {}
    for t in btf.own_types(DECL_TAG):
        if t.name.startswith(prefix) and btf.type(t.type).kind == FUNC:
            found[btf.type(t.type).name] = t.name[len(prefix) :]
    return found


class _Reader:
    """One pass over a file. Holds what the steps share."""

    def __init__(self, elf: Elf, name: str, lenient: bool) -> None:
        if elf.machine not in (0, e_.EM_BPF):
            raise ObjectError(f"an ELF file for machine {elf.machine}, not BPF ({e_.EM_BPF})")
        if elf.type != e_.ET_REL:
            raise ObjectError(f"an ELF file of type {elf.type}; BPF objects are relocatable files (type 1)")
        self.elf = elf
        self.spec = ObjectSpec(name, elf.endian)
        self.number = struct.Struct("<i" if elf.endian == "little" else ">i")
        self.by_name: dict[str, Section] = {}
        self.globals: dict[tuple[int, str], Symbol] = {}
        self.lenient = lenient
        self.map_offsets: dict[int, dict[int, str]] = {}  # index of a section of maps -> name by offset
        self.map_slots: dict[int, tuple[str, int]] = {}
        self.maps_index = -1
        self.arena = ""  # the map for `.addr_space.1`

    def read(self) -> ObjectSpec:
        spec, elf = self.spec, self.elf
        relocations: list[tuple[Section, Section]] = []
        for s in elf.sections:
            if s.flags & e_.SHF_COMPRESSED and not s.name.startswith(".debug"):
                raise ObjectError(f"section {s.name} is compressed")
            self.by_name.setdefault(s.name, s)
            if s.type == e_.SHT_RELA and s.info < len(elf.sections) and elf.sections[s.info].has_code:
                raise ObjectError(f"section {s.name} has relocations with addends; BPF objects have none")
            if s.type == e_.SHT_REL and s.info < len(elf.sections):
                relocations.append((s, elf.sections[s.info]))
        for symbol in elf.symbols:
            if symbol.bind != e_.STB_LOCAL and symbol.shndx and symbol.name:
                self.globals.setdefault((symbol.shndx, symbol.name), symbol)
        if "maps" in self.by_name and not self.lenient:
            raise ObjectError('maps in a section "maps" are of the time before BTF; lenient=True reads them')
        self._read_small_sections()
        self._read_functions()
        self._read_btf()
        self._read_maps()
        struct_ops = self._read_struct_ops()
        for table, target in relocations:
            if target.has_code:
                self._read_relocations(table, target)
            elif target.index == self.maps_index:
                self._read_slots(table)
            elif target.index in struct_ops:
                self._read_functions_of(struct_ops[target.index], table)
        if ".debug_info" in self.by_name:
            spec.debug = elf
        subprograms = {id(f) for f in spec.functions if self._is_subprogram(f)}
        for f in spec.functions:
            if id(f) in subprograms:
                continue
            if f.static:
                raise ObjectError(f"program {f.name} is static: only global functions can be programs")
            if f.name in spec.programs:
                raise ObjectError(f"program {f.name} is defined twice")
            spec.programs[f.name] = ProgramSpec(spec, f)
        if self.lenient:
            from probee.obj.foreign import name_kinds

            name_kinds(spec)
        return spec

    def _is_subprogram(self, f: Function) -> bool:
        return f.section_index == self.spec.text_index and len(self.spec.functions) > 1

    def _read_small_sections(self) -> None:
        licence = self.by_name.get("license")
        if licence is not None:
            self.spec.license = bytes(licence.data).split(b"\0", 1)[0].decode("utf-8", "replace")
        version = self.by_name.get("version")
        if version is not None:
            if version.size != 4 or len(version.data) != 4:
                raise ObjectError(f"section version has {version.size} bytes instead of 4")
            self.spec.kernel_version = self.number.unpack(version.data)[0] & 0xFFFFFFFF

    def _read_functions(self) -> None:
        spec = self.spec
        code = {s.index: s for s in self.elf.sections if s.has_code}
        for index, s in code.items():
            if s.size % 8:
                raise ObjectError(f"section {s.name} has {s.size} bytes, no whole number of instructions")
            spec.code[index] = bytes(s.data)
            if s.name == ".text":
                spec.text_index = index
        for symbol in self.elf.symbols:
            section = code.get(symbol.shndx)
            if section is None or symbol.type != e_.STT_FUNC:
                continue
            if symbol.value % 8 or symbol.size % 8 or not symbol.size:
                raise ObjectError(f"function {symbol.name} does not begin and end at an instruction")
            if symbol.value + symbol.size > section.size:
                raise ObjectError(f"function {symbol.name} reaches beyond section {section.name}")
            local = symbol.bind == e_.STB_LOCAL
            hidden = not local and symbol.visibility in (e_.STV_HIDDEN, e_.STV_INTERNAL)
            spec.functions.append(
                Function(
                    symbol.name,
                    section.name,
                    section.index,
                    symbol.value // 8,
                    symbol.size // 8,
                    local,
                    hidden,
                )
            )
        spec.functions.sort(key=lambda f: (f.section_index, f.start))

    def _read_btf(self) -> None:
        spec = self.spec
        section = self.by_name.get(".BTF")
        if section is None:
            self._read_externs(None)
            return
        btf = Btf.parse(bytes(section.data))
        if btf.endian != spec.endian:
            raise ObjectError(f"{btf.endian}-endian BTF in a {spec.endian}-endian file")
        self._read_externs(btf)
        hidden = {f.name for f in spec.functions if f.hidden}
        spec.btf = complete(btf, self.by_name, self.globals, spec.externs, hidden)
        if _EXCEPTION_CALLBACK in btf.raw:
            spec.exception_callbacks = _exception_callbacks(btf)
        ext = self.by_name.get(".BTF.ext")
        if ext is not None:
            spec.btf_ext = BtfExt.parse(bytes(ext.data), spec.btf)

    def _read_externs(self, btf: Btf | None) -> None:
        wanted = [
            s
            for s in self.elf.symbols
            if s.shndx == e_.SHN_UNDEF and s.name and s.type == e_.STT_NOTYPE and s.bind != e_.STB_LOCAL
        ]
        if not wanted:
            return
        if btf is None:
            raise ObjectError(f"{wanted[0].name} is defined nowhere, and without BTF nothing says what it is")
        places: dict[str, tuple[str, int]] = {}
        for section in (".kconfig", ".ksyms"):
            for datasec in btf.find_all(section, DATASEC):
                for type_id, _, _ in btf.type(datasec).vars:
                    places[btf.type(type_id).name] = (section, type_id)
        for symbol in wanted:
            if symbol.name not in places:
                raise ObjectError(
                    f"{symbol.name} is defined nowhere; what the kernel provides needs __ksym or __kconfig"
                )
            section, type_id = places[symbol.name]
            t = btf.type(type_id)
            if t.kind == FUNC:
                kind = KFUNC
            elif t.kind != VAR:
                raise ObjectError(f"broken BTF: section {section} holds a {t.kind_name}")
            elif section == ".kconfig":
                kind = KCONFIG
            else:
                kind = KSYM_TYPED if btf.strip(t.type) else KSYM
            self.spec.externs[symbol.name] = ExternSpec(symbol.name, kind, t.type, symbol.bind == e_.STB_WEAK)
        self._place_kconfig(btf)

    def _place_kconfig(self, btf: Btf) -> None:
        """Offsets in the map `.kconfig`: by falling alignment, then size, then name, as libbpf does."""
        values = [x for x in self.spec.externs.values() if x.kind == KCONFIG]
        if not values:
            return
        from probee.obj.kconfig import layout

        aligned = {}
        for x in values:
            x.size, aligned[x.name] = layout(btf, x.name, x.type_id)
        offset = 0
        for x in sorted(values, key=lambda x: (-aligned[x.name], x.size, x.name)):
            step = aligned[x.name]
            x.offset = offset = (offset + step - 1) // step * step
            offset += x.size
        if offset > e_.MAX_NOBITS:
            raise ObjectError(f"the values of .kconfig take {offset} bytes")

    def _read_maps(self) -> None:
        spec = self.spec
        section = self.by_name.get(".maps")
        if section is not None and section.size:
            if spec.btf is None:
                raise ObjectError("section .maps without BTF: compile with -g")
            self.maps_index = section.index
            spec.maps, self.map_offsets[section.index], self.map_slots = m_.btf_maps(spec.btf, section)
        legacy = self.by_name.get("maps")
        if legacy is not None and legacy.size:
            from probee.obj.foreign import legacy_maps

            self.map_offsets[legacy.index] = legacy_maps(spec, legacy, self.elf)
        arena_data = self.by_name.get(_ARENA_DATA)
        if arena_data is not None and len(arena_data.data):
            self._read_arena(arena_data)
        for s in self.elf.sections:
            if (
                s.size
                and m_.is_data(s.name)
                and s.type in (e_.SHT_PROGBITS, e_.SHT_NOBITS)
                and not s.has_code
            ):
                if s.name in spec.maps:
                    raise ObjectError(f"there are two sections {s.name}")
                made, variables = m_.data_map(spec.btf, s, spec.name)
                spec.maps[s.name] = made
                for variable in variables or self._variables_by_symbol(s):
                    spec.globals.setdefault(variable.name, variable)
        total = max((x.offset + x.size for x in spec.externs.values() if x.kind == KCONFIG), default=0)
        if total:
            spec.maps[".kconfig"] = MapSpec(
                ".kconfig",
                map_type=2,
                key_size=4,
                value_size=total,
                max_entries=1,
                flags=BPF_F_RDONLY_PROG | BPF_F_MMAPABLE,
                value_type_id=(spec.btf.find(".kconfig", DATASEC) or 0) if spec.btf else 0,
                kernel_name=m_.kernel_name(spec.name, ".kconfig"),
                initial=bytes(total),
            )

    def _read_arena(self, section: Section) -> None:
        """Give the arena what its global variables hold."""
        spec = self.spec
        arenas = [m for m in spec.maps.values() if m.map_type == _ARENA]
        if len(arenas) != 1:
            raise ObjectError(f"{section.name} needs one arena in .maps to be in; there are {len(arenas)}")
        self.arena = arenas[0].name
        arenas[0].arena_data = bytes(section.data)
        for variable in m_.data_map(spec.btf, section, spec.name)[1] or self._variables_by_symbol(section):
            variable.map = self.arena
            spec.globals.setdefault(variable.name, variable)

    def _read_struct_ops(self) -> dict[int, list[tuple[int, MapSpec]]]:
        """The struct_ops maps, by index of their section, with their offsets in it."""
        found = {}
        for s in self.elf.sections:
            if s.name.endswith((".struct_ops", ".struct_ops.link")) and s.type == e_.SHT_PROGBITS and s.size:
                from probee.obj import struct_ops

                if s.name not in struct_ops.SECTIONS:
                    continue
                found[s.index] = struct_ops.maps_of(self.spec.btf, s)
                for _, made in found[s.index]:
                    if made.name in self.spec.maps:
                        raise ObjectError(f"map {made.name} is defined twice")
                    self.spec.maps[made.name] = made
        return found

    def _read_functions_of(self, maps: list[tuple[int, MapSpec]], table: Section) -> None:
        """The programs that struct_ops variables name."""
        from probee.obj.struct_ops import set_program

        for offset, _, symbol in self.elf.relocations(table):
            made = next(((o, m) for o, m in maps if o <= offset < o + m.value_size), None)
            if made is None:
                raise ObjectError(f"{table.name} relocates byte {offset}, which is in no struct_ops map")
            function = self._function_at(symbol.shndx, symbol.value)
            if function is None:
                raise ObjectError(f"struct_ops map {made[1].name}: {symbol.name} is no program")
            set_program(made[1], offset - made[0], function.name)

    def _function_at(self, section: int, offset: int) -> Function | None:
        for f in self.spec.functions:
            if f.section_index == section and f.start <= offset // 8 < f.start + f.count:
                return f
        return None

    def _variables_by_symbol(self, section: Section) -> list[GlobalSpec]:
        const = section.name.startswith(".rodata")
        return [
            GlobalSpec(s.name, section.name, s.value, s.size, 0, const)
            for s in self.elf.symbols
            if s.shndx == section.index
            and s.type == e_.STT_OBJECT
            and s.name
            and s.value + s.size <= section.size
        ]

    def _read_relocations(self, table: Section, target: Section) -> None:
        found = self.spec.relocs.setdefault(target.index, {})
        code = self.spec.code[target.index]
        for offset, type, symbol in self.elf.relocations(table):
            if type not in (R_BPF_64_64, R_BPF_64_32):
                raise ObjectError(f"relocation type {type} in {table.name} is not one of code")
            if offset % 8 or offset + 8 > len(code):
                raise ObjectError(f"{table.name} relocates byte {offset} of {target.name}, no instruction")
            reloc = self._resolve(code, offset, symbol, target)
            if found.setdefault(offset // 8, reloc) is not reloc:
                raise ObjectError(f"{table.name} relocates instruction {offset // 8} twice")

    def _resolve(self, code: bytes, offset: int, symbol: Symbol, target: Section) -> Reloc:
        spec = self.spec
        where = f"instruction {offset // 8} of {target.name}"
        opcode = code[offset]
        (imm,) = self.number.unpack_from(code, offset + 4)
        if opcode == LD_IMM64:
            if offset + 16 > len(code):
                raise ObjectError(f"{where}: a wide immediate is cut off")
        elif opcode != CALL_IMM:
            raise ObjectError(f"{where} has a relocation but neither loads a wide immediate nor calls")
        if symbol.shndx == e_.SHN_UNDEF:
            extern = spec.externs.get(symbol.name)
            if extern is None:
                raise ObjectError(f"{where} names {symbol.name or 'nothing'}, which is defined nowhere")
            if opcode == CALL_IMM:
                if extern.kind != KFUNC:
                    raise ObjectError(f"{where} calls {extern.name}, which is no function")
                return Reloc(KFUNC, extern.name, 0)
            if extern.kind == KFUNC:
                return Reloc(KFUNC_ADDR, extern.name, 0)
            return Reloc(extern.kind, extern.name, extern.offset if extern.kind == KCONFIG else 0)
        if symbol.shndx >= e_.SHN_LORESERVE:
            raise ObjectError(f"{where} names {symbol.name}, which is in no section")
        if opcode == CALL_IMM:
            source = code[offset + 1] >> 4 if spec.endian == "little" else code[offset + 1] & 15
            if source != PSEUDO_CALL:
                raise ObjectError(f"{where}: a call of {symbol.name} that is not one of a subprogram")
            if symbol.shndx != spec.text_index or symbol.value % 8:
                raise ObjectError(f"{where} calls {symbol.name}: subprograms must be in section .text")
            return Reloc(CALL_TARGET, symbol.name, imm, symbol.value // 8 + imm + 1)
        if symbol.shndx == spec.text_index and symbol.type in (e_.STT_FUNC, e_.STT_SECTION):
            if (symbol.value + imm) % 8:
                raise ObjectError(f"{where} points into the middle of an instruction")
            return Reloc(FUNC_ADDRESS, symbol.name, imm, (symbol.value + imm) // 8)
        if symbol.shndx in self.map_offsets:
            # A static map is named by its section's symbol, and its place is in the instruction.
            place = symbol.value + (imm if symbol.type == e_.STT_SECTION else 0)
            name = self.map_offsets[symbol.shndx].get(place)
            if name is None:
                raise ObjectError(f"{where} names {symbol.name}, which is no map")
            return Reloc(MAP_FD, name, 0)
        section = self.elf.sections[symbol.shndx]
        if section.name == _ARENA_DATA and self.arena:
            return Reloc(MAP_VALUE, self.arena, (symbol.value + imm) & 0xFFFFFFFF)
        if section.name == _JUMP_TABLES:
            return self._jump_table(section, symbol, where)
        if section.name not in spec.maps or section is not self.by_name[section.name]:
            raise ObjectError(f"{where} refers to section {section.name}, which is neither data nor code")
        # Where a static variable is, is in the instruction; where a global one is, in the symbol.
        return Reloc(MAP_VALUE, section.name, (symbol.value + imm) & 0xFFFFFFFF)

    def _jump_table(self, section: Section, symbol: Symbol, where: str) -> Reloc:
        """The table behind a switch statement: 64-bit offsets of instructions in the program's section."""
        end = symbol.value + symbol.size
        if symbol.value % 8 or symbol.size % 8 or not symbol.size or end > len(section.data):
            raise ObjectError(f"{where} refers to {symbol.name}, which is no table of {section.name}")
        reloc = Reloc(JUMP_TABLE, symbol.name, 0)
        order = "<" if self.spec.endian == "little" else ">"
        offsets = struct.unpack_from(f"{order}{symbol.size // 8}Q", section.data, symbol.value)
        reloc.table = tuple([offset // 8 for offset in offsets])
        return reloc

    def _read_slots(self, table: Section) -> None:
        """Maps and programs stored statically in a map of maps or a program array."""
        for offset, type, symbol in self.elf.relocations(table):
            if type not in (R_BPF_64_64, R_BPF_64_ABS64, R_BPF_64_ABS32, R_BPF_64_NODYLD32):
                raise ObjectError(f"relocation type {type} in {table.name} is not one of data")
            outer, index = self._slot(table, offset)
            if outer.inner is not None:
                stored = self.map_offsets.get(symbol.shndx, {}).get(symbol.value)
            else:
                stored = symbol.name if symbol.type == e_.STT_FUNC else None
            if not stored:
                raise ObjectError(f"map {outer.name}: {symbol.name} can't be stored in it")
            outer.slots.append((index, stored))

    def _slot(self, table: Section, offset: int) -> tuple[MapSpec, int]:
        """The map whose slot is at an offset of `.maps`, and which slot it is."""
        for start, (name, size) in self.map_slots.items():
            if start <= offset < start + size and not (offset - start) % 8:
                return self.spec.maps[name], (offset - start) // 8
        raise ObjectError(f"{table.name} relocates byte {offset} of .maps, which is no slot of a map")
