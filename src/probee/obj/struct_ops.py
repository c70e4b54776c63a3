"""struct_ops maps of an object: kernel structs of functions that BPF programs implement (Linux 5.6).

A variable in `.struct_ops` or `.struct_ops.link` is such a struct, as the object knows it; the kernel's own
layout is applied when it is loaded. `SEC("?.struct_ops")` variables are not created by themselves.
"""

from __future__ import annotations

from probee.btf.kinds import DATASEC, FUNC_PROTO, PTR, STRUCT, VAR
from probee.btf.parser import essential_name
from probee.errors import ObjectError
from probee.obj.spec import BPF_F_LINK, MapSpec, _show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from probee.btf.parser import Btf, BtfMember
    from probee.obj.elf import Section

STRUCT_OPS = 26  # enum bpf_map_type
SECTIONS = (".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link")


class StructOpsSpec:
    """The struct of a struct_ops map: plain members as `data`, functions as names of programs.

    `ops["flags"] = 1` sets a member before loading, `ops["init"] = "other_program"` a function; None leaves
    that one out. `declared` are the programs that the object names, which are loaded only for this map.
    """

    __slots__ = ("btf", "data", "declared", "link", "programs", "type_id")

    def __init__(self, btf: Btf, type_id: int, data: bytes, link: bool) -> None:
        self.btf = btf
        self.type_id = type_id
        self.data = bytearray(data)
        self.link = link
        self.programs: dict[str, str] = {}
        self.declared: dict[str, str] = {}

    @property
    def type_name(self) -> str:
        """The kernel struct's name, without the object's flavour."""
        return essential_name(self.btf.type(self.type_id).name)

    def members(self) -> Iterator[tuple[BtfMember, bool]]:
        """The struct's members, and whether each is a function."""
        for member in self.btf.type(self.type_id).members:
            yield member, is_function(self.btf, member.type)

    def _member(self, name: str) -> tuple[BtfMember, bool]:
        for member, function in self.members():
            if member.name == name:
                return member, function
        raise KeyError(name)

    def __getitem__(self, name: str) -> Any:
        member, function = self._member(name)
        if function:
            return self.programs.get(name)
        from probee.btf.values import Codecs

        return Codecs(self.btf).get(member.type).unpack(memoryview(self.data), member.bit_offset // 8)

    def __setitem__(self, name: str, value: Any) -> None:
        member, function = self._member(name)
        if function:
            if value is None:
                self.programs.pop(name, None)
            else:
                self.programs[name] = str(value)
            return
        from probee.btf.values import Codecs

        raw = Codecs(self.btf).get(member.type).pack(value)
        self.data[member.bit_offset // 8 : member.bit_offset // 8 + len(raw)] = raw

    def __iter__(self) -> Iterator[str]:
        return iter([member.name for member, _ in self.members()])

    def __repr__(self) -> str:
        return _show(self, "type_name", "programs", "link")


def is_function(btf: Btf, type_id: int) -> bool:
    """Whether a member's type is a pointer to a function."""
    pointer = btf.type(btf.strip(type_id))
    return pointer.kind == PTR and btf.type(btf.strip(pointer.type)).kind == FUNC_PROTO


def maps_of(btf: Btf | None, section: Section) -> list[tuple[int, MapSpec]]:
    """The maps of a section of struct_ops variables, each with its offset in the section."""
    datasec = btf.find(section.name, DATASEC) if btf is not None else None
    if btf is None or datasec is None:
        raise ObjectError(f"section {section.name} has no BTF: compile with -g")
    made = []
    for var_id, offset, _ in btf.type(datasec).vars:
        var = btf.type(var_id)
        if var.kind != VAR:
            raise ObjectError(f"broken BTF: section {section.name} holds a {var.kind_name}")
        type_id = btf.strip(var.type)
        t = btf.type(type_id)
        if t.kind != STRUCT or not t.name:
            raise ObjectError(f"struct_ops variable {var.name} is no struct with a name")
        if offset + t.size > len(section.data):
            raise ObjectError(f"variable {var.name} reaches beyond section {section.name}")
        link = section.name.endswith(".link")
        spec = MapSpec(
            var.name,
            map_type=STRUCT_OPS,
            key_size=4,
            value_size=t.size,
            max_entries=1,
            flags=BPF_F_LINK if link else 0,
        )
        spec.autocreate = not section.name.startswith("?")
        spec.struct_ops = StructOpsSpec(btf, type_id, bytes(section.data[offset : offset + t.size]), link)
        made.append((offset, spec))
    return made


def set_program(spec: MapSpec, offset: int, program: str) -> None:
    """Note that the function at `offset` of the map's struct is `program`, as a relocation says."""
    ops = spec.struct_ops
    assert ops is not None
    for member, function in ops.members():
        if member.bit_offset == 8 * offset:
            if not function:
                raise ObjectError(f"struct_ops map {spec.name}: its member {member.name} is no function")
            ops.programs[member.name] = ops.declared[member.name] = program
            ops.data[offset : offset + 8] = bytes(8)
            return
    raise ObjectError(f"struct_ops map {spec.name} has no member at byte {offset}")
