"""An `ObjectSpec` made to live in a machine: maps, globals, symbols, programs ready to run."""

from __future__ import annotations

import errno
import struct
import warnings
from collections.abc import Mapping
from typing import Any

from ..btf.choose import LIVE
from ..btf.kinds import FUNC, PTR, STRUCT
from ..btf.shipped import RELEASE
from ..btf.values import Codecs
from ..errors import LoadError, MapError, VerifierError
from ..kernel.globals import Globals
from ..obj.spec import LinkedProgram, MapSpec, ObjectSpec, ProgramSpec
from . import maps as machine_maps
from .code import CODE_BASE, Code
from .contexts.rewrite import btf_loads, certain, rewrite
from .faces import face
from .maps.arena import PAGE
from .relocate import Relocation, Symbols, lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..verifier.objects import Objects
    from ..verifier.verdict import Verdict
    from .machine import Machine
    from .maps import Map

_ARENA, _STRUCT_OPS, _PROG_ARRAY = 33, 26, 3
_EXT = 28  # program type
_CASTS = ("bpf_rdonly_cast", "bpf_cast_to_kern_ctx")
_OWN_OBJECTS = ("bpf_list_", "bpf_rbtree_")  # kernel functions whose structs lie in a program's own objects
_MAPS_OF_MAPS = (12, 13)
_CODE_STRIDE = 1 << 24  # of code addresses, for each program: room for two million instructions
_DROPS = "__dropped_"


class Program:
    """A program in a machine. `section`, `kind` and `target` are as its section says; `code` is what runs.

    `poisoned` are the instructions that must not be reached, with what the machine's types lack. `like` is
    the type of the program whose place a replacement (freplace) takes, 0 where that is a function of others.
    """

    def __init__(self, machine: Machine, spec: ProgramSpec, linked: LinkedProgram, code: Code) -> None:
        self.machine = machine
        self.spec = spec
        self.linked = linked
        self.code = code
        self.name = spec.name
        self.type = spec.prog_type
        self.like = 0
        self.id = 0
        self.poisoned: dict[int, str] = {}
        self.maps: dict[str, Any] = {}
        self.runs = 0

    @property
    def section(self) -> str:
        return self.spec.section

    @property
    def kind(self) -> str:
        return self.spec.section_kind

    @property
    def target(self) -> str:
        return self.spec.attach_to

    def __repr__(self) -> str:
        return f"<machine program {self.name} ({self.section})>"


class Collection:
    """The maps and programs of one object in a machine."""

    def __init__(self, spec: ObjectSpec) -> None:
        self.spec = spec
        self.maps: dict[str, Any] = {}
        self.inner: dict[str, Map] = {}  # the machine's own maps
        self.programs: dict[str, Program] = {}
        self.struct_ops: dict[str, dict[str, str]] = {}  # map -> member -> program
        self.codecs: Codecs | None = None
        self._globals: Globals | None = None

    @property
    def globals(self) -> Globals:
        if self._globals is None:
            self._globals = Globals(self.maps, self.spec, self.codecs)
        return self._globals

    def close(self) -> None:
        if self._globals is not None:
            from ..kernel.globals import close

            close(self._globals)
        for live in self.maps.values():
            live.close()
        for m in self.inner.values():
            m.close()


class Loader:
    """Loads one object into a machine."""

    def __init__(
        self,
        machine: Machine,
        spec: ObjectSpec,
        *,
        values: Mapping[str, Any] = {},
        classes: dict[str, type] | None = None,
        kconfig: str = "",
        like: Mapping[str, int] = {},
    ) -> None:
        if spec.endian != "little":
            raise LoadError(f"{spec.name} is big-endian; the machine is little-endian")
        self.machine = machine
        self.spec = spec
        self.values = values
        self.kconfig = kconfig
        self.like = like
        self.collection = Collection(spec)
        self.collection.codecs = Codecs(spec.btf, classes) if spec.btf is not None else None
        self.symbols = Symbols(
            map=lambda name: self._map(name, "address"),
            value=self._value,
            variable=self._variable,
            kfunc=self._kfunc,
            jump_table=self._jump_table,
        )
        self._tables: dict[tuple[str, int], int] = {}
        self._base = CODE_BASE
        self._objects: Objects | None = None

    def load(self) -> Collection:
        self._make_maps()
        relocation = Relocation(self.spec, self.machine.btf, self.symbols)
        for program in self.spec.programs.values():
            if program.autoload:
                self._load(program, relocation)
        self._fill()
        return self.collection

    # ---- maps

    def _make_maps(self) -> None:
        initial = self._initial()
        for name, spec in self.spec.maps.items():
            if not spec.autocreate:
                continue
            made = self.collection.inner[name] = self._create(spec)
            services = self.machine.services
            fd = services.add_map(made)
            live = face(spec, made, fd, services.syscalls, self.collection.codecs, self.machine.advance)
            self.collection.maps[name] = live
            content = initial.get(name)
            if spec.struct_ops is not None:
                self.collection.struct_ops[name] = dict(spec.struct_ops.programs)
            elif spec.arena_data:
                arena: Any = made
                arena.take(0, -(-len(spec.arena_data) // PAGE))
                arena.data[: len(spec.arena_data)] = bytes(content or spec.arena_data)
            elif content is not None and any(content):
                made.sys_update(bytes(4), bytes(content))
            if spec.readonly:
                made.frozen = True
        for name in self.spec.maps:
            counter = _DROPS + name
            if counter in self.spec.globals and hasattr(self.collection.maps.get(name), "count_drops"):
                self.collection.maps[name].count_drops(lambda c=counter: self.collection.globals[c])

    def _create(self, spec: MapSpec) -> Map:
        home = self.machine.services.home
        inner = self._create(spec.inner) if spec.inner is not None else None
        if spec.struct_ops is not None:
            spec = spec.copy()
            spec.value_size = max(spec.value_size, 8)
        try:
            return machine_maps.create(machine_maps.attributes_of(spec, self.spec.btf, home, inner), home)
        except OSError as error:
            why = error.strerror
            if error.errno == errno.ENOMEM:
                size = self.machine.memory.size >> 20
                why = f"it does not fit in {size} MiB of memory: give more, as bp.Machine(…, memory=1 << 30)"
            raise MapError(
                f"can't create map {spec.name!r} in the machine: {why}", errno=error.errno or 0
            ) from None

    def _initial(self) -> dict[str, bytearray]:
        """What data maps hold at the start: the object's values, those given, kernel configuration."""
        spec = self.spec
        initial = {
            n: bytearray(m.arena_data if m.initial is None else m.initial)
            for n, m in spec.maps.items()
            if m.initial is not None or m.arena_data
        }
        for name, value in self.values.items():
            known = spec.globals.get(name)
            if known is None:
                raise LoadError(f"{spec.name} has no global {name!r}; it has {', '.join(spec.globals)}")
            codecs = self.collection.codecs
            if not (isinstance(value, bytes) and len(value) == known.size):
                if codecs is None or not known.type_id:
                    raise LoadError(f"global {name!r} has no type: give its {known.size} bytes")
                try:
                    value = codecs.get(known.type_id).pack(value)
                except (TypeError, ValueError, OverflowError) as wrong:
                    raise LoadError(f"global {name!r}: {wrong}") from None
            initial[known.map][known.offset : known.offset + known.size] = value
        if ".kconfig" in spec.maps:
            from .kconfig import fill

            initial[".kconfig"] = fill(spec, self.kconfig)
        return initial

    def _fill(self) -> None:
        """Put maps into maps and programs into program arrays."""
        for name, spec in self.spec.maps.items():
            holder: Any = self.collection.inner.get(name)
            if holder is None:
                continue
            inside: Mapping[str, Any]
            if spec.map_type in _MAPS_OF_MAPS:
                inside = self.collection.inner
            elif spec.map_type == _PROG_ARRAY:
                inside = self.collection.programs
            else:
                continue
            for index, member in spec.slots:
                if member in inside:
                    fd = self.machine.services.syscalls.register(
                        "map" if spec.map_type in _MAPS_OF_MAPS else "prog", inside[member]
                    )
                    holder.sys_update(struct.pack("<I", index), struct.pack("<i", fd))

    # ---- symbols

    def _map(self, name: str, attribute: str) -> int | None:
        m = self.collection.inner.get(name)
        return None if m is None else int(getattr(m, attribute))

    def _value(self, name: str) -> int | None:
        m: Any = self.collection.inner.get(name)
        if m is None:
            return None
        return int(m.base) if m.type == _ARENA else int(m.lookup(bytes(4), 0))

    def _variable(self, name: str, typed: bool) -> int | None:
        return self.machine.variable(name, typed)

    def _kfunc(self, name: str, weak: bool) -> int | None:
        return self.machine.kfunc_number(name, weak)

    def _jump_table(self, linked: LinkedProgram, number: int) -> int:
        key = (linked.name, number)
        if key not in self._tables:
            table = linked.jump_tables[number]
            region = self.machine.memory.alloc(8 * len(table), "rodata", writable=False, name="jump table")
            region.data[:] = struct.pack(f"<{len(table)}Q", *(self._base + 8 * slot for slot in table))
            self._tables[key] = region.address
        return self._tables[key]

    # ---- programs

    def _verify(self, spec: ProgramSpec, linked: LinkedProgram) -> tuple[str, set[int]]:
        """For the engine that trusts the verifier: why it may not ("" if it may), and the loads that stay
        checked.

        Programs with something that our verifier does not model run checked, and a warning says so. Raises
        VerifierError.
        """
        if self.machine.engine != "verified":
            return "nobody asked for it", set()
        from ..verifier.objects import Objects
        from ..verifier.verify import verify

        if self._objects is None:
            self._objects = Objects(self.spec, self.machine.btf)
            for name, content in self._initial().items():
                if self.spec.maps[name].readonly:
                    self._objects.map_info(name).data = bytes(content)
        prepared = self._objects.prepare(spec)
        version = "live" if self.machine.types.key == LIVE else RELEASE
        verdict = verify(prepared.program, kernel=version, kernel_btf=self.machine.btf)
        if verdict.verdict == "reject":
            raise _refused(spec, verdict)
        why = "" if verdict.accepted else verdict.message or "the verifier can't judge it"
        if not why and not certain(linked.insns, spec.prog_type):
            why = "its context pointer gets out of sight"
        if why:
            warnings.warn(f"program {spec.name} runs with every access checked: {why}", stacklevel=6)
        return why, set(verdict.probe_loads)

    def _gives_kernel(self, number: int) -> bool:
        """Whether a kernel function returns a pointer to a struct of the kernel, as BTF says."""
        name = self.machine.services.kfunc_names.get((number, 0), "")
        if name in _CASTS:
            return True
        btf = self.machine.btf
        id = btf.find(name, FUNC) if name and not name.startswith(_OWN_OBJECTS) else None
        if id is None:
            return False
        returned = btf.type(btf.strip(btf.type(btf.type(id).type).type))
        return returned.kind == PTR and btf.type(btf.strip(returned.type)).kind == STRUCT

    def _replaced(self, spec: ProgramSpec) -> int:
        """The type of the program that a replacement stands in for, 0 if that isn't known."""
        if spec.name in self.like:
            return self.like[spec.name]
        found = self.collection.programs.get(spec.attach_to) or self.machine.programs.get(spec.attach_to)
        return 0 if found is None else found.type

    def _load(self, spec: ProgramSpec, relocation: Relocation) -> None:
        if not spec.prog_type:
            raise LoadError(f"section {spec.section!r} of program {spec.name} names no kind of program")
        self._base = self.machine.next_code(_CODE_STRIDE)
        linked = spec.link()
        poisoned = relocation.run(linked)
        like = self._replaced(spec) if spec.prog_type == _EXT else 0
        prog_type = like or spec.prog_type
        code = rewrite(linked.insns, prog_type)
        unverified, probes = self._verify(spec, linked)
        targets = {slot for table in linked.jump_tables for slot in table}
        made = Code(
            code,
            name=spec.name,
            lines=lines(linked, self.spec.btf),
            base=self._base,
            probe_loads=btf_loads(code, prog_type, self._gives_kernel) | probes,
            jump_targets=targets,
            verified=not unverified,
            unverified=unverified,
        )
        program = Program(self.machine, spec, linked, made)
        program.like = like
        program.poisoned = poisoned
        program.maps = self.collection.maps
        self.machine.services.codes.append(made)
        if self.spec.btf is not None:
            self.machine.services.types_of[made.base] = self.spec.btf
        self.collection.programs[spec.name] = program


def _refused(spec: ProgramSpec, verdict: Verdict) -> VerifierError:
    return VerifierError(
        f"the verifier refuses program {spec.name}: {verdict.message}",
        errno=errno.EACCES,
        log=verdict.log or verdict.message,
        program=spec.name,
    )


__all__ = ["Collection", "Loader", "Program"]
