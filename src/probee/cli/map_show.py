"""`probee map show`: the maps in the kernel."""

from __future__ import annotations

from typing import Any

from ..isa.tables import MAP_TYPES, name_of
from ..sys.details import MapDetails
from . import seek
from .grammar import Words
from .output import Output, size_text
from .owners import fdinfo
from .prog_show import Scene, type_name
from .seek import Handle
from .style import bold

HEADS = (">ID", "TYPE", "NAME", ">KEY", ">VALUE", ">ENTRIES", "?FLAGS", "?>MEMORY", "HELD BY", "PINNED")
# BPF_F_* of BPF_MAP_CREATE, linux/bpf.h
_FLAGS = (
    "no_prealloc",
    "no_common_lru",
    "numa_node",
    "rdonly",
    "wronly",
    "stack_build_id",
    "zero_seed",
    "rdonly_prog",
    "wronly_prog",
    "clone",
    "mmapable",
    "preserve_elems",
    "inner_map",
    "link",
    "path_fd",
    "vtype_btf_obj_fd",
    "token_fd",
    "segv_on_fault",
    "no_user_conv",
)


def map_type(number: int) -> str | int:
    """A map type as bpftool names it, the number if it is unknown."""
    return name_of(MAP_TYPES, number) or number


def flag_names(flags: int) -> str:
    """Flags of a map for people: `mmapable rdonly_prog`."""
    names = [name for bit, name in enumerate(_FLAGS) if flags >> bit & 1]
    rest = flags >> len(_FLAGS) << len(_FLAGS)
    return " ".join([*names, *([f"{rest:#x}"] if rest else [])])


def show(words: Words, output: Output) -> int:
    scene = Scene(output)
    if not words:
        found = [(describe(handle, scene), handle.map()) for _, handle in seek.each(seek.MAP)]
        if output.json:
            output.emit([facts for facts, _ in found])
        else:
            rows = [_row(facts, info, scene) for facts, info in found]
            output.table(HEADS, rows, empty="there are no maps")
        return 0
    handles = seek.maps(words, seek.READ_ONLY)
    try:
        words.end()
        found = [(describe(handle, scene), handle.map()) for handle in handles]
    finally:
        for handle in handles:
            handle.close()
    if output.json:
        output.emit([facts for facts, _ in found] if len(found) > 1 else found[0][0])
        return 0
    for n, (facts, info) in enumerate(found):
        if n:
            print()
        _print_one(facts, info, scene)
    return 0


def header(info: MapDetails) -> dict[str, Any]:
    """What names a map in bpftool's JSON."""
    facts: dict[str, Any] = {"id": info.id, "type": map_type(info.type)}
    if info.name:
        facts["name"] = info.name
    facts["flags"] = info.flags
    return facts


def describe(handle: Handle, scene: Scene) -> dict[str, Any]:
    """A map in bpftool's JSON."""
    info = handle.map()
    facts = header(info)
    facts["bytes_key"] = info.key_size
    facts["bytes_value"] = info.value_size
    facts["max_entries"] = info.max_entries
    known = fdinfo(f"/proc/self/fdinfo/{handle.fd}")
    if known.get("memlock", "").isdigit():
        facts["bytes_memlock"] = int(known["memlock"])
    if known.get("owner_prog_type", "").isdigit():
        facts["owner_prog_type"] = type_name(int(known["owner_prog_type"]))
    if known.get("owner_jited", "").isdigit():
        facts["owner_jited"] = known["owner_jited"] != "0"
    facts["frozen"] = int(known.get("frozen", "0") or 0)
    if info.btf_id:
        facts["btf_id"] = info.btf_id
    if scene.output.bpffs:
        facts["pinned"] = scene.pins.of(seek.MAP, info.id)
    owners = scene.owners.json(seek.MAP, info.id)
    if owners:
        facts["pids"] = owners
    return facts


def _row(facts: dict[str, Any], info: MapDetails, scene: Scene) -> tuple[Any, ...]:
    return (
        info.id,
        facts["type"],
        info.name,
        f"{info.key_size}B" if info.key_size else "",
        f"{info.value_size}B" if info.value_size else "",
        info.max_entries,
        " ".join(filter(None, (flag_names(info.flags), "frozen" if facts["frozen"] else ""))),
        size_text(facts["bytes_memlock"]) + "B" if "bytes_memlock" in facts else "",
        scene.owners.text(seek.MAP, info.id),
        " ".join(facts.get("pinned", ())),
    )


def _print_one(facts: dict[str, Any], info: MapDetails, scene: Scene) -> None:
    print(bold(f"map {info.id}  {info.name}".rstrip()))
    owner = ""
    if "owner_prog_type" in facts:
        jited = "JITed" if facts.get("owner_jited") else "not JITed"
        owner = f"for programs of type {facts['owner_prog_type']}, {jited}"
    scene.output.facts(
        (
            ("type", facts["type"]),
            ("key", typed_as(info, info.key_type_id, info.key_size)),
            ("value", typed_as(info, info.value_type_id, info.value_size)),
            ("entries", f"at most {info.max_entries}"),
            ("flags", f"{flag_names(info.flags)} ({info.flags:#x})" if info.flags else ""),
            ("frozen", "user space can't write it" if facts["frozen"] else ""),
            ("memory", size_text(facts["bytes_memlock"]) + "B" if "bytes_memlock" in facts else ""),
            ("programs", owner),
            ("btf", f"id {info.btf_id}" if info.btf_id else ""),
            ("pinned", ", ".join(scene.pins.of(seek.MAP, info.id))),
            ("held by", scene.owners.text(seek.MAP, info.id)),
        )
    )


def typed_as(info: MapDetails, type_id: int, size: int) -> str:
    """The C type and size of a key or value."""
    if not size:
        return ""
    if not info.btf_id or not type_id:
        return f"{size} bytes"
    from ..btf.c_source import c_type
    from ..errors import ProbeeError

    try:
        return f"{c_type(seek.btf_by_id(info.btf_id), type_id)}, {size} bytes"
    except (OSError, ProbeeError):
        return f"{size} bytes"
