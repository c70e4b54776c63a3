"""From an `ObjectSpec` to live maps and programs: what libbpf's `bpf_object__load` does, in its order.

What the object asks of the kernel by name is looked up first. Then BTF goes in, then maps, then each program
is linked, relocated against this kernel's types (CO-RE) and handed to the verifier. The verifier's log is
asked for only after a rejection.
"""

from __future__ import annotations

import errno
import os
import struct
import sys

from probee import sys as kernel_calls
from probee.errors import LoadError, ObjectError
from probee.kernel.collection import Collection
from probee.kernel.load_maps import MapLoader
from probee.kernel.program import Program
from probee.obj import spec as kinds
from probee.sys.bpf import ProgAttr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from probee.btf.core import Relocator
    from probee.btf.parser import Btf
    from probee.kernel.externs import Externs
    from probee.kernel.modules import Modules
    from probee.kernel.struct_ops import StructOpsMaps
    from probee.obj.spec import LinkedProgram, ObjectSpec, ProgramSpec

__all__ = ["Collection", "Loader", "load"]

_USDT, _ATTACH_BTF, _TYPE_OPTIONAL = 2, 8, 32  # isa.sections.USDT, ATTACH_BTF, ATTACH_TYPE_OPTIONAL
_ARENA = 33  # enum bpf_map_type
_STRUCT_OPS = 27  # enum bpf_prog_type
_UPROBE_MULTI = 48  # enum bpf_attach_type
_TRACING_MULTI = (59, 60, 61)
_CALL = 0x85
_POISON_MAP = 2001000000  # where libbpf's numbers for references to maps that are not there begin
_ARG_CTX = b"\0arg:ctx\0"
_LOG_SIZE = (1 << 24) - 1


def load(
    spec: ObjectSpec,
    *,
    programs: Iterable[str] | None = None,
    values: Mapping[str, Any] | None = None,
    target_btf: Btf | None = None,
    classes: dict[str, type] | None = None,
    core_btf: Btf | None = None,
    pin_root: str = "",
    maps: Mapping[str, Any] | None = None,
    log_level: int = 0,
    kconfig: str = "",
    token: str | None = None,
) -> Collection:
    """Create the maps of `spec` and load its programs (or only the `programs` named).

    `values` sets globals by name before anything runs: Python values, or bytes of the variable's size.
    `target_btf` stands for the kernel's BTF; `core_btf` stands for it in CO-RE only, on kernels that ship
    none. `classes` are record classes by struct name. `pin_root` is where maps pinned by name are. `maps` are
    maps to use instead of new ones: live ones, descriptors or paths of pins. With `log_level` each program
    keeps the verifier's log. `kconfig` are lines `CONFIG_X=y` that come before the kernel's. `token` is the
    BPF file system to get a BPF token from, "" for none; by default one is tried where rights are missing.

    Raises `LoadError` (`VerifierError` if the verifier refuses), `PermissionDenied`, `Unsupported`,
    `ObjectError`; nothing stays behind then.
    """
    loader = Loader(spec, target_btf, classes)
    loader.core_btf = core_btf
    loader.pin_root = pin_root
    loader.given = maps or {}
    loader.log_level = log_level
    loader.kconfig = kconfig
    loader.token_path = token
    try:
        loader.prepare(values or {})
        loader.load_programs(programs)
        loader.finish_maps()
    except BaseException:
        loader.undo()
        raise
    finally:
        loader.finish()
    return loader.collection


class Loader(MapLoader):
    """One load of one object. `prepare` makes all that programs need, `load_program` loads one of them."""

    __slots__ = (
        "_classes",
        "_kernel",
        "_modules",
        "_relocator",
        "_rodata",
        "_target",
        "btf_fd",
        "collection",
        "core_btf",
        "externs",
        "given",
        "kconfig",
        "log_level",
        "pin_root",
        "spec",
        "struct_ops",
        "token_fd",
        "token_path",
    )

    def __init__(
        self, spec: ObjectSpec, target: Btf | None = None, classes: dict[str, type] | None = None
    ) -> None:
        if spec.endian != sys.byteorder:
            raise LoadError(f"{spec.name} is {spec.endian}-endian; this machine is {sys.byteorder}-endian")
        self.spec = spec
        self.collection = Collection(spec)
        self.btf_fd = -1
        self.token_fd = 0
        self.core_btf: Btf | None = None
        self.pin_root: str | None = ""  # None: no map is pinned
        self.given: Mapping[str, Any] = {}
        self.log_level = 0
        self.kconfig = ""
        self.token_path: str | None = None
        self.externs: Externs | None = None
        self.struct_ops: StructOpsMaps | None = None
        self._kernel = kernel_calls.kernel()
        self._target = target
        self._classes = classes
        self._relocator: Relocator | None = None
        self._modules: Modules | None = None
        self._rodata: list[int] = []

    def finish(self) -> None:
        """Let go of what is needed only while loading: programs and maps hold the BTF they use."""
        if self.btf_fd >= 0:
            self._kernel.close(self.btf_fd)
            self.btf_fd = -1
        if self.token_fd > 0:
            self._kernel.close(self.token_fd)
            self.token_fd = 0
        if self._modules is not None:
            self._modules.close()

    def undo(self) -> None:
        """Close all that was made, and take away its pins."""
        if self.collection._own_pins:
            from probee.kernel.pins import forget

            forget(self.collection._own_pins)
        self.collection.close()

    def target(self) -> Btf:
        """The types of the kernel the programs will run in."""
        if self._target is None:
            from probee.btf import kernel_btf

            self._target = kernel_btf()
        return self._target

    def modules(self) -> Modules:
        """The types of the kernel's modules."""
        if self._modules is None:
            from probee.kernel.modules import Modules

            self._modules = Modules(self.target)
        return self._modules

    def prepare(self, values: Mapping[str, Any]) -> None:
        """All that comes before programs: names, BTF, maps."""
        spec = self.spec
        if self.token_path or (self.token_path is None and "LIBBPF_BPF_TOKEN_PATH" in os.environ):
            from probee.kernel.token import open_token

            self.token_fd = open_token(self.token_path)
        if spec.externs:
            from probee.kernel.externs import Externs

            self.externs = Externs(spec, self.target, self.modules())
        if any(one.struct_ops is not None for one in spec.maps.values()):
            from probee.kernel.struct_ops import StructOpsMaps

            self.struct_ops = StructOpsMaps(spec, self.target, self.modules())
        self.load_btf()
        self.create_maps(values)

    # ---- BTF

    def load_btf(self) -> None:
        """Hand over the object's BTF. A kernel that refuses it goes without, as with libbpf."""
        btf = self.spec.btf
        if btf is None:
            return
        try:
            self.btf_fd = self._kernel.btf_load(btf.raw, token_fd=self.token_fd)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                if self._get_token():
                    return self.load_btf()
                return  # the first map or program says what is missing
            from probee.kernel.sanitize import load_sanitized

            self.btf_fd, self.collection.btf_error = load_sanitized(btf.raw, error, self.token_fd)
        if self.btf_fd < 0 and self.struct_ops is not None:
            raise LoadError(f"{self.spec.name} can't do without BTF: {self.collection.btf_error}")

    def _get_token(self) -> bool:
        """Try for a BPF token, after the kernel has denied something. False if there is none to be had."""
        if self.token_fd or self.token_path == "":
            return False
        from probee.kernel.token import try_token

        self.token_fd = try_token()
        return self.token_fd > 0

    # ---- programs

    def load_programs(self, names: Iterable[str] | None) -> None:
        known = self.spec.programs
        if names is None:
            chosen = [program for program in known.values() if self._autoload(program)]
        else:
            chosen = []
            for name in names:
                if name not in known:
                    raise LoadError(f"{self.spec.name} has no program {name!r}; it has {', '.join(known)}")
                chosen.append(known[name])
        for program in chosen:
            live = self.collection.programs[program.name] = self.load_program(program)
            live.maps = self.collection.maps

    def _autoload(self, program: ProgramSpec) -> bool:
        if self.struct_ops is not None and program.prog_type == _STRUCT_OPS:
            decided = self.struct_ops.autoload(program.name)
            if decided is not None:
                return decided
        return program.autoload

    def load_program(self, spec: ProgramSpec) -> Program:
        """Load one program. Raises LoadError, VerifierError, PermissionDenied, ObjectError."""
        if not spec.prog_type:
            raise LoadError(
                f"section {spec.section!r} of program {spec.name} names no kind of program; "
                "libbpf's names are known, as tracepoint/GROUP/EVENT (lenient=True guesses, load_as says it)"
            )
        linked, poisoned = self._prepare(spec)
        attr = ProgAttr(spec.prog_type, linked.insns, self.spec.license, spec.name)
        attr.attach_type = spec.attach_type
        attr.flags = spec.flags
        attr.kernel_version = self.spec.kernel_version
        attr.ifindex = spec.ifindex
        attr.token_fd = self.token_fd
        attr.signature, attr.keyring_id = spec.signature, spec.keyring_id
        if spec.section_flags & (_ATTACH_BTF | _USDT) or spec.attach_type in _TRACING_MULTI:
            self._aim(attr, spec)
        elif spec.prog_type == _STRUCT_OPS:
            if self.struct_ops is None:
                raise LoadError(f"struct_ops program {spec.name} is in no struct_ops map")
            self.struct_ops.aim(attr, spec.name)
        if self.externs is not None and self.externs.fd_array:
            attr.fd_array = self.externs.fd_array
        own_btf = 0
        if self.btf_fd >= 0:
            attr.btf_fd = self.btf_fd
            attr.func_info = linked.func_info
            attr.line_info = linked.line_info
            if spec.section_kind and self.spec.btf is not None and _ARG_CTX in self.spec.btf.raw:
                from probee.kernel.arg_ctx import fix_arguments

                own_btf = fix_arguments(attr, self.spec.btf)
        tables = self._relocate_maps(linked, poisoned)
        try:
            program = self._hand_over(attr, spec, linked, poisoned)
        finally:
            for table in tables:
                table.close()
            if own_btf:
                self._kernel.close(own_btf)
        program.maps = self.collection.maps
        for fd in self._rodata:
            try:
                self._kernel.prog_bind_map(program.fd, fd)
            except OSError:  # a courtesy: who finds the program finds its constants
                break
        return program

    def _hand_over(
        self, attr: ProgAttr, spec: ProgramSpec, linked: LinkedProgram, poisoned: dict[int, str]
    ) -> Program:
        """BPF_PROG_LOAD, and what to do if it says no."""
        try:
            if not self.log_level:
                return Program(self._kernel.prog_load(attr), spec)
            from probee.sys.bpf import VerifierLog

            log = VerifierLog(_LOG_SIZE, self.log_level)
            return Program(self._kernel.prog_load(attr, log), spec, log.text)
        except OSError as error:
            if error.errno == errno.EPERM and self._get_token():
                attr.token_fd = self.token_fd
                return self._hand_over(attr, spec, linked, poisoned)
            if error.errno == errno.EINVAL and attr.attach_type and spec.section_flags & _TYPE_OPTIONAL:
                from probee.kernel.features import have

                if not have("expected_attach_type"):
                    attr.attach_type = 0
                    return self._hand_over(attr, spec, linked, poisoned)
            from probee.kernel.rejection import retry

            fd, text = retry(attr, error, self.spec, linked, poisoned, self.collection.btf_error)
            return Program(fd, spec, text)

    def _aim(self, attr: ProgAttr, spec: ProgramSpec) -> None:
        """Set what depends on the target: its BTF, or the newest way to attach to it."""
        if spec.section_flags & _ATTACH_BTF:
            from probee.kernel.targets import aim

            aim(attr, spec, self.target, self.modules())
        elif spec.section_flags & _USDT:
            from probee.kernel.features import have

            if have("uprobe_multi"):
                attr.attach_type = spec.attach_type = _UPROBE_MULTI
        else:
            from probee.kernel.targets import module_of

            attr.attach_btf_obj_fd = module_of(spec, self.modules())

    def _prepare(self, spec: ProgramSpec) -> tuple[LinkedProgram, dict[int, str]]:
        """A program with all in place but the descriptors of maps; and what in it must not be reached."""
        linked = spec.link()
        poisoned = self._relocate_types(linked)
        if self.externs is not None:
            for index, kind, symbol, _ in linked.relocs:
                if kinds.KSYM <= kind <= kinds.KFUNC_ADDR:
                    why = self.externs.relocate(linked, index, kind, symbol)
                    if why:
                        poisoned[index] = why
        return linked, poisoned

    def _relocate_types(self, linked: LinkedProgram) -> dict[int, str]:
        """CO-RE. Returns the instructions that had to be poisoned, with what this kernel lacks."""
        poisoned: dict[int, str] = {}
        if not linked.core:
            return poisoned
        from probee.btf import core

        if self._relocator is None:
            if self.spec.btf is None:
                raise ObjectError(f"{self.spec.name} has CO-RE relocations but no BTF")
            if self.core_btf is not None:
                self._relocator = core.Relocator(self.spec.btf, self.core_btf)
            else:
                self._relocator = core.Relocator(
                    self.spec.btf, self.target(), lambda name: self.modules().btfs(name)
                )
        for reloc in linked.core:
            why = core.patch(linked.insns, reloc, self._relocator.resolve(reloc), linked.endian)
            if why:
                poisoned[reloc.insn_off // 8] = why
        return poisoned

    def _relocate_maps(self, linked: LinkedProgram, poisoned: dict[int, str]) -> list[Any]:
        """Put map descriptors into the instructions. Adds to `poisoned`; returns the jump tables made."""
        insns = linked.insns
        maps = self.collection.maps
        tables: list[Any] = []
        for index, kind, symbol, _ in linked.relocs:
            if kind in (kinds.MAP_FD, kinds.MAP_VALUE):
                live = maps.get(symbol)
                if live is None:
                    self._poison(insns, index, symbol)
                    poisoned[index] = f"map {symbol} was not created"
                    continue
                struct.pack_into("=i", insns, index * 8 + 4, live.fd)
                if self.collection.arena_offset and kind == kinds.MAP_VALUE and live.type == _ARENA:
                    (at,) = struct.unpack_from("=I", insns, index * 8 + 12)
                    struct.pack_into("=I", insns, index * 8 + 12, at + self.collection.arena_offset)
            elif kind == kinds.KCONFIG:
                struct.pack_into("=i", insns, index * 8 + 4, maps[".kconfig"].fd)
            elif kind == kinds.JUMP_TABLE:
                from probee.kernel.jump_tables import relocate

                relocate(linked, index, tables)
        return tables

    def _poison(self, insns: bytearray, index: int, name: str) -> None:
        """Make an instruction that refers to a map which is not there one that must not be reached."""
        number = _POISON_MAP + list(self.spec.maps).index(name)
        call = struct.pack("=BBhi", _CALL, 0, 0, number)
        insns[8 * index : 8 * index + 16] = call * 2
