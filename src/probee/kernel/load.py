"""From an `ObjectSpec` to live maps and programs: what libbpf's `bpf_object__load` does, in its order.

BTF goes in first, then maps, then each program is linked, relocated against this kernel's types (CO-RE) and
handed to the verifier. The verifier's log is asked for only after a rejection.
"""

from __future__ import annotations

import errno
import os
import struct
import sys

from probee import sys as kernel_calls
from probee.errors import LoadError, ObjectError, ProbeeError
from probee.kernel.maps import Map
from probee.kernel.program import Program
from probee.obj import spec as kinds
from probee.sys.bpf import ProgAttr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from probee.btf.core import Relocator
    from probee.btf.parser import Btf
    from probee.btf.values import Codecs
    from probee.kernel.globals import Globals
    from probee.obj.spec import LinkedProgram, MapSpec, ObjectSpec, ProgramSpec

_FIRST_KEY = bytes(4)
_ATTACH_BTF = 8  # isa.sections.ATTACH_BTF
_PROG_ARRAY = 3
_MAPS_OF_MAPS = (12, 13)
_DROPS = "__dropped_"


class Collection:
    """The live programs and maps of one object, by the names of its source."""

    __slots__ = ("__weakref__", "_codecs", "_globals", "btf_error", "maps", "programs", "spec")

    def __init__(self, spec: ObjectSpec) -> None:
        self.spec = spec
        self.maps: dict[str, Any] = {}
        self.programs: dict[str, Program] = {}
        self.btf_error = ""
        self._codecs: Codecs | None = None  # one for maps and globals: the same record classes
        self._globals: Globals | None = None

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<collection {self.spec.name}: programs {list(self.programs)}, maps {list(self.maps)}>"

    @property
    def globals(self) -> Globals:
        """The object's global variables as live attributes."""
        if self._globals is None:
            from probee.kernel.globals import Globals

            self._globals = Globals(self.maps, self.spec, self._codecs)
        return self._globals

    def close(self) -> None:
        """Close programs, maps and globals. Links are not the collection's; close them first."""
        if self._globals is not None:
            from probee.kernel.globals import close

            close(self._globals)
        for program in self.programs.values():
            program.close()
        for live in self.maps.values():
            live.close()


def load(
    spec: ObjectSpec,
    *,
    programs: Iterable[str] | None = None,
    values: dict[str, bytes] | None = None,
    target_btf: Btf | None = None,
    classes: dict[str, type] | None = None,
) -> Collection:
    """Create the maps of `spec` and load its programs (or only the `programs` named).

    `values` sets globals by name before anything runs. `target_btf` stands for the kernel's BTF in CO-RE;
    `classes` are record classes by struct name. Raises `LoadError` (`VerifierError` if the verifier refuses),
    `PermissionDenied`, `Unsupported`, `ObjectError`; nothing stays behind then.
    """
    loader = _Loader(spec, target_btf, classes)
    try:
        loader.load_btf()
        loader.create_maps(values or {})
        loader.load_programs(programs)
        loader.fill_program_slots()
    except BaseException:
        loader.collection.close()
        raise
    finally:
        loader.finish()
    return loader.collection


class _Loader:
    __slots__ = (
        "_classes",
        "_kernel",
        "_relocator",
        "_target",
        "btf_fd",
        "collection",
        "spec",
    )

    def __init__(self, spec: ObjectSpec, target: Btf | None, classes: dict[str, type] | None) -> None:
        if spec.endian != sys.byteorder:
            raise LoadError(f"{spec.name} is {spec.endian}-endian; this machine is {sys.byteorder}-endian")
        self.spec = spec
        self.collection = Collection(spec)
        self.btf_fd = -1
        self._kernel = kernel_calls.kernel()
        self._target = target
        self._classes = classes
        self._relocator: Relocator | None = None

    def finish(self) -> None:
        if self.btf_fd >= 0:
            self._kernel.close(self.btf_fd)  # programs and maps hold the BTF they use
            self.btf_fd = -1

    def target(self) -> Btf:
        """The types of the kernel the programs will run in."""
        if self._target is None:
            from probee.btf import kernel_btf

            self._target = kernel_btf()
        return self._target

    # ---- BTF

    def load_btf(self) -> None:
        """Hand over the object's BTF. A kernel that refuses it goes without, as with libbpf."""
        btf = self.spec.btf
        if btf is None:
            return
        try:
            self.btf_fd = self._kernel.btf_load(btf.raw)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                return  # the first map or program says what is missing
            from probee.kernel.sanitize import load_sanitized

            self.btf_fd, self.collection.btf_error = load_sanitized(btf.raw, error)

    # ---- maps

    def create_maps(self, values: dict[str, bytes]) -> None:
        initial = self._initial(values)
        codecs = None
        if self.spec.btf is not None and self.spec.maps:
            from probee.btf.values import Codecs

            codecs = self.collection._codecs = Codecs(self.spec.btf, self._classes)
        if self.spec.externs:
            from probee.kernel.externs import fill_kconfig

            fill_kconfig(self.spec, initial)
        for name, spec in self.spec.maps.items():
            made = self._create_map(spec, codecs)
            self.collection.maps[name] = made
            content = initial.get(name)
            if content is None:
                continue
            try:
                if any(content):
                    self._kernel.map_update(made.fd, _FIRST_KEY, content)
                if spec.readonly:
                    self._kernel.map_freeze(made.fd)
            except OSError as error:
                raise LoadError(
                    f"can't fill {name}: {os.strerror(error.errno or 0)}", errno=error.errno or 0
                ) from error
        self._fill_map_slots()
        self._count_drops()

    def _count_drops(self) -> None:
        """Tell ring buffers which global the program counts its lost records in."""
        collection = self.collection
        for name, live in collection.maps.items():
            counter = _DROPS + name
            if counter in self.spec.globals and hasattr(live, "count_drops"):
                live.count_drops(lambda counter=counter: collection.globals[counter])

    def _initial(self, values: dict[str, bytes]) -> dict[str, bytes | bytearray]:
        """What data maps hold at the start: the object's values, with those the caller gave."""
        initial: dict[str, bytes | bytearray] = {
            name: bytearray(spec.initial) for name, spec in self.spec.maps.items() if spec.initial is not None
        }
        for name, value in values.items():
            known = self.spec.globals.get(name)
            if known is None:
                raise LoadError(
                    f"{self.spec.name} has no global {name!r}; it has {', '.join(self.spec.globals)}"
                )
            if len(value) != known.size:
                raise LoadError(f"global {name!r} is {known.size} bytes, not {len(value)}")
            content = initial[known.map]
            assert isinstance(content, bytearray)
            content[known.offset : known.offset + known.size] = value
        return initial

    def _create_map(self, spec: MapSpec, codecs: Any) -> Any:
        inner = None
        if spec.inner is not None:
            inner = self._create_map(spec.inner, codecs)
        try:
            return Map.create(
                spec,
                self.spec.btf,
                btf_fd=max(0, self.btf_fd),
                inner_fd=inner.fd if inner else 0,
                codecs=codecs,
            )
        except ProbeeError as error:
            number = getattr(error, "errno", 0)
            if number != errno.EPERM:
                raise
            from probee.kernel.rejection import map_refused

            raise map_refused(spec) from None
        finally:
            if inner is not None:
                inner.close()

    def _fill_map_slots(self) -> None:
        maps = self.collection.maps
        for name, spec in self.spec.maps.items():
            if spec.map_type in _MAPS_OF_MAPS:
                for index, inside in spec.slots:
                    self._fill_slot(maps[name].fd, index, maps[inside].fd, name)

    def fill_program_slots(self) -> None:
        """Put programs into the program arrays that the object initialises."""
        for name, spec in self.spec.maps.items():
            if spec.map_type == _PROG_ARRAY:
                for index, inside in spec.slots:
                    if inside in self.collection.programs:
                        fd = self.collection.programs[inside].fd
                        self._fill_slot(self.collection.maps[name].fd, index, fd, name)

    def _fill_slot(self, map_fd: int, index: int, fd: int, name: str) -> None:
        try:
            self._kernel.map_update(map_fd, struct.pack("=I", index), struct.pack("=I", fd))
        except OSError as error:
            raise LoadError(
                f"can't fill slot {index} of {name}: {os.strerror(error.errno or 0)}", errno=error.errno or 0
            ) from error

    # ---- programs

    def load_programs(self, names: Iterable[str] | None) -> None:
        known = self.spec.programs
        if names is None:
            chosen = [program for program in known.values() if program.autoload]
        else:
            chosen = []
            for name in names:
                if name not in known:
                    raise LoadError(f"{self.spec.name} has no program {name!r}; it has {', '.join(known)}")
                chosen.append(known[name])
        for program in chosen:
            live = self.collection.programs[program.name] = self._load_program(program)
            live.maps = self.collection.maps

    def _load_program(self, spec: ProgramSpec) -> Program:
        if not spec.prog_type:
            raise LoadError(
                f"section {spec.section!r} of program {spec.name} names no kind of program; "
                "libbpf's names are known, as tracepoint/GROUP/EVENT"
            )
        linked = spec.link()
        poisoned = self._relocate_types(linked)
        self._relocate(linked, poisoned)
        attr = ProgAttr(spec.prog_type, linked.insns, self.spec.license, spec.name)
        attr.attach_type = spec.attach_type
        attr.flags = spec.flags
        attr.kernel_version = self.spec.kernel_version
        if spec.section_flags & _ATTACH_BTF:
            from probee.kernel.targets import attach_btf_id

            attr.attach_btf_id = attach_btf_id(spec, self.target())
        if self.btf_fd >= 0:
            attr.btf_fd = self.btf_fd
            attr.func_info = linked.func_info
            attr.line_info = linked.line_info
        try:
            return Program(self._kernel.prog_load(attr), spec)
        except OSError as error:
            from probee.kernel.rejection import retry

            fd, log = retry(attr, error, self.spec, linked, poisoned, self.collection.btf_error)
            return Program(fd, spec, log)

    def _relocate_types(self, linked: LinkedProgram) -> dict[int, str]:
        """CO-RE. Returns the instructions that had to be poisoned, with what this kernel lacks."""
        poisoned: dict[int, str] = {}
        if not linked.core:
            return poisoned
        from probee.btf import core

        if self._relocator is None:
            if self.spec.btf is None:
                raise ObjectError(f"{self.spec.name} has CO-RE relocations but no BTF")
            self._relocator = core.Relocator(self.spec.btf, self.target())
        for reloc in linked.core:
            why = core.patch(linked.insns, reloc, self._relocator.resolve(reloc), linked.endian)
            if why:
                poisoned[reloc.insn_off // 8] = why
        return poisoned

    def _relocate(self, linked: LinkedProgram, poisoned: dict[int, str]) -> None:
        """Put map descriptors and kernel symbols into the instructions. Adds to `poisoned`."""
        insns = linked.insns
        maps = self.collection.maps
        for index, kind, symbol, _ in linked.relocs:
            if kind in (kinds.MAP_FD, kinds.MAP_VALUE):
                struct.pack_into("=i", insns, index * 8 + 4, maps[symbol].fd)
            elif kind == kinds.KCONFIG:
                struct.pack_into("=i", insns, index * 8 + 4, maps[".kconfig"].fd)
            else:
                from probee.kernel.externs import relocate

                why = relocate(linked, index, kind, self.spec.externs[symbol], self.spec, self.target)
                if why:
                    poisoned[index] = why
