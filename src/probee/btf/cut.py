"""A cut of a kernel's BTF: some types as they are, and of all others no more than their names.

What a cut keeps is laid out as in the whole. A struct that kept ones only point to becomes a forward
declaration, unless it was asked for itself.
"""

from __future__ import annotations

from probee.btf.build import BtfBuilder
from probee.btf.kinds import (
    ARRAY,
    COMPOSITES,
    DATASEC,
    DECL_TAG,
    FUNC,
    FUNC_PROTO,
    FWD,
    MODIFIERS,
    PTR,
    TYPEDEF,
    UNION,
    VAR,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from probee.btf.parser import Btf, BtfType


def cut(btf: Btf, wanted: Iterable[int]) -> bytes:
    """The BTF of the types `wanted` (ids) and of what they hold. Raises ObjectError for broken BTF."""
    return _Cut(btf, wanted).write()


class _Cut:
    def __init__(self, btf: Btf, wanted: Iterable[int]) -> None:
        self._btf = btf
        self._kept: set[int] = set()
        self._named: set[int] = set()  # structs of which the name is enough
        self._follow(list(wanted), pointed=False)

    def _follow(self, ids: list[int], pointed: bool) -> None:
        todo = [(id, pointed) for id in ids]
        while todo:
            id, behind = todo.pop()
            if not id or id in self._kept:
                continue
            t = self._btf.type(id)
            if t.kind in COMPOSITES and behind and t.name:
                self._named.add(id)
                continue
            self._kept.add(id)
            self._named.discard(id)
            if t.kind in COMPOSITES:
                todo += [(m.type, False) for m in t.members]
            elif t.kind == PTR:
                todo.append((t.type, True))
            elif t.kind == ARRAY:
                todo += [(t.array[0], behind), (t.array[1], False)]
            elif t.kind == FUNC_PROTO:
                todo += [(t.type, True), *((type, True) for _, type in t.params)]
            elif t.kind in MODIFIERS or t.kind in (TYPEDEF, FUNC, VAR, DECL_TAG):
                todo.append((t.type, behind))

    def write(self) -> bytes:
        full = {(t.kind, t.name) for t in map(self._btf.type, self._kept) if t.kind in COMPOSITES and t.name}
        names: dict[tuple[int, str], int] = {}
        for id in sorted(self._named):
            t = self._btf.type(id)
            if (t.kind, t.name) not in full:
                names.setdefault((t.kind, t.name), id)
        order = sorted(self._kept | set(names.values()))
        new = {0: 0, **{old: number for number, old in enumerate(order, 1)}}
        for id in sorted(self._named):
            t = self._btf.type(id)
            same = names.get((t.kind, t.name)) or self._btf.find(t.name, t.kind)
            assert same is not None
            new.setdefault(id, new.get(same, 0))
        builder = BtfBuilder(endian=self._btf.endian)
        for id in order:
            self._write(builder, self._btf.type(id), new, id in self._kept)
        return builder.build()

    def _write(self, builder: BtfBuilder, t: BtfType, new: dict[int, int], whole: bool) -> None:
        if t.kind in COMPOSITES:
            if not whole:
                builder.fwd(t.name, union=t.kind == UNION)
                return
            items = [(m.name, new[m.type], m.bit_offset, m.bit_size) for m in t.members]
            builder.composite(t.kind, t.name, t.size, items, t.kflag)
        elif t.kind in MODIFIERS or t.kind in (PTR, TYPEDEF):
            builder.reference(t, new[t.type])
        elif t.kind == ARRAY:
            elem, index, count = t.array
            builder.array(new[elem], count, new[index])
        elif t.kind == FUNC_PROTO:
            builder.func_proto(new[t.type], [(name, new[type]) for name, type in t.params])
        elif t.kind == FUNC:
            builder.func(t.name, new[t.type], t.linkage)
        elif t.kind == VAR:
            builder.var(t.name, new[t.type], t.linkage)
        elif t.kind == DECL_TAG:
            builder.decl_tag(t.name, new[t.type], t.component_idx, attribute=t.kflag)
        elif t.kind == FWD or t.kind != DATASEC:
            builder.copy(t)


__all__ = ["cut"]
