"""The part of a kernel's BTF that the CO-RE relocations of some objects ask for.

A kernel that ships no BTF can be given one from a file. The whole one takes megabytes for each kernel; what
an object needs of it, some hundred bytes: the types that its relocations name, with the members on their way.
"""

from __future__ import annotations

from probee.btf.build import BtfBuilder
from probee.btf.core import TYPE_MATCHES, Relocator
from probee.btf.kinds import ARRAY, COMPOSITES, FUNC_PROTO, MODIFIERS, PTR
from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from probee.btf.ext import CoreReloc
    from probee.btf.parser import Btf, BtfType

MAX_DEPTH = 64


def min_core(target: Btf, objects: Iterable[tuple[Btf, Iterable[CoreReloc]]]) -> bytes:
    """The BTF of the types of `target` that matter to the relocations of `objects`.

    Each object is its own BTF and its relocations. What the target lacks is left out: a program that asks for
    it fails, or answers, as it would with the whole BTF. Raises ObjectError for broken BTF.
    """
    used = _Used(target)
    for local, relocations in objects:
        relocator = Relocator(local, target)
        for relocation in dict.fromkeys(relocations):
            for root, steps in relocator.matches(relocation):
                used.path(root, steps)
                if relocation.kind == TYPE_MATCHES:
                    used.whole(root)
    return used.write()


class _Used:
    """Types that are kept, and of structs and unions the members."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._types: set[int] = set()
        self._members: dict[int, set[int]] = {}

    def path(self, root: int, steps: list[tuple[int, int, bool]]) -> None:
        """Keep a type and the members of a path: (type, index, whether it is a member) of each step."""
        self._keep(root)
        container = self._btf.strip(root)
        for id, index, member in steps:
            if not member:
                self._keep(id)
                container = id
                continue
            self._route(container, id, 0)
            container = self._member(id, index)

    def whole(self, root: int) -> None:
        """Keep a type with all its members, and theirs."""
        waiting = [root]
        while waiting:
            t = self._btf.type(self._btf.strip(waiting.pop()))
            self._keep(t.id)
            if t.kind in COMPOSITES and len(self._members.get(t.id, ())) < t.vlen:
                for index, m in enumerate(t.members):
                    self._member(t.id, index)
                    waiting.append(m.type)

    def _member(self, id: int, index: int) -> int:
        self._types.add(id)
        self._members.setdefault(id, set()).add(index)
        type = self._btf.type(id).members[index].type
        self._keep(type)
        return self._btf.strip(type)

    def _route(self, container: int, id: int, depth: int) -> bool:
        """Keep the anonymous members that lead from a struct to one inside of it."""
        if container == id:
            return True
        t = self._btf.type(container)
        if t.kind not in COMPOSITES or depth > MAX_DEPTH:
            return False
        for index, m in enumerate(t.members):
            if not m.name and self._route(self._btf.strip(m.type), id, depth + 1):
                self._member(container, index)
                return True
        return False

    def _keep(self, id: int) -> None:
        """Keep a type and what it is made of, though no members."""
        waiting = [id]
        while waiting:
            id = waiting.pop()
            if not id or id in self._types:
                continue
            self._types.add(id)
            t = self._btf.type(id)
            if t.kind in MODIFIERS or t.kind == PTR:
                waiting.append(t.type)
            elif t.kind == ARRAY:
                waiting += t.array[:2]
            elif t.kind == FUNC_PROTO:
                waiting += (t.type, *(type for _, type in t.params))

    def write(self) -> bytes:
        new = {old: number for number, old in enumerate(sorted(self._types), 1)}
        new[0] = 0
        builder = BtfBuilder(endian=self._btf.endian)
        for id in sorted(self._types):
            self._write(builder, self._btf.type(id), new)
        return builder.build()

    def _write(self, builder: BtfBuilder, t: BtfType, new: dict[int, int]) -> None:
        if t.kind in COMPOSITES:
            chosen = sorted(self._members.get(t.id, ()))
            members = [t.members[index] for index in chosen]
            items = [(m.name, new[m.type], m.bit_offset, m.bit_size) for m in members]
            builder.composite(t.kind, t.name, t.size, items, t.kflag)
        elif t.kind in MODIFIERS or t.kind == PTR:
            builder.reference(t, new[t.type])
        elif t.kind == ARRAY:
            elem, index, count = t.array
            builder.array(new[elem], count, new[index])
        elif t.kind == FUNC_PROTO:
            builder.func_proto(new[t.type], [(name, new[type]) for name, type in t.params])
        elif t.type:
            raise ObjectError(f"a CO-RE relocation leads to a {t.kind_name}")
        else:
            builder.copy(t)


__all__ = ["min_core"]
