"""Members of map values and of allocated objects that are no plain bytes: locks, timers, kptrs, list heads…

The kernel keeps them where they are when a value is written as a whole, and shows zeros in their place to
user space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...btf.kinds import ARRAY, COMPOSITES, DECL_TAG, PTR, TYPE_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...btf import Btf

SPIN_LOCK, RES_SPIN_LOCK, TIMER, WORKQUEUE, TASK_WORK = (
    "spin_lock",
    "res_spin_lock",
    "timer",
    "wq",
    "task_work",
)
KPTR, PERCPU_KPTR, UPTR = "kptr", "percpu_kptr", "uptr"
LIST_HEAD, LIST_NODE, RB_ROOT, RB_NODE, REFCOUNT = "list_head", "list_node", "rb_root", "rb_node", "refcount"

_STRUCTS = {
    "bpf_spin_lock": (SPIN_LOCK, 4),
    "bpf_res_spin_lock": (RES_SPIN_LOCK, 4),
    "bpf_timer": (TIMER, 16),
    "bpf_wq": (WORKQUEUE, 16),
    "bpf_task_work": (TASK_WORK, 8),
    "bpf_list_head": (LIST_HEAD, 16),
    "bpf_list_node": (LIST_NODE, 24),
    "bpf_rb_root": (RB_ROOT, 16),
    "bpf_rb_node": (RB_NODE, 32),
    "bpf_refcount": (REFCOUNT, 4),
}
_TAGS = {"kptr": KPTR, "kptr_untrusted": KPTR, "percpu_kptr": PERCPU_KPTR, "uptr": UPTR}
_DEEPEST = 8


class Field:
    """`offset` and `size` in bytes; `target` is the type id a kptr points to, or of what a list or tree
    holds, and then `node` is the offset of the node in it."""

    __slots__ = ("kind", "node", "offset", "size", "target")

    def __init__(self, kind: str, offset: int, size: int, target: int = 0, node: int = 0) -> None:
        self.kind = kind
        self.offset = offset
        self.size = size
        self.target = target
        self.node = node

    def __repr__(self) -> str:
        return f"Field({self.kind!r}, {self.offset}, {self.size})"


class Fields:
    """The special members of one type, by offset, and copying around them."""

    __slots__ = ("all", "by_offset", "plain", "size")

    def __init__(self, size: int, found: list[Field]) -> None:
        self.size = size
        self.all = sorted(found, key=lambda field: field.offset)
        self.by_offset = {field.offset: field for field in self.all}
        self.plain: list[tuple[int, int]] = []  # the bytes between them
        at = 0
        for field in self.all:
            if field.offset > at:
                self.plain.append((at, field.offset))
            at = max(at, field.offset + field.size)
        if at < size:
            self.plain.append((at, size))

    def __bool__(self) -> bool:
        return bool(self.all)

    def find(self, *kinds: str) -> Field | None:
        """The first member of one of some kinds."""
        return next((field for field in self.all if field.kind in kinds), None)

    def copy(self, target: memoryview, value: bytes) -> None:
        """Write a value around the special members."""
        for start, end in self.plain:
            target[start:end] = value[start:end]

    def shown(self, value: bytes) -> bytes:
        """What user space sees: zeros for the special members."""
        out = bytearray(self.size)
        for start, end in self.plain:
            out[start:end] = value[start:end]
        return bytes(out)


def fields_of(btf: Btf | None, type_id: int, size: int) -> Fields:
    """The special members of a type; none without BTF."""
    if btf is None or not type_id:
        return Fields(size, [])
    return Fields(size, list(_walk(btf, type_id, 0, 0)))


def _walk(btf: Btf, type_id: int, base: int, depth: int) -> Iterator[Field]:
    if depth > _DEEPEST:
        return
    stripped = btf.strip(type_id)
    found = btf.type(stripped) if stripped else None
    if found is None:
        return
    if found.kind in COMPOSITES:
        known = _STRUCTS.get(found.name)
        if known:
            yield Field(known[0], base, known[1])
            return
        for index, member in enumerate(found.members):
            if member.bit_size or member.bit_offset % 8:
                continue
            for field in _walk(btf, member.type, base + member.bit_offset // 8, depth + 1):
                if field.kind in (LIST_HEAD, RB_ROOT) and not field.target:
                    field.target, field.node = _contains(btf, found.id, index)
                yield field
    elif found.kind == ARRAY:
        element, _, count = found.array
        for n in range(count):
            items = list(_walk(btf, element, base + n * btf.size_of(element), depth + 1))
            if not items:
                return
            yield from items
    elif found.kind == PTR:
        tagged = btf.type(found.type) if found.type else None
        if tagged is not None and tagged.kind == TYPE_TAG and tagged.name in _TAGS:
            yield Field(_TAGS[tagged.name], base, 8, btf.strip(tagged.type))


def _contains(btf: Btf, struct: int, index: int) -> tuple[int, int]:
    """What the tag `contains:TYPE:MEMBER` of a list head or tree root says."""
    for tag in btf.own_types(DECL_TAG):
        if tag.type != struct or tag.component_idx != index or not tag.name.startswith("contains:"):
            continue
        _, name, node = tag.name.split(":", 2)
        target = btf.find(name, *COMPOSITES)
        if target is None:
            return 0, 0
        for member in btf.type(target).members:
            if member.name == node:
                return target, member.bit_offset // 8
    return 0, 0
