"""Map definitions of an object: the BTF-defined ones of `.maps`, and the data sections.

A map is a variable in `.maps` whose type is a struct; its members say what the map is. Numbers are encoded in
types, because the variable itself has no content: `int (*type)[27]` means `type = 27`. Source: libbpf's
convention as in its `bpf_helpers.h` (`__uint`, `__type`, `__array`, `__ulong`).
"""

from __future__ import annotations

from probee.btf.kinds import ARRAY, DATASEC, ENUM, ENUM64, FUNC_PROTO, PTR, STRUCT, UNION, VAR
from probee.errors import ObjectError
from probee.obj.spec import BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, GlobalSpec, MapSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf.parser import Btf, BtfType
    from probee.obj.elf import Section

_ARRAY, _PROG_ARRAY = 2, 3  # enum bpf_map_type
_MAPS_OF_MAPS = (12, 13)
_U32 = 1 << 32
_PIN_VALUES = (0, 1)  # LIBBPF_PIN_NONE, LIBBPF_PIN_BY_NAME
_NAME_LEN = 16  # BPF_OBJ_NAME_LEN, the NUL included

# Members whose value is a number, and the field of MapSpec they set.
_NUMBERS = {
    "type": "map_type",
    "max_entries": "max_entries",
    "map_flags": "flags",
    "numa_node": "numa_node",
    "key_size": "key_size",
    "value_size": "value_size",
    "map_extra": "map_extra",
    "pinning": "pinning",
}


def btf_maps(
    btf: Btf, section: Section
) -> tuple[dict[str, MapSpec], dict[int, str], dict[int, tuple[str, int]]]:
    """The maps of `.maps`: by name; their names by offset; and where their static slots are.

    The last is: offset in the section of the first slot -> (map, number of bytes of its slots).
    """
    maps: dict[str, MapSpec] = {}
    by_offset: dict[int, str] = {}
    slots: dict[int, tuple[str, int]] = {}
    datasec_id = btf.find(section.name, DATASEC)
    if datasec_id is None:
        raise ObjectError(f"section {section.name} has no BTF: compile with -g")
    for var_id, offset, size in btf.type(datasec_id).vars:
        var = btf.type(var_id)
        if var.kind != VAR:
            raise ObjectError(f"broken BTF: section {section.name} holds a {var.kind_name}")
        definition = btf.type(btf.strip(var.type))
        if definition.kind != STRUCT:
            raise ObjectError(f"map {var.name} is not a struct but a {definition.kind_name}")
        if offset + size > section.size or definition.size > size:
            raise ObjectError(f"map {var.name} reaches beyond section {section.name}")
        if var.name in maps:
            raise ObjectError(f"map {var.name} is defined twice")
        spec = MapSpec(var.name)
        at = _define(btf, spec, definition, inner=False)
        maps[var.name] = spec
        by_offset[offset] = var.name
        if at is not None:
            slots[offset + at] = (var.name, max(0, size - at))
    return maps, by_offset, slots


def _define(btf: Btf, spec: MapSpec, definition: BtfType, *, inner: bool) -> int | None:
    """Fill `spec` from the struct that defines the map; the offset of its static slots, if any."""
    slots_at = None
    for member in definition.members:
        field = _NUMBERS.get(member.name)
        if field is not None:
            number = _number(btf, spec.name, member.name, member.type)
            if field != "map_extra" and number >= _U32:
                raise ObjectError(f"map {spec.name}: {member.name} is {number}, which is no 32-bit number")
            if field in ("key_size", "value_size"):
                _set_size(spec, field, number)
            elif field == "pinning":
                if inner or number not in _PIN_VALUES:
                    raise ObjectError(f"map {spec.name}: pinning {number} is not possible")
                spec.pinning = number
            else:
                setattr(spec, field, number)
            if field == "map_type":
                spec.record_type_id = _record_type(btf, member.type)
        elif member.name in ("key", "value"):
            pointer = btf.type(member.type)
            if pointer.kind != PTR:
                raise ObjectError(f"map {spec.name}: {member.name} is not a pointer to a type")
            size = btf.size_of(pointer.type)
            if size >= _U32:
                raise ObjectError(f"map {spec.name}: {member.name} is {size} bytes long")
            _set_size(spec, f"{member.name}_size", size)
            setattr(spec, f"{member.name}_type_id", pointer.type)
        elif member.name == "values":
            slots_at = member.bit_offset // 8
            _define_values(btf, spec, member.type, inner)
        else:
            raise ObjectError(f"map {spec.name}: unknown member {member.name!r}")
    if not spec.map_type:
        raise ObjectError(f"map {spec.name} has no type")
    spec.mmapable = bool(spec.flags & BPF_F_MMAPABLE)
    return slots_at


def _set_size(spec: MapSpec, field: str, size: int) -> None:
    known = getattr(spec, field)
    if known and known != size:
        raise ObjectError(f"map {spec.name}: {field} is both {known} and {size}")
    setattr(spec, field, size)


def _number(btf: Btf, name: str, member: str, type_id: int) -> int:
    t = btf.type(btf.strip(type_id))
    if t.kind == PTR:
        array = btf.type(btf.strip(t.type))
        if array.kind == ARRAY:
            return array.array[2]
    elif t.kind in (ENUM, ENUM64) and t.vlen == 1:  # __ulong(name, value)
        return t.enumerators[0][1] & (1 << 64) - 1
    raise ObjectError(f"map {name}: {member} is not in the form of a number")


def _record_type(btf: Btf, type_id: int) -> int:
    """The struct in `struct Record (*type)[27]`, 0 for plain `int (*type)[27]`."""
    pointer = btf.type(btf.strip(type_id))
    if pointer.kind != PTR:
        return 0
    array = btf.type(btf.strip(pointer.type))
    if array.kind != ARRAY:
        return 0
    element = btf.strip(array.array[0])
    return element if btf.type(element).kind in (STRUCT, UNION) else 0


def _define_values(btf: Btf, spec: MapSpec, type_id: int, inner: bool) -> None:
    """`__array(values, …)`: what the maps inside look like, or that programs are stored statically."""
    array = btf.type(btf.strip(type_id))
    if array.kind != ARRAY or inner:
        raise ObjectError(f"map {spec.name}: values must be an array, and only of an outer map")
    element = btf.type(btf.strip(array.array[0]))
    if element.kind != PTR:
        raise ObjectError(f"map {spec.name}: values must be an array of pointers")
    pointed = btf.type(btf.strip(element.type))
    spec.value_size = spec.value_size or 4
    if spec.map_type == _PROG_ARRAY and pointed.kind == FUNC_PROTO:
        return
    if spec.map_type not in _MAPS_OF_MAPS or pointed.kind != STRUCT:
        raise ObjectError(f"map {spec.name}: values are for maps of maps and program arrays")
    spec.inner = MapSpec(f"{spec.name}.inner")
    _define(btf, spec.inner, pointed, inner=True)


def is_data(name: str) -> bool:
    """Whether a section of this name becomes a map."""
    return any(name == base or name.startswith(base + ".") for base in (".data", ".rodata", ".bss"))


def kernel_name(object_name: str, section: str) -> str:
    """What libbpf calls a data map: `<object>.rodata` in 15 characters; custom sections keep their name."""
    if "." in section[1:]:
        name = section
    else:
        suffix = section[: _NAME_LEN - 1]
        name = object_name[: _NAME_LEN - 1 - max(7, len(suffix))] + suffix
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)[: _NAME_LEN - 1]


def data_map(btf: Btf | None, section: Section, object_name: str) -> tuple[MapSpec, list[GlobalSpec]]:
    """The map of a data section and the variables in it (none without BTF)."""
    const = section.name == ".rodata" or section.name.startswith(".rodata.")
    flags = BPF_F_RDONLY_PROG if const else 0
    variables: list[GlobalSpec] = []
    datasec_id = btf.find(section.name, DATASEC) if btf is not None else None
    if btf is not None and datasec_id is not None:
        for var_id, offset, size in btf.type(datasec_id).vars:
            var = btf.type(var_id)
            if var.kind != VAR:
                raise ObjectError(f"broken BTF: section {section.name} holds a {var.kind_name}")
            if offset + size > section.size:
                raise ObjectError(f"variable {var.name} reaches beyond section {section.name}")
            if var.linkage:  # not static: user space may want to see it live
                flags |= BPF_F_MMAPABLE
            variables.append(GlobalSpec(var.name, section.name, offset, size, var.type, const))
    content = bytes(section.data) if len(section.data) else bytes(section.size)
    spec = MapSpec(
        section.name,
        map_type=_ARRAY,
        key_size=4,
        value_size=section.size,
        max_entries=1,
        flags=flags,
        value_type_id=datasec_id or 0,
        kernel_name=kernel_name(object_name, section.name),
        initial=content,
    )
    return spec, variables
