"""`probee prog show`: loaded programs, what they are and who holds them."""

from __future__ import annotations

import time
from typing import Any

from ..btf.kinds import DATASEC
from ..errors import ObjectError, ProbeeError
from ..isa.tables import PROG_TYPES, name_of
from ..sys import kernel
from ..sys.details import ProgDetails
from . import seek, typed
from .grammar import Words
from .output import Output, duration_text, size_text
from .owners import Owners, Pins, fdinfo
from .seek import Handle

_METADATA = "bpf_metadata_"
HEADS = (
    ">ID",
    "TYPE",
    "NAME",
    "?TAG",
    "?LOADED",
    "?>RUNS",
    "?>PER RUN",
    "?>SIZE",
    "MAPS",
    "HELD BY",
    "PINNED",
)


class Scene:
    """What is looked up once for all objects of a command."""

    def __init__(self, output: Output) -> None:
        self.owners = Owners()
        self.pins = Pins()
        self.output = output
        self.maps: dict[int, str] = {}

    def map_name(self, id: int) -> str:
        """A map's name, or its id if it has none."""
        if id not in self.maps:
            try:
                with seek.open_id(seek.MAP, id, seek.READ_ONLY) as handle:
                    self.maps[id] = handle.map().name or str(id)
            except ProbeeError:
                self.maps[id] = str(id)
        return self.maps[id]


def show(words: Words, output: Output) -> int:
    scene = Scene(output)
    if not words:
        found = [(describe(handle, scene), handle.program()) for _, handle in seek.each(seek.PROGRAM)]
        if output.json:
            output.emit([facts for facts, _ in found])
        else:
            rows = [_row(facts, info, scene) for facts, info in found]
            output.table(HEADS, rows, empty="no programs are loaded")
        return 0
    handles = seek.programs(words)
    try:
        words.end()
        found = [(describe(handle, scene), handle.program()) for handle in handles]
    finally:
        for handle in handles:
            handle.close()
    if output.json:
        facts = [one for one, _ in found]
        output.emit(facts if len(facts) > 1 else facts[0])
        return 0
    for n, (one, info) in enumerate(found):
        if n:
            print()
        _print_one(one, info, scene)
    return 0


def type_name(number: int) -> str | int:
    """A program type as bpftool names it, the number if it is unknown."""
    return name_of(PROG_TYPES, number) or number


def boot_seconds(ns: int) -> int:
    """The moment `ns` nanoseconds after boot, in seconds since 1970."""
    return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME) + ns) // 1_000_000_000


def describe(handle: Handle, scene: Scene) -> dict[str, Any]:
    """A program in bpftool's JSON."""
    info = handle.program("map_ids")
    facts: dict[str, Any] = {"id": info.id, "type": type_name(info.type)}
    name = seek.prog_name(handle, info)
    if name:
        facts["name"] = name
    facts["tag"] = info.tag
    facts["gpl_compatible"] = info.gpl
    if info.run_time_ns:
        facts["run_time_ns"] = info.run_time_ns
        facts["run_cnt"] = info.run_count
    if info.recursion_misses:
        facts["recursion_misses"] = info.recursion_misses
    if info.load_time_ns:
        facts["loaded_at"] = boot_seconds(info.load_time_ns)
        facts["uid"] = info.uid
    facts["orphaned"] = False
    facts["bytes_xlated"] = info.xlated_size
    facts["jited"] = bool(info.jited_size)
    if info.jited_size:
        facts["bytes_jited"] = info.jited_size
    memlock = fdinfo(f"/proc/self/fdinfo/{handle.fd}").get("memlock", "")
    if memlock.isdigit():
        facts["bytes_memlock"] = int(memlock)
    if info.map_ids:
        facts["map_ids"] = info.map_ids
    if info.btf_id:
        facts["btf_id"] = info.btf_id
    metadata = _metadata(info)
    if metadata:
        facts["metadata"] = metadata
    if scene.output.bpffs:
        facts["pinned"] = scene.pins.of(seek.PROGRAM, info.id)
    owners = scene.owners.json(seek.PROGRAM, info.id)
    if owners:
        facts["pids"] = owners
    return facts


def _metadata(info: ProgDetails) -> dict[str, Any]:
    """Read-only variables called `bpf_metadata_…`: what a program's author says of it."""
    found: dict[str, Any] = {}
    for id in info.map_ids:
        try:
            with seek.open_id(seek.MAP, id, seek.READ_ONLY) as handle:
                table = handle.map()
                if not table.value_type_id or not table.name.endswith(".rodata") or table.max_entries != 1:
                    continue
                btf = seek.btf_by_id(table.btf_id)
                section = btf.type(table.value_type_id)
                if section.kind != DATASEC:
                    continue
                named = [(btf.type(var), offset) for var, offset, _ in section.vars]
                named = [(var, offset) for var, offset in named if var.name.startswith(_METADATA)]
                if not named:
                    continue
                raw = kernel().map_lookup(handle.fd, bytes(4), table.value_size) or b""
            for var, offset in named:
                found[var.name.removeprefix(_METADATA)] = typed.to_json(btf, var.type, raw[offset:])
        except (OSError, ObjectError, ProbeeError):
            continue  # a courtesy: what can't be read is left out
    return found


# ---- for people


def ago(seconds: float) -> str:
    """How long ago a moment was: `12s`, `3m`, `5h`, `2d`."""
    passed = max(0, int(time.time() - seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if passed >= size:
            return f"{passed // size}{unit} ago"
    return f"{passed}s ago"


def _size(info: ProgDetails) -> str:
    insns = f"{info.xlated_size // 8} insns"
    return f"{insns}, {size_text(info.jited_size)}B" if info.jited_size else f"{insns}, not JITed"


def _row(facts: dict[str, Any], info: ProgDetails, scene: Scene) -> tuple[Any, ...]:
    return (
        info.id,
        facts["type"],
        facts.get("name"),
        info.tag,
        ago(facts["loaded_at"]) if "loaded_at" in facts else "",
        info.run_count or "",
        duration_text(info.run_time_ns / info.run_count) if info.run_count else "",
        _size(info),
        " ".join(scene.map_name(id) for id in facts.get("map_ids", ())),
        scene.owners.text(seek.PROGRAM, info.id),
        " ".join(facts.get("pinned", ())),
    )


def _print_one(facts: dict[str, Any], info: ProgDetails, scene: Scene) -> None:
    from .style import bold

    print(bold(f"program {info.id}  {facts.get('name', '')}".rstrip()))
    loaded = ""
    if "loaded_at" in facts:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["loaded_at"]))
        loaded = f"{when} ({ago(facts['loaded_at'])}) by uid {info.uid}"
    runs = ""
    if info.run_count:
        each = duration_text(info.run_time_ns / info.run_count)
        runs = f"{info.run_count} ({each} each, {duration_text(info.run_time_ns)} in all)"
    maps = ", ".join(f"{scene.map_name(id)} (id {id})" for id in facts.get("map_ids", ()))
    scene.output.facts(
        (
            ("type", facts["type"]),
            ("tag", info.tag),
            ("loaded", loaded),
            ("licence", "GPL-compatible" if info.gpl else "not GPL-compatible"),
            ("size", _size(info)),
            ("verified", f"{info.verified_insns} instructions" if info.verified_insns else ""),
            ("memory", size_text(facts["bytes_memlock"]) + "B" if "bytes_memlock" in facts else ""),
            ("runs", runs),
            ("missed", f"{info.recursion_misses} runs, for recursion" if info.recursion_misses else ""),
            ("maps", maps),
            ("btf", f"id {info.btf_id}" if info.btf_id else ""),
            ("metadata", ", ".join(f"{k}={typed.text(v)}" for k, v in facts.get("metadata", {}).items())),
            ("pinned", ", ".join(scene.pins.of(seek.PROGRAM, info.id))),
            ("held by", scene.owners.text(seek.PROGRAM, info.id)),
        )
    )
