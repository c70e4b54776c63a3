"""Special fields of map values and allocated objects: locks, timers, kernel pointers, lists, trees."""

from __future__ import annotations

from probee.btf.kinds import ARRAY, DATASEC, DECL_TAG, MODIFIERS, PTR, STRUCT, TYPE_TAG, VAR
from probee.verifier.older_rules import has_field, kptr_kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf import Btf

_STRUCTS = {
    "bpf_spin_lock": ("spin_lock", 4),
    "bpf_res_spin_lock": ("res_spin_lock", 4),
    "bpf_timer": ("timer", 16),
    "bpf_wq": ("wq", 16),
    "bpf_task_work": ("task_work", 8),
    "bpf_list_head": ("list_head", 16),
    "bpf_list_node": ("list_node", 24),
    "bpf_rb_root": ("rb_root", 16),
    "bpf_rb_node": ("rb_node", 32),
    "bpf_refcount": ("refcount", 4),
}
_KPTRS = ("kptr_untrusted", "kptr", "kptr_ref", "percpu_kptr", "uptr")


class Field:
    """A special field: `kind` ("spin_lock", "kptr_ref", "rb_root" …), where it is, and for pointers and
    roots what type
    they hold: `btf_id` of `btf` (and `node_offset` of the node in it)."""

    __slots__ = ("btf", "btf_id", "kind", "node", "node_offset", "offset", "size", "tag", "type_name")

    def __init__(self, kind: str, offset: int, size: int) -> None:
        self.kind = kind
        self.offset = offset
        self.size = size
        self.btf: Btf | None = None
        self.btf_id = 0
        self.type_name = ""
        self.tag = ""
        self.node = ""
        self.node_offset = 0


class Record:
    """The special fields of one type, by offset."""

    __slots__ = ("fields",)

    def __init__(self, fields: list[Field]) -> None:
        self.fields = sorted(fields, key=lambda field: field.offset)

    def at(self, offset: int, *kinds: str) -> Field | None:
        """The field that begins at `offset`, if its kind begins with one of `kinds`."""
        for field in self.fields:
            if field.offset == offset and field.kind.startswith(kinds):
                return field
        return None

    def has(self, *kinds: str) -> bool:
        return any(field.kind in kinds for field in self.fields)

    def find(self, kind: str) -> Field | None:
        for field in self.fields:
            if field.kind == kind:
                return field
        return None


NOTHING = Record([])


def skip(btf: Btf, id: int) -> int:
    """The type behind typedefs and qualifiers."""
    for _ in range(64):
        type = btf.type(id)
        if type.kind not in MODIFIERS:
            break
        id = type.type
    return id


_NEWEST = (1 << 16,)


def record_of(btf: Btf | None, id: int, version: tuple[int, ...] = _NEWEST) -> Record:
    """The special fields that type `id` has for a version of Linux, those of nested structs and short arrays
    included.
    """
    if btf is None or not id:
        return NOTHING
    found: list[Field] = []
    _collect(btf, skip(btf, id), 0, found, 0)
    kept = []
    for field in found:
        if field.tag:
            field.kind = kptr_kind(version, field.tag)
        if field.kind and has_field(version, field.kind):
            kept.append(field)
    return Record(kept) if kept else NOTHING


def _collect(btf: Btf, id: int, base: int, found: list[Field], depth: int) -> None:
    type = btf.type(id)
    if type.kind == DATASEC:
        for var_id, offset, _size in type.vars:
            variable = btf.type(var_id)
            if variable.kind == VAR:
                _member(btf, id, -1, variable.type, base + offset, found, depth)
        return
    if type.kind != STRUCT or depth > 4:
        return
    for number, member in enumerate(type.members):
        if member.bit_offset % 8 == 0:
            _member(btf, id, number, member.type, base + member.bit_offset // 8, found, depth)


def _member(btf: Btf, owner: int, number: int, id: int, offset: int, found: list[Field], depth: int) -> None:
    inner_id = skip(btf, id)
    inner = btf.type(inner_id)
    count, size = 1, 0
    if inner.kind == ARRAY:
        count, id = inner.array[2], inner.array[0]
        inner_id = skip(btf, id)
        inner = btf.type(inner_id)
    if inner.kind == STRUCT:
        known = _STRUCTS.get(inner.name)
        if known is None:
            for at in range(min(count, 16)):
                _collect(btf, inner_id, offset + at * inner.size, found, depth + 1)
            return
        kind, size = known
        for at in range(count):
            field = Field(kind, offset + at * size, size)
            if kind in ("list_head", "rb_root"):
                _root(btf, owner, number, field)
            found.append(field)
    elif inner.kind == PTR:
        tagged = btf.type(inner.type)
        if tagged.kind != TYPE_TAG or tagged.name not in _KPTRS:
            return
        target = skip(btf, inner.type)
        for at in range(count):
            field = Field("", offset + at * 8, 8)
            field.tag = tagged.name
            field.btf, field.btf_id, field.type_name = btf, target, btf.type(target).name
            found.append(field)


def _root(btf: Btf, owner: int, number: int, field: Field) -> None:
    """What a list or tree holds is told by the tag `contains:TYPE:MEMBER` on it."""
    for tag in btf.own_types(DECL_TAG):
        text = tag.name
        if tag.type != owner or tag.component_idx != number or not text.startswith("contains:"):
            continue
        _, name, node = text.split(":", 2)
        id = btf.find(name, STRUCT)
        if id is None:
            continue
        field.btf, field.btf_id, field.type_name, field.node = btf, id, name, node
        for member in btf.type(id).members:
            if member.name == node:
                field.node_offset = member.bit_offset // 8
