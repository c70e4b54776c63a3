"""What a BPF object holds, as values: nothing here has touched a kernel.

`read_object` makes these. `kernel/` and `machine/` turn them into live objects.
"""

from __future__ import annotations

from probee.btf.parser import essential_name
from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from probee.btf.ext import BtfExt, CoreReloc
    from probee.btf.parser import Btf
    from probee.obj.dwarf import Dwarf
    from probee.obj.elf import Elf
    from probee.obj.struct_ops import StructOpsSpec

# What a relocation of a linked program wants in its instruction, whose pseudo source is set already.
MAP_FD = 1  # wide immediate: a map's descriptor in the lower half
MAP_VALUE = 2  # wide immediate: a map's descriptor in the lower half; the upper one holds the offset already
KCONFIG = 3  # like MAP_VALUE, into the map `.kconfig`
KSYM = 4  # wide immediate: the address of a kernel symbol (typeless)
KSYM_TYPED = 5  # wide immediate, PSEUDO_BTF_ID: BTF id and BTF descriptor of a kernel variable
KFUNC = 6  # call, PSEUDO_KFUNC_CALL: BTF id in `imm`, index into fd_array in `off`
KFUNC_ADDR = 7  # wide immediate: the address of a kernel function (existence checks)
JUMP_TABLE = 8  # like MAP_VALUE, into a map of instructions made for the program; `addend` is which one

RELOC_NAMES = {
    MAP_FD: "map",
    MAP_VALUE: "map value",
    KCONFIG: "kconfig",
    KSYM: "ksym",
    KSYM_TYPED: "typed ksym",
    KFUNC: "kfunc",
    KFUNC_ADDR: "kfunc address",
    JUMP_TABLE: "jump table",
}

# BPF_PROG_LOAD flags a section name implies (UAPI linux/bpf.h).
BPF_F_SLEEPABLE = 1 << 4
BPF_F_XDP_HAS_FRAGS = 1 << 5

# BPF_MAP_CREATE flags of data maps, and of struct_ops maps that are attached by a link.
BPF_F_RDONLY_PROG = 1 << 7
BPF_F_MMAPABLE = 1 << 10
BPF_F_LINK = 1 << 13


def _show(obj: object, *names: str) -> str:
    return f"{type(obj).__name__}({', '.join(f'{n}={getattr(obj, n)!r}' for n in names)})"


class MapSpec:
    """A map to be created. Sizes are in bytes, type ids are of the object's BTF (0: none).

    `name` is the name in the source (a section's name for data maps); `kernel_name` is what the kernel is
    told, as libbpf would. `initial` is the content of a data map, None for others. `inner` describes the maps
    inside a map of maps. `slots` are (index, name of a map or program) to be stored after creation.
    `record_type_id` is the struct in the records of a ring buffer, if the object says. `arena_data` is what
    the global variables in an arena hold, `struct_ops` what a struct_ops map is made of.

    All may be changed before loading: the fields say how the map will be made. `autocreate` is whether it
    will be (a program that refers to a map that is not there is refused where it can reach that).
    `exclusive_to` names the one program that may use it (Linux 6.18).
    """

    __slots__ = (
        "arena_data",
        "autocreate",
        "exclusive_to",
        "flags",
        "initial",
        "inner",
        "kernel_name",
        "key_size",
        "key_type_id",
        "map_extra",
        "map_type",
        "max_entries",
        "mmapable",
        "name",
        "numa_node",
        "pinning",
        "readonly",
        "record_type_id",
        "slots",
        "struct_ops",
        "value_size",
        "value_type_id",
    )

    def __init__(
        self,
        name: str,
        *,
        map_type: int = 0,
        key_size: int = 0,
        value_size: int = 0,
        max_entries: int = 0,
        flags: int = 0,
        key_type_id: int = 0,
        value_type_id: int = 0,
        kernel_name: str = "",
        initial: bytes | None = None,
    ) -> None:
        self.name = name
        self.map_type = map_type
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        self.key_type_id = key_type_id
        self.value_type_id = value_type_id
        self.kernel_name = kernel_name or name[:15]
        self.initial = initial
        self.pinning = 0  # 1: by name (LIBBPF_PIN_BY_NAME)
        self.numa_node: int | None = None
        self.map_extra = 0
        self.inner: MapSpec | None = None
        self.slots: list[tuple[int, str]] = []
        self.readonly = bool(flags & BPF_F_RDONLY_PROG) and initial is not None
        self.mmapable = bool(flags & BPF_F_MMAPABLE)
        self.record_type_id = 0
        self.arena_data = b""
        self.struct_ops: StructOpsSpec | None = None
        self.autocreate = True
        self.exclusive_to = ""

    def copy(self) -> MapSpec:
        """Another spec with the same fields."""
        out = MapSpec(self.name)
        for field in MapSpec.__slots__:
            setattr(out, field, getattr(self, field))
        return out

    def __repr__(self) -> str:
        return _show(self, "name", "map_type", "key_size", "value_size", "max_entries", "flags")


class GlobalSpec:
    """A global variable: `offset` and `size` in the value of data map `map`; `type_id` is 0 without BTF."""

    __slots__ = ("const", "map", "name", "offset", "size", "type_id")

    def __init__(self, name: str, map: str, offset: int, size: int, type_id: int, const: bool) -> None:
        self.name = name
        self.map = map
        self.offset = offset
        self.size = size
        self.type_id = type_id
        self.const = const

    def __repr__(self) -> str:
        return _show(self, "name", "map", "offset", "size", "type_id", "const")


class ExternSpec:
    """A name the kernel has to provide.

    `kind` is KCONFIG, KSYM, KSYM_TYPED or KFUNC. `name` is as in the source, `essential_name` without
    `___flavour`. For KCONFIG, `offset` and `size` are the place in the map `.kconfig`.
    """

    __slots__ = ("essential_name", "kind", "name", "offset", "size", "type_id", "weak")

    def __init__(self, name: str, kind: int, type_id: int, weak: bool) -> None:
        self.name = name
        self.essential_name = essential_name(name)
        self.kind = kind
        self.type_id = type_id
        self.weak = weak
        self.offset = 0
        self.size = 0

    def __repr__(self) -> str:
        return _show(self, "name", "kind", "type_id", "weak")


class Reloc:
    """A relocation of a program section, resolved to names. `target` is None unless it is a subprogram's.

    `table` is the content of a jump table: instructions, counted from the start of the section.
    """

    __slots__ = ("addend", "kind", "symbol", "table", "target")

    def __init__(self, kind: int, symbol: str, addend: int, target: int | None = None) -> None:
        self.kind = kind
        self.symbol = symbol
        self.addend = addend
        self.target = target
        self.table: tuple[int, ...] = ()


class Function:
    """A program or subprogram in its section. `start` and `count` are in instructions of the section."""

    __slots__ = ("count", "hidden", "name", "section", "section_index", "start", "static")

    def __init__(
        self, name: str, section: str, section_index: int, start: int, count: int, static: bool, hidden: bool
    ) -> None:
        self.name = name
        self.section = section
        self.section_index = section_index
        self.start = start
        self.count = count
        self.static = static
        self.hidden = hidden

    def __repr__(self) -> str:
        return _show(self, "name", "section", "start", "count")


class LinkedProgram:
    """A program with all its subprograms behind it, ready for CO-RE, map descriptors and BPF_PROG_LOAD.

    `relocs`: (instruction index, kind, symbol, addend). `func_info` (8-byte records) and `line_info` (16-byte
    records) are what BPF_PROG_LOAD takes, in the object's byte order. `core`: CO-RE relocations whose
    `insn_off` is in bytes from the start of `insns`. `functions`: (first instruction, name), the program
    first. `jump_tables`: for each table the instructions it leads to.
    """

    __slots__ = (
        "core",
        "endian",
        "func_info",
        "functions",
        "insns",
        "jump_tables",
        "line_info",
        "name",
        "relocs",
    )

    def __init__(self, name: str, endian: str) -> None:
        self.name = name
        self.endian = endian
        self.insns = bytearray()
        self.relocs: list[tuple[int, int, str, int]] = []
        self.func_info = b""
        self.line_info = b""
        self.core: list[CoreReloc] = []
        self.functions: list[tuple[int, str]] = []
        self.jump_tables: list[tuple[int, ...]] = []

    def __repr__(self) -> str:
        return f"LinkedProgram({self.name!r}, {len(self.insns) // 8} instructions)"


class ProgramSpec:
    """A program that can be loaded by itself.

    `section` is the section's name without the "?" that switches `autoload` off, `attach_to` what follows its
    first "/", `section_kind` the key of `isa.sections.SECTIONS` it belongs to. `flags` are BPF_PROG_LOAD's.
    All may be changed before loading; `load_as` sets those that a section name decides.

    `target` is the BPF program that an extension replaces a function of, or that a tracing program traces: a
    descriptor, or a loaded `Program`. `signature` is checked with the keys of the keyring `keyring_id` (Linux
    6.18). `ifindex` is a network device that shall run the program by itself.
    """

    __slots__ = (
        "_function",
        "_object",
        "attach_to",
        "attach_type",
        "autoload",
        "flags",
        "ifindex",
        "keyring_id",
        "name",
        "prog_type",
        "section",
        "section_flags",
        "section_kind",
        "signature",
        "target",
    )

    def __init__(self, obj: ObjectSpec, function: Function) -> None:
        self._object = obj
        self._function = function
        self.name = function.name
        self.autoload = not function.section.startswith("?")
        self.section = function.section if self.autoload else function.section[1:]
        self.target: Any = None
        self.signature = b""
        self.keyring_id = 0
        self.ifindex = 0
        self._classify(self.section)

    def _classify(self, section: str) -> bool:
        from probee.isa import sections

        self.section_kind = self.attach_to = ""
        self.prog_type = self.attach_type = self.section_flags = self.flags = 0
        matched = sections.match(section)
        if matched is None:
            return False
        self.section_kind, self.attach_to = matched
        self.prog_type, self.attach_type, self.section_flags = sections.SECTIONS[matched[0]]
        if self.section_flags & sections.SLEEPABLE:
            self.flags |= BPF_F_SLEEPABLE
        if self.section_flags & sections.XDP_FRAGS:
            self.flags |= BPF_F_XDP_HAS_FRAGS
        return True

    def load_as(self, section: str) -> None:
        """Load the program as if its section had this name, as `xdp` or `tracepoint/sched/sched_switch`.

        Raises ObjectError if that is no name of libbpf's.
        """
        if not self._classify(section):
            self._classify(self.section)
            raise ObjectError(f"program {self.name}: {section!r} names no kind of program")

    @property
    def sleepable(self) -> bool:
        return bool(self.flags & BPF_F_SLEEPABLE)

    def link(self) -> LinkedProgram:
        """This program and every subprogram it reaches as one piece of code. A new copy at each call.

        Raises ObjectError if a call leads outside the object's subprograms.
        """
        from probee.obj.link import link

        return link(self._object, self._function)

    def __repr__(self) -> str:
        return _show(self, "name", "section", "prog_type")


class ObjectSpec:
    """A BPF object. `programs`, `maps` and `globals` are by name, in the file's order.

    `btf` and `btf_ext` are None if the object has none; `btf.raw` is fit for BPF_BTF_LOAD: the sizes and
    offsets that compilers leave open are filled in from the symbol table. `kernel_version` is that of a
    `version` section, 0 without. `debug` is what knows variables by their names: the file if it has DWARF, or
    what makes an object of the same instructions that has; `obj.dwarf.of` reads it.
    """

    __slots__ = (
        "btf",
        "btf_ext",
        "code",
        "debug",
        "endian",
        "exception_callbacks",
        "externs",
        "functions",
        "globals",
        "kernel_version",
        "license",
        "maps",
        "name",
        "programs",
        "relocs",
        "text_index",
    )

    def __init__(self, name: str, endian: str) -> None:
        self.name = name
        self.endian = endian
        self.license = ""
        self.kernel_version = 0
        self.btf: Btf | None = None
        self.btf_ext: BtfExt | None = None
        self.programs: dict[str, ProgramSpec] = {}
        self.maps: dict[str, MapSpec] = {}
        self.globals: dict[str, GlobalSpec] = {}
        self.externs: dict[str, ExternSpec] = {}
        # For linking: all functions by section and place; code and relocations (by instruction) by section.
        self.functions: list[Function] = []
        self.code: dict[int, bytes] = {}
        self.relocs: dict[int, dict[int, Reloc]] = {}
        self.text_index = -1
        self.exception_callbacks: dict[str, str] = {}  # program -> subprogram (Linux 6.7)
        self.debug: Elf | Callable[[], bytes] | Dwarf | None = None

    def program(self, name: str) -> ProgramSpec:
        """The program with this name. Raises ObjectError, with the names there are, if there is none."""
        found = self.programs.get(name)
        if found is None:
            known = ", ".join(self.programs) or "none"
            raise ObjectError(f"there is no program {name} in {self.name}; there are: {known}")
        return found

    def resize(self, map: str, size: int) -> None:
        """Give a data map, as `.data.items`, another size in bytes before it is loaded.

        Its last variable must be an array and gets the rest of it; new elements are zero. Raises ObjectError
        if that is not possible.
        """
        from probee.obj.resize import resize

        resize(self, map, size)

    def __repr__(self) -> str:
        return f"ObjectSpec({self.name!r}, programs={list(self.programs)}, maps={list(self.maps)})"
