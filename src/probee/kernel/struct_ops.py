"""struct_ops maps in the layout of the running kernel (Linux 5.6; of modules 6.9).

The kernel wraps `struct tcp_congestion_ops` into `struct bpf_struct_ops_tcp_congestion_ops`; what is written
to the map is the latter, with descriptors of programs where functions are. Members go by name, so an object
may know fewer or others than the kernel: those that the kernel lacks must be zero.
"""

from __future__ import annotations

import struct

from probee.btf.kinds import FUNC_PROTO, PTR, STRUCT
from probee.errors import LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from probee.btf.parser import Btf, BtfMember, BtfType
    from probee.kernel.links.base import Link
    from probee.kernel.modules import Module, Modules
    from probee.kernel.program import Program
    from probee.obj.spec import MapSpec, ObjectSpec
    from probee.sys.bpf import ProgAttr

_WRAPPER = "bpf_struct_ops_"
_STRUCT_OPS = 27  # enum bpf_prog_type


class StructOps:
    """A struct_ops map of an object. `map` is the live map, `value` what registering writes into it.

    `link` is whether it is attached by a link (`SEC(".struct_ops.link")`, Linux 6.4); others are registered
    by writing the map, and unregistered by deleting from it.
    """

    __slots__ = ("link", "map", "name", "type_name", "value")

    def __init__(self, name: str, type_name: str, link: bool, map: Any, value: bytes) -> None:
        self.name = name
        self.type_name = type_name
        self.link = link
        self.map = map
        self.value = value

    def __repr__(self) -> str:
        return f"<struct_ops {self.name} ({self.type_name})>"

    def attach(self) -> Link:
        """Give the kernel the functions. Raises AttachError if it refuses them."""
        from probee.kernel.links.struct_ops import attach_struct_ops

        return attach_struct_ops(self)


class _Layout:
    """A struct_ops map as the kernel wants it: `functions` are the places of the programs, by their names."""

    __slots__ = ("functions", "module", "spec", "value", "value_type_id")

    def __init__(self, spec: MapSpec, size: int, value_type_id: int, module: Module | None) -> None:
        self.spec = spec
        self.value = bytearray(size)
        self.value_type_id = value_type_id
        self.module = module
        self.functions: list[tuple[int, str]] = []


class StructOpsMaps:
    """What loading an object with struct_ops maps needs to know.

    `programs` are those that members name: which struct of the kernel (id, module), and which of its members.
    """

    __slots__ = ("_modules", "_target", "layouts", "obj", "programs")

    def __init__(self, obj: ObjectSpec, target: Callable[[], Btf], modules: Modules) -> None:
        """Raises LoadError where the kernel and the object do not fit together."""
        self.obj = obj
        self._target = target
        self._modules = modules
        self.layouts: dict[str, _Layout] = {}
        self.programs: dict[str, tuple[int, Module | None, int]] = {}
        for spec in obj.maps.values():
            if spec.struct_ops is not None and spec.autocreate:
                self.layouts[spec.name] = self._lay_out(spec)

    def autoload(self, name: str) -> bool | None:
        """Whether a program is to be loaded for these maps; None if no map of the object names it."""
        if name in self.programs:
            return True
        for spec in self.obj.maps.values():
            ops = spec.struct_ops
            if ops is not None and (name in ops.declared.values() or name in ops.programs.values()):
                return False
        return None

    def _lay_out(self, spec: MapSpec) -> _Layout:
        ops = spec.struct_ops
        assert ops is not None
        name = ops.type_name
        btf, module = self._target(), None
        value_type_id = btf.find(_WRAPPER + name, STRUCT)
        if value_type_id is None:
            beyond = self._modules.find(_WRAPPER + name, STRUCT)
            if beyond is None:
                raise LoadError(f"struct_ops map {spec.name}: this kernel has no struct_ops {name}")
            module, value_type_id = beyond
            btf = module.btf
        wrapper = btf.type(value_type_id)
        type_id = btf.find(name, STRUCT)
        inside = next((m for m in wrapper.members if m.type == type_id), None)
        if type_id is None or inside is None:
            raise LoadError(f"struct_ops map {spec.name}: broken struct {wrapper.name} in the kernel's BTF")
        layout = _Layout(spec, wrapper.size, value_type_id, module)
        theirs = {m.name: (i, m) for i, m in enumerate(btf.type(type_id).members)}
        start = inside.bit_offset // 8
        for member, function in ops.members():
            match = theirs.get(member.name)
            if function:
                program = ops.programs.get(member.name)
                if program is None:
                    continue
                if match is None:
                    raise LoadError(
                        f"struct_ops map {spec.name}: this kernel has no function {member.name} in {name};"
                        " set it to None to do without"
                    )
                self._check_function(spec, member, btf, match[1])
                self._claim(spec, member, program, (type_id, module, match[0]))
                layout.functions.append((start + match[1].bit_offset // 8, program))
            else:
                self._copy(layout, member, btf, match[1] if match else None, start)
        return layout

    def _check_function(self, spec: MapSpec, member: BtfMember, btf: Btf, theirs: BtfMember) -> None:
        pointer = btf.type(btf.strip(theirs.type))
        if pointer.kind != PTR or btf.type(btf.strip(pointer.type)).kind != FUNC_PROTO:
            raise LoadError(f"struct_ops map {spec.name}: member {member.name} is no function in this kernel")

    def _claim(
        self, spec: MapSpec, member: BtfMember, program: str, wanted: tuple[int, Module | None, int]
    ) -> None:
        """Note what a program is for. One program may serve several maps, but only as the same member."""
        known = self.obj.programs.get(program)
        if known is None or known.prog_type != _STRUCT_OPS:
            raise LoadError(
                f"struct_ops map {spec.name}: member {member.name} is {program}, no struct_ops program"
            )
        if self.programs.setdefault(program, wanted) != wanted:
            raise LoadError(
                f"struct_ops map {spec.name}: program {program} is member {member.name} here and another "
                "elsewhere; a program can be but one"
            )

    def _copy(
        self, layout: _Layout, member: BtfMember, btf: Btf, theirs: BtfMember | None, start: int
    ) -> None:
        """Copy the value of a plain member."""
        spec = layout.spec
        ops = spec.struct_ops
        assert ops is not None
        offset = member.bit_offset // 8
        size = ops.btf.size_of(member.type)
        content = bytes(ops.data[offset : offset + size])
        if theirs is None:
            if any(content):
                raise LoadError(f"struct_ops map {spec.name}: this kernel has no member {member.name}")
            return
        mine: BtfType = ops.btf.type(ops.btf.strip(member.type))
        other: BtfType = btf.type(btf.strip(theirs.type))
        if member.bit_size or theirs.bit_size:
            raise LoadError(f"struct_ops map {spec.name}: bitfields as {member.name} can't be set")
        if mine.kind == PTR and other.kind == PTR:
            if any(content):
                raise LoadError(f"struct_ops map {spec.name}: the pointer {member.name} can't be set")
            return
        if mine.kind != other.kind or size != btf.size_of(theirs.type):
            raise LoadError(
                f"struct_ops map {spec.name}: member {member.name} has another type or size in this kernel"
            )
        to = start + theirs.bit_offset // 8
        layout.value[to : to + size] = content

    def aim(self, attr: ProgAttr, name: str) -> None:
        """Set what a struct_ops program is verified as. Raises LoadError if no map uses it."""
        if name not in self.programs:
            raise LoadError(f"struct_ops program {name} is in no struct_ops map that is created")
        attr.attach_btf_id, module, attr.attach_type = self.programs[name]
        attr.attach_btf_obj_fd = module.fd if module else 0

    def create(self, name: str, make: Callable[[MapSpec, dict[str, Any]], Any]) -> Any:
        """Create the map through `make`, in the kernel's size and with the kernel's type."""
        layout = self.layouts[name]
        spec = layout.spec.copy()
        spec.value_size = len(layout.value)
        spec.key_type_id = spec.value_type_id = 0
        options = {"vmlinux_value_type_id": layout.value_type_id}
        if layout.module is not None:
            options["value_type_btf_obj_fd"] = layout.module.fd
        return make(spec, options)

    def finish(self, maps: dict[str, Any], programs: dict[str, Program]) -> dict[str, StructOps]:
        """The maps with the descriptors of their programs in them, ready to be attached."""
        out = {}
        for name, layout in self.layouts.items():
            ops = layout.spec.struct_ops
            assert ops is not None
            for place, program in layout.functions:
                if program in programs:
                    struct.pack_into("=Q", layout.value, place, programs[program].fd)
            out[name] = StructOps(name, ops.type_name, ops.link, maps[name], bytes(layout.value))
        return out
