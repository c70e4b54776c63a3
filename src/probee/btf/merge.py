"""Several BTFs made into one, with equal types merged: what a linker needs, and `dedup` of a single one.

Two types are equal if they look the same and refer to equal types, however the references run in circles.
That is the coarsest partition of the types in which equal ones cannot be told apart, found by refining: types
begin in one class with those of the same words, and a class is split while its types refer to different ones.

A forward declaration stands for the one struct or union of its name, if there is just one.
"""

from __future__ import annotations

import struct

from probee.btf.kinds import (
    ARRAY,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    HEADER_SIZE,
    MAGIC,
    SIZED,
    STRUCT,
    UNION,
    VAR,
    VERSION,
)
from probee.btf.parser import Btf
from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Items of a record that follow its three words: (words in one, its name, its type); -1 for none.
_ITEMS = {
    STRUCT: (3, 0, 1),
    UNION: (3, 0, 1),
    ENUM: (2, 0, -1),
    ENUM64: (3, 0, -1),
    FUNC_PROTO: (2, 0, 1),
    DATASEC: (3, -1, 0),
}
# Types that stand for a place in an object: they are the same only if a linker says so.
_PLACES = frozenset((VAR, DATASEC, FUNC, DECL_TAG))


class Record:
    """A type as the words of its record. `names` and `types` say which of them are strings and type ids."""

    __slots__ = ("kind", "names", "types", "words")

    def __init__(self, kind: int, words: list[int]) -> None:
        self.kind = kind
        self.words = words
        self.names, self.types = _places(kind, len(words))


def _places(kind: int, length: int) -> tuple[Sequence[int], Sequence[int]]:
    names = [0]
    types: list[int] = []
    if kind == ARRAY:
        types = [3, 4]
    elif kind not in SIZED and kind not in (FWD, FLOAT):
        types = [2]
    if kind in _ITEMS:
        step, name, type = _ITEMS[kind]
        if name >= 0:
            names += range(3 + name, length, step)
        if type >= 0:
            types += range(3 + type, length, step)
    return names, types


class Strings:
    """A string section that grows; each text is in it once."""

    __slots__ = ("_offsets", "data")

    def __init__(self) -> None:
        self.data = bytearray(1)
        self._offsets = {"": 0}

    def add(self, text: str) -> int:
        at = self._offsets.get(text)
        if at is None:
            at = self._offsets[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return at


def read_records(btf: Btf, strings: Strings, first: int) -> list[Record]:
    """The types of `btf`, its strings moved into `strings`, its ids counted from `first`.

    Raises ObjectError for broken BTF.
    """
    out = []
    offsets: dict[int, int] = {}
    count = len(btf)
    for words in btf.own_words():
        record = Record(words[1] >> 24 & 0x1F, words)
        for at in record.names:
            offset = words[at]
            if offset not in offsets:
                offsets[offset] = strings.add(btf.string(offset))
            words[at] = offsets[offset]
        for at in record.types:
            if words[at] >= count:
                raise ObjectError(f"broken BTF: there is no type {words[at]} (last is {count - 1})")
            words[at] += first - 1 if words[at] else 0
        out.append(record)
    return out


class Merge:
    """Types of several BTFs, on their way into one.

    `records[id]` is type `id` (0 is void). `alias` maps ids to the id that stands for them; use `find`.
    """

    def __init__(self, endian: str) -> None:
        self.endian = endian
        self.strings = Strings()
        self.records: list[Record] = [Record(0, [0, 0, 0])]
        self.alias: list[int] = [0]

    def add(self, btf: Btf) -> int:
        """Take in a BTF. Returns what to add to its ids to have them here."""
        if btf.base is not None:
            raise ObjectError("split BTF cannot be merged without its base")
        if btf.endian != self.endian:
            raise ObjectError(f"a {btf.endian}-endian BTF cannot be merged with a {self.endian}-endian one")
        first = len(self.records)
        self.records += read_records(btf, self.strings, first)
        self.alias += range(first, len(self.records))
        return first - 1

    def find(self, id: int) -> int:
        """The id that stands for `id`."""
        alias = self.alias
        while alias[id] != id:
            id = alias[id]
        return id

    def same(self, id: int, stands_for: int) -> None:
        """Let type `stands_for` stand for type `id` too."""
        id, stands_for = self.find(id), self.find(stands_for)
        if id != stands_for:
            self.alias[id] = stands_for

    def unify(self) -> None:
        """Merge equal types, and forward declarations with what they announce."""
        self._unify()
        if self._resolve_forwards():
            self._unify()

    def _unify(self) -> None:
        find = self.find
        live = [id for id in range(1, len(self.records)) if self.alias[id] == id]
        colours = [0] * len(self.records)
        base: dict[object, int] = {}
        own: dict[int, int] = {}
        for id in live:
            record = self.records[id]
            if record.kind in _PLACES:
                look: object = ("place", id)
            else:
                words = list(record.words)
                for at in record.types:
                    words[at] = 0
                look = tuple(words)
            own[id] = colours[id] = base.setdefault(look, len(base) + 1)
        references = {id: [find(self.records[id].words[at]) for at in self.records[id].types] for id in live}
        classes = len(base)
        while True:
            known: dict[tuple[int, ...], int] = {}
            following = [0] * len(self.records)
            for id in live:
                key = (own[id], *(colours[ref] for ref in references[id]))
                following[id] = known.setdefault(key, len(known) + 1)
            colours = following
            if len(known) == classes:
                break
            classes = len(known)
        first: dict[int, int] = {}
        for id in live:
            self.alias[id] = first.setdefault(colours[id], id)

    def _resolve_forwards(self) -> bool:
        whole: dict[tuple[int, int], list[int]] = {}
        forwards = []
        for id in range(1, len(self.records)):
            if self.alias[id] != id:
                continue
            record = self.records[id]
            if record.kind in (STRUCT, UNION) and record.words[0]:
                whole.setdefault((record.words[0], record.kind), []).append(id)
            elif record.kind == FWD:
                forwards.append(id)
        found = False
        for id in forwards:
            words = self.records[id].words
            answers = whole.get((words[0], UNION if words[1] >> 31 else STRUCT), ())
            if len(answers) == 1:
                self.alias[id] = answers[0]
                found = True
        return found

    def text(self, offset: int) -> str:
        """The string of a name in `records`."""
        return text_at(self.strings.data, offset)

    def write(
        self, keep: Iterable[int] | None = None, strings: Strings | None = None
    ) -> tuple[bytes, dict[int, int]]:
        """The BTF of the types that stand for others (or of `keep`), and the new id of every old one.

        `strings` may hold further texts that are to be in it, at their offsets.
        """
        chosen = keep if keep is not None else (i for i in range(1, len(self.records)) if self.alias[i] == i)
        live = sorted({self.find(id) for id in chosen})
        new = {old: number for number, old in enumerate(live, 1)}
        new[0] = 0
        ids = {id: new[self.find(id)] for id in range(len(self.records)) if self.find(id) in new}
        strings = strings or Strings()
        words: list[int] = []
        moved: dict[int, int] = {}
        for old in live:
            record = self.records[old]
            out = list(record.words)
            for at in record.names:
                offset = out[at]
                if offset not in moved:
                    moved[offset] = strings.add(self.text(offset))
                out[at] = moved[offset]
            for at in record.types:
                out[at] = ids[out[at]]
            words += out
        return encode(words, strings, self.endian), ids


def text_at(data: bytes | bytearray, offset: int) -> str:
    """The string at `offset` of a string section."""
    return data[offset : data.index(0, offset)].decode()


def encode(words: Sequence[int], strings: Strings, endian: str) -> bytes:
    """A BTF blob of type records and strings."""
    order = "<" if endian == "little" else ">"
    size = 4 * len(words)
    head = struct.pack(order + "HBBIIIII", MAGIC, VERSION, 0, HEADER_SIZE, 0, size, size, len(strings.data))
    return head + struct.pack(f"{order}{len(words)}I", *words) + bytes(strings.data)


def dedup(btf: Btf) -> Btf:
    """`btf` with equal types merged. Raises ObjectError for broken or split BTF."""
    merge = Merge(btf.endian)
    merge.add(btf)
    merge.unify()
    return Btf.parse(merge.write()[0])


__all__ = ["Merge", "Record", "Strings", "dedup", "encode", "read_records", "text_at"]
