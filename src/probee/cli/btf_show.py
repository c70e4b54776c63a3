"""`probee btf show`: the BTF objects in the kernel, and who uses them."""

from __future__ import annotations

from typing import Any

from ..sys import kernel
from ..sys.details import BtfDetails, btf_details
from . import seek
from .grammar import Words
from .output import Output, size_text
from .prog_show import Scene
from .style import bold


class _Users:
    """Programs and maps by the id of their BTF."""

    def __init__(self) -> None:
        self.programs: dict[int, list[int]] = {}
        self.maps: dict[int, list[int]] = {}
        for id, handle in seek.each(seek.PROGRAM):
            btf_id = handle.program().btf_id
            if btf_id:
                self.programs.setdefault(btf_id, []).append(id)
        for id, handle in seek.each(seek.MAP):
            btf_id = handle.map().btf_id
            if btf_id:
                self.maps.setdefault(btf_id, []).append(id)


def show(words: Words, output: Output) -> int:
    scene = Scene(output)
    if words:
        words.one_of("id")
        id = words.number("ID")
        words.end()
        with seek.open_id(seek.BTF, id) as handle:
            info = btf_details(kernel(), handle.fd)
        facts = _describe(info, _Users(), scene)
        if output.json:
            output.emit(facts)
        else:
            _print_one(facts, scene)
        return 0
    users = _Users()
    found = []
    for _, handle in seek.each(seek.BTF):
        found.append(_describe(btf_details(kernel(), handle.fd), users, scene))
    if output.json:
        output.emit(found)
    else:
        heads = (">ID", "NAME", ">SIZE", "PROGRAMS", "MAPS", "HELD BY")
        output.table(heads, [_row(facts, scene) for facts in found], empty="there is no BTF")
    return 0


def _describe(info: BtfDetails, users: _Users, scene: Scene) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": info.id,
        "size": info.size,
        "prog_ids": users.programs.get(info.id, []),
        "map_ids": users.maps.get(info.id, []),
    }
    owners = scene.owners.json(seek.BTF, info.id)
    if owners:
        facts["pids"] = owners
    facts["kernel"] = info.kernel
    if info.name:
        facts["name"] = info.name
    return facts


def _row(facts: dict[str, Any], scene: Scene) -> tuple[Any, ...]:
    return (
        facts["id"],
        _name(facts),
        size_text(facts["size"]) + "B",
        " ".join(map(str, facts["prog_ids"])),
        " ".join(scene.map_name(id) for id in facts["map_ids"]),
        scene.owners.text(seek.BTF, facts["id"]),
    )


def _name(facts: dict[str, Any]) -> str:
    name = facts.get("name", "")
    return f"[{name}]" if facts["kernel"] else name


def _print_one(facts: dict[str, Any], scene: Scene) -> None:
    print(bold(f"BTF {facts['id']}  {_name(facts)}".rstrip()))
    scene.output.facts(
        (
            ("size", f"{size_text(facts['size'])}B"),
            ("programs", ", ".join(map(str, facts["prog_ids"]))),
            ("maps", ", ".join(f"{scene.map_name(id)} (id {id})" for id in facts["map_ids"])),
            ("held by", scene.owners.text(seek.BTF, facts["id"])),
        )
    )
