"""What other loaders take and libbpf does not: loose section names, and map definitions from before BTF.

Section names: old versions of libbpf went by the beginning of a name (`xdp_filter`, `socket1`,
`classifier/ingress`); iproute2 names sections as it likes (`prog`, `ingress`, and `ID/KEY` for a slot of a
program array); BCC puts the hook into the function's name (`kprobe__do_exit`).
"""

from __future__ import annotations

import struct

from probee.btf.kinds import PTR, STRUCT
from probee.errors import ObjectError
from probee.isa.sections import ATTACH_BTF, EXTRAS, SECTIONS
from probee.obj import elf as e_
from probee.obj.spec import MapSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.obj.elf import Elf, Section
    from probee.obj.spec import ObjectSpec

_NAMES = {
    "prog": "xdp",  # ip link set dev DEVICE xdp
    "ingress": "tc",
    "egress": "tc",
    "from-netdev": "tc",
    "to-netdev": "tc",
    "from-container": "tc",
    "to-container": "tc",
    "from-host": "tc",
    "to-host": "tc",
    "filter": "socket",
    "cgroup": "cgroup/skb",
    "cgroup_skb": "cgroup/skb",
    "cgroup_sock": "cgroup/sock",
    "cgroup_device": "cgroup/dev",
    "cgroup_sysctl": "cgroup/sysctl",
    "sock_ops": "sockops",
    "kretprobe.session": "kprobe.session",
    "kfunc": "fentry",  # bpftrace's and BCC's words
    "kretfunc": "fexit",
    "kfunc.vmlinux": "fentry",
}
_BCC = "__"  # between the words of a function's name
_BCC_SECTION = ".bpf.fn."
_BCC_KINDS = {
    "kprobe": "kprobe",
    "kretprobe": "kretprobe",
    "tracepoint": "tracepoint",
    "raw_tracepoint": "raw_tracepoint",
    "kfunc": "fentry",
    "kretfunc": "fexit",
    "syscall": "ksyscall",
    "lsm": "lsm",
    "bpf_iter": "iter",
}

# struct bpf_map_def: type, key_size, value_size, max_entries, map_flags. iproute2's struct bpf_elf_map goes
# on with id, pinning, inner_id, inner_idx.
_MAP_DEF = 20
_IPROUTE2 = 36
_PIN_GLOBAL = 2
_PROG_ARRAY = 3
_MAPS_OF_MAPS = (12, 13)


def loose(section: str) -> str:
    """The section name in libbpf's spelling that a name of another loader stands for, "" if none.

    >>> loose("xdp_filter"), loose("classifier/ingress"), loose("2/0x5")
    ('xdp', 'classifier', 'tc')
    """
    name, _, rest = section.partition("/")
    if section in _NAMES:
        return _NAMES[section]
    if name.isdecimal() and rest:
        return "tc"
    for key in sorted(SECTIONS, key=len, reverse=True):
        after = section[len(key) :]
        if not section.startswith(key) or not after or SECTIONS[key][2] & ATTACH_BTF:
            continue
        if not (after[0].isalpha() or after[0] == "."):
            return key
    kind = _NAMES.get(name, "")
    return f"{kind}/{rest}" if kind and SECTIONS[kind][2] & EXTRAS else kind


def by_function(name: str) -> str:
    """The section that a function's name means to BCC: `kprobe/do_exit` for `kprobe__do_exit`, or ""."""
    for start, kind in _BCC_KINDS.items():
        if name.startswith(start + _BCC):
            rest = name[len(start + _BCC) :]
            if start in ("kfunc", "kretfunc"):
                module, _, function = rest.partition(_BCC)
                rest = function if module == "vmlinux" else f"{module}:{function}" if function else module
            elif start == "tracepoint":
                rest = rest.replace(_BCC, "/", 1)
            return f"{kind}/{rest}"
    return ""


def name_kinds(spec: ObjectSpec) -> None:
    """Say what the programs are whose section name libbpf does not know."""
    for program in spec.programs.values():
        if program.section_kind:
            continue
        found = ""
        if program.section.startswith(_BCC_SECTION) or program.section == ".text":
            found = by_function(program.name)
        found = found or loose(program.section)
        if found:
            program.load_as(found)


def legacy_maps(spec: ObjectSpec, section: Section, elf: Elf) -> dict[int, str]:
    """Add the maps of a section `maps` to `spec`. Their names by offset in the section.

    Raises ObjectError if the section is no row of definitions.
    """
    places = sorted(
        (s.value, s.name)
        for s in elf.symbols
        if s.shndx == section.index and s.name and s.type != e_.STT_SECTION
    )
    if not places:
        raise ObjectError("section maps has no symbols that name its maps")
    size = len(section.data) // len(places)
    if size < _MAP_DEF or len(section.data) % len(places):
        raise ObjectError(f"section maps has {len(section.data)} bytes for {len(places)} maps")
    order = "<" if elf.endian == "little" else ">"
    names: dict[int, str] = {}
    ids: dict[int, str] = {}
    inner_ids: dict[str, int] = {}
    for offset, name in places:
        if offset + size > len(section.data) or name in spec.maps or offset in names:
            raise ObjectError(f"map {name} of section maps is beyond its end, or there twice")
        fields = struct.unpack_from(order + "5I", section.data, offset)
        made = MapSpec(
            name,
            map_type=fields[0],
            key_size=fields[1],
            value_size=fields[2],
            max_entries=fields[3],
            flags=fields[4],
        )
        more = bytes(section.data[offset + _MAP_DEF : offset + size])
        if size == _IPROUTE2:
            id, pinning, inner_id, _ = struct.unpack(order + "4I", more)
            made.pinning = int(pinning == _PIN_GLOBAL)
            if id:
                ids[id] = name
            if inner_id:
                inner_ids[name] = inner_id
        elif any(more):
            raise ObjectError(f"map {name} of section maps has fields that are not known here")
        _annotate(spec, made)
        spec.maps[name] = made
        names[offset] = name
    for name, inner_id in inner_ids.items():
        if spec.maps[name].map_type in _MAPS_OF_MAPS and inner_id in ids:
            spec.maps[name].inner = spec.maps[ids[inner_id]]
    _fill_by_section(spec, ids)
    return names


def _annotate(spec: ObjectSpec, made: MapSpec) -> None:
    """Key and value types of a map, from the struct `____btf_map_NAME` that was put beside it."""
    btf = spec.btf
    found = btf.find(f"____btf_map_{made.name}", STRUCT) if btf is not None else None
    if btf is None or found is None:
        return
    types = {m.name: m.type for m in btf.type(found).members}
    if {"key", "value"} <= set(types) and not any(btf.type(t).kind == PTR for t in types.values()):
        made.key_type_id, made.value_type_id = types["key"], types["value"]


def _fill_by_section(spec: ObjectSpec, ids: dict[int, str]) -> None:
    """Programs in a section `ID/KEY` are to be in slot KEY of the program array with that id."""
    for f in spec.functions:
        id, _, key = f.section.partition("/")
        if id.isdecimal() and int(id) in ids and spec.maps[ids[int(id)]].map_type == _PROG_ARRAY:
            try:
                slot = int(key, 0)
            except ValueError:
                continue
            spec.maps[ids[int(id)]].slots.append((slot, f.name))
