"""The types of objects that are linked: one BTF of all, externs joined with what they stand for."""

from __future__ import annotations

from probee.btf.ext import BtfExt, CoreReloc, encode
from probee.btf.kinds import (
    ARRAY,
    COMPOSITES,
    DATASEC,
    DECL_TAG,
    ENUMS,
    FUNC,
    FUNC_PROTO,
    FWD,
    INT,
    LINK_EXTERN,
    LINK_GLOBAL,
    LINK_STATIC,
    MODIFIERS,
    PTR,
    VAR,
)
from probee.btf.merge import Merge, Record, Strings
from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from probee.btf.parser import Btf

    # By name: the sections of the parts, and (offset, size) of each variable.
    Sections = dict[str, tuple[list[int], dict[int, tuple[int, int]]]]

MAX_DEPTH = 32


class Part:
    """An object's types: `shift` is added to its ids; `bases` says where its sections begin in the output."""

    __slots__ = ("bases", "btf", "ext", "name", "shift")

    def __init__(self, name: str, btf: Btf, ext: BtfExt | None, bases: Mapping[str, int]) -> None:
        self.name = name
        self.btf = btf
        self.ext = ext
        self.bases = bases
        self.shift = 0


class TypeLinker:
    """Joins the BTF of all parts.

    `place(part, name)` is the offset of a global variable in its output section if that part's definition is
    the one that counts, else None. `sizes` are the sizes of the output's sections.
    """

    def __init__(
        self,
        parts: list[Part],
        place: Callable[[Part, str], int | None],
        sizes: Mapping[str, int],
    ) -> None:
        self._parts = parts
        self._place = place
        self._sizes = sizes
        self._merge = Merge(parts[0].btf.endian)
        self._defined: dict[tuple[int, str], tuple[int, str]] = {}  # kind, name -> id, part that defines it
        self._externs: dict[tuple[int, str], tuple[int, str]] = {}

    def link(self) -> tuple[bytes, bytes]:
        """The sections `.BTF` and `.BTF.ext` (empty if no part has one). Raises ObjectError."""
        merge = self._merge
        ranges = []
        for part in self._parts:
            part.shift = merge.add(part.btf)
            ranges.append(range(part.shift + 1, len(merge.records)))
        merge.unify()
        for part, ids in zip(self._parts, ranges, strict=True):
            self._define_functions(part, ids)
        sections = self._sections(ranges)
        for part, ids in zip(self._parts, ranges, strict=True):
            self._declare_variables(part, ids)
        _drop_found(sections, merge)
        for name, (first, entries) in sections.items():
            self._write_section(name, first, entries)
        self._join_tags()
        return self._write()

    def _write(self) -> tuple[bytes, bytes]:
        strings = Strings()
        joined = BtfExt({}, {}, {})
        for part in self._parts:
            if part.ext is not None:
                self._move(part, part.ext, joined, strings)
        btf, ids = self._merge.write(strings=strings)
        ext = BtfExt(
            {s: [(at, ids[id]) for at, id in records] for s, records in joined.funcs.items()},
            joined.lines,
            {
                s: [CoreReloc(r.insn_off, ids[r.type_id], r.access_str, r.kind) for r in records]
                for s, records in joined.core.items()
            },
        )
        with_ext = any(part.ext is not None for part in self._parts)
        known = len(strings.data)
        raw = encode(ext, strings, self._merge.endian) if with_ext else b""
        assert len(strings.data) == known, "every text of .BTF.ext is in .BTF by now"
        return btf, raw

    @staticmethod
    def _move(part: Part, ext: BtfExt, joined: BtfExt, strings: Strings) -> None:
        def text(offset: int) -> int:
            return strings.add(part.btf.string(offset))

        count = len(part.btf)
        for section, base in part.bases.items():
            strings.add(section)
            if funcs := ext.funcs.get(section):
                _check_ids((id for _, id in funcs), count)
                joined.funcs.setdefault(section, []).extend((base + at, part.shift + id) for at, id in funcs)
            if lines := ext.lines.get(section):
                joined.lines.setdefault(section, []).extend(
                    (base + at, text(file), text(line), column) for at, file, line, column in lines
                )
            if core := ext.core.get(section):
                _check_ids((r.type_id for r in core), count)
                for r in core:
                    strings.add(r.access_str)
                joined.core.setdefault(section, []).extend(
                    CoreReloc(base + r.insn_off, part.shift + r.type_id, r.access_str, r.kind) for r in core
                )

    # ---- functions and variables

    def _define_functions(self, part: Part, ids: range) -> None:
        for id in ids:
            record = self._merge.records[id]
            if record.kind != FUNC:
                continue
            linkage = record.words[1] & 0xFFFF
            name = self._merge.text(record.words[0])
            if linkage == LINK_GLOBAL:
                self._define(part, FUNC, name, id, self._place(part, name) is not None)
            elif linkage == LINK_EXTERN:
                self._declare(part, FUNC, name, id)

    def _define(self, part: Part, kind: int, name: str, id: int, counts: bool) -> bool:
        """Note a definition. True if it is the one that counts."""
        key = (kind, name)
        known = self._defined.get(key)
        if known is None:
            self._defined[key] = (id, part.name)
        else:
            self._agree(part, name, id, known)
            if counts:
                self._merge.same(known[0], id)
                self._defined[key] = (id, part.name)
            else:
                self._merge.same(id, known[0])
        if (extern := self._externs.pop(key, None)) is not None:
            self._agree(part, name, id, extern)
            self._merge.same(extern[0], id)
        return counts

    def _declare(self, part: Part, kind: int, name: str, id: int) -> bool:
        """Note an extern. True if it is the first of its name and nothing defines it yet."""
        key = (kind, name)
        known = self._defined.get(key) or self._externs.get(key)
        if known is None:
            self._externs[key] = (id, part.name)
            return True
        self._agree(part, name, id, known)
        self._merge.same(id, known[0])
        return False

    def _agree(self, part: Part, name: str, id: int, known: tuple[int, str]) -> None:
        other, where = known
        records = self._merge.records
        if not self._compatible(records[id].words[2], records[other].words[2], MAX_DEPTH):
            raise ObjectError(f"{name} has one type in {where} and another in {part.name}")

    def _compatible(self, a: int, b: int, depth: int) -> bool:
        a, b = self._bare(a), self._bare(b)
        if a == b or not depth:
            return True
        x, y = self._merge.records[a], self._merge.records[b]
        if {x.kind, y.kind} <= {FWD, *COMPOSITES}:
            whole = x.kind == y.kind and x.kind != FWD
            return x.words[0] == y.words[0] and x.words[0] != 0 and (not whole or x.words[2] == y.words[2])
        if x.kind != y.kind:
            return False
        if x.kind == PTR:
            return self._compatible(x.words[2], y.words[2], depth - 1)
        if x.kind == ARRAY:
            counts = {x.words[5], y.words[5]}
            return (len(counts) == 1 or 0 in counts) and self._compatible(x.words[3], y.words[3], depth - 1)
        if x.kind == INT:
            return x.words[2:] == y.words[2:]
        if x.kind in ENUMS:
            return x.words[0] == y.words[0] and x.words[2] == y.words[2]
        if x.kind == FUNC_PROTO:
            types = zip((x.words[2], *x.words[4::2]), (y.words[2], *y.words[4::2]), strict=False)
            return len(x.words) == len(y.words) and all(self._compatible(p, q, depth - 1) for p, q in types)
        return False

    def _bare(self, id: int) -> int:
        for _ in range(MAX_DEPTH):
            id = self._merge.find(id)
            record = self._merge.records[id]
            if record.kind not in MODIFIERS:
                break
            id = record.words[2]
        return id

    # ---- data sections

    def _sections(self, ranges: list[range]) -> Sections:
        """By name: the old sections, and of each variable the offset and size."""
        records = self._merge.records
        found: Sections = {}
        for part, ids in zip(self._parts, ranges, strict=True):
            for id in ids:
                words = records[id].words
                if records[id].kind != DATASEC:
                    continue
                name = self._merge.text(words[0])
                old, entries = found.setdefault(name, ([], {}))
                old.append(id)
                for at in range(3, len(words), 3):
                    var, offset, size = words[at : at + 3]
                    place = self._entry(part, name, var, offset)
                    if place is not None:
                        entries[var] = (place, size)
        return found

    def _declare_variables(self, part: Part, ids: range) -> None:
        """Externs without a section: compilers leave out which one they expect them in."""
        for id in ids:
            record = self._merge.records[id]
            if record.kind == VAR and record.words[3] == LINK_EXTERN and self._merge.find(id) == id:
                name = self._merge.text(record.words[0])
                if self._externs.get((VAR, name), (0, ""))[0] != id:
                    self._declare(part, VAR, name, id)

    def _entry(self, part: Part, section: str, var: int, offset: int) -> int | None:
        """Where a variable is in its output section; None if another entry stands for it."""
        record = self._merge.records[var]
        name = self._merge.text(record.words[0])
        if record.kind == FUNC:  # a kfunc among the .ksyms
            return 0 if self._merge.find(var) == var else None
        if record.kind != VAR:
            raise ObjectError(
                f"broken BTF: section {section} of {part.name} holds something else than variables"
            )
        linkage = record.words[3]
        if linkage == LINK_STATIC:
            return offset + part.bases.get(section, 0)
        if linkage == LINK_EXTERN:
            return 0 if self._declare(part, VAR, name, var) else None
        place = self._place(part, name)
        return place if self._define(part, VAR, name, var, place is not None) else None

    def _write_section(self, name: str, old: list[int], entries: dict[int, tuple[int, int]]) -> None:
        merge = self._merge
        words = [merge.records[old[0]].words[0], DATASEC << 24 | len(entries), self._sizes.get(name, 0)]
        for var, (offset, size) in sorted(entries.items(), key=lambda item: item[1][0]):
            words += (var, offset, size)
        new = len(merge.records)
        merge.records.append(Record(DATASEC, words))
        merge.alias.append(new)
        if entries:
            for id in old:
                merge.alias[id] = new
        else:  # nothing but externs that were found: a section of no variables
            for id in (*old, new):
                merge.alias[id] = 0

    def _join_tags(self) -> None:
        """Tags that several parts put on the same thing become one."""
        merge = self._merge
        seen: dict[tuple[int, int, int], int] = {}
        for id, record in enumerate(merge.records):
            if record.kind == DECL_TAG:
                key = (record.words[0], merge.find(record.words[2]), record.words[3])
                merge.same(id, seen.setdefault(key, id))


def _drop_found(sections: Sections, merge: Merge) -> None:
    """An extern that a later part defines is no entry any more."""
    for _, entries in sections.values():
        for var in [v for v in entries if merge.find(v) != v]:
            del entries[var]


def _check_ids(ids: object, count: int) -> None:
    for id in ids:  # type: ignore[attr-defined]
        if id >= count:
            raise ObjectError(f"broken .BTF.ext: there is no type {id} (last is {count - 1})")


__all__ = ["Part", "TypeLinker"]
