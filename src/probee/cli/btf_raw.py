"""BTF records as they are, in bpftool's text and JSON."""

from __future__ import annotations

from typing import Any

from ..btf import Btf, BtfType
from ..btf.kinds import (
    ARRAY,
    COMPOSITES,
    DATASEC,
    DECL_TAG,
    ENUM64,
    ENUMS,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    INT,
    VAR,
)

_ENCODINGS = {0: "(none)", 1: "SIGNED", 2: "CHAR", 4: "BOOL"}
_LINKAGES = {0: "static", 1: "global", 2: "extern"}


def _anon(name: str) -> str:
    return name or "(anon)"


def record(t: BtfType) -> dict[str, Any]:
    """A type as bpftool's JSON has it."""
    facts: dict[str, Any] = {"id": t.id, "kind": t.kind_name.upper(), "name": _anon(t.name)}
    kind = t.kind
    if kind == INT:
        facts["size"] = t.size
        facts["bits_offset"] = t.offset
        facts["nr_bits"] = t.bits
        facts["encoding"] = _ENCODINGS.get(t.encoding, "UNKN")
    elif kind == ARRAY:
        facts["type_id"], facts["index_type_id"], facts["nr_elems"] = t.array
    elif kind in COMPOSITES:
        facts["size"], facts["vlen"] = t.size, t.vlen
        facts["members"] = [_member(m.name, m.type, m.bit_offset, m.bit_size) for m in t.members]
    elif kind in ENUMS:
        facts["encoding"] = "SIGNED" if t.kflag else "UNSIGNED"
        facts["size"], facts["vlen"] = t.size, t.vlen
        facts["values"] = [{"name": _anon(name), "val": value} for name, value in t.enumerators]
    elif kind == FWD:
        facts["fwd_kind"] = "union" if t.kflag else "struct"
    elif kind in (FUNC, VAR):
        facts["type_id"] = t.type
        facts["linkage"] = _LINKAGES.get(t.linkage, "(unknown)")
    elif kind == FUNC_PROTO:
        facts["ret_type_id"], facts["vlen"] = t.type, t.vlen
        facts["params"] = [{"name": _anon(name), "type_id": id} for name, id in t.params]
    elif kind == DATASEC:
        facts["size"], facts["vlen"] = t.size, t.vlen
        facts["vars"] = [{"type_id": id, "offset": at, "size": size} for id, at, size in t.vars]
    elif kind == FLOAT:
        facts["size"] = t.size
    else:
        facts["type_id"] = t.type
        if kind == DECL_TAG:
            facts["component_idx"] = t.component_idx
    return facts


def _member(name: str, type_id: int, offset: int, bits: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": _anon(name), "type_id": type_id, "bits_offset": offset}
    if bits:
        facts["bitfield_size"] = bits
    return facts


def text(btf: Btf, t: BtfType) -> str:
    """A type as bpftool's text has it, one line and one more for each member."""
    facts = record(t)
    comma = "," if t.kind == VAR else ""
    head = f"[{facts.pop('id')}] {facts.pop('kind')} '{facts.pop('name')}' "
    plain = [f"{key}={value}" for key, value in facts.items() if not isinstance(value, list)]
    lines = [head + f"{comma} ".join(plain)]
    for items in facts.values():
        if isinstance(items, list):
            lines += [_item(btf, t, item) for item in items]
    return "\n".join(lines)


def _item(btf: Btf, t: BtfType, item: dict[str, Any]) -> str:
    name = item.pop("name", None)
    words = [f"'{name}'"] if name is not None else []
    words += [f"{key}={value}" for key, value in item.items()]
    if t.kind == ENUM64:
        words[-1] += "LL" if t.kflag else "ULL"
    if t.kind == DATASEC:
        variable = btf.type(item["type_id"])
        words.append(f"({variable.kind_name.upper()} '{_anon(variable.name)}')")
    return "\t" + " ".join(words)
