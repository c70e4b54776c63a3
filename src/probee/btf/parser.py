"""BTF read lazily: one pass finds where each type begins, everything else is decoded when it is asked for.

The format is described in the kernel's Documentation/bpf/btf.rst and the UAPI header `linux/btf.h`.
Whatever is wrong with the bytes shows as `ObjectError`, either from `Btf.parse` (framing) or when the broken
type is touched (references, names).
"""

from __future__ import annotations

import struct
import sys

from probee.btf.kinds import (
    ARRAY,
    COMPOSITES,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUMS,
    FIXED_EXTRA,
    FUNC,
    FUNC_PROTO,
    HEADER_SIZE,
    INT,
    ITEM_EXTRA,
    KIND_MAX,
    KIND_NAMES,
    MAGIC,
    MODIFIERS,
    PTR,
    SIZED,
    VAR,
    VERSION,
    VOID,
)
from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Protocol

    Buffer = bytes | mmap.mmap

    class NameIndex(Protocol):
        """Finds types by name. `ids` may give a few ids too many (hash collisions), never too few."""

        def ids(self, essential_name: str) -> Sequence[int]: ...


# Longest chain of typedefs and qualifiers, and deepest nesting of arrays, that is followed. libbpf and the
# kernel stop at 32; beyond any sane limit lies a cycle.
MAX_CHAIN = 64

_LONG_NAMES = (
    "long",
    "long int",
    "int long",
    "unsigned long",
    "long unsigned",
    "unsigned long int",
    "unsigned int long",
    "long unsigned int",
    "long int unsigned",
    "int unsigned long",
    "int long unsigned",
)


def essential_name(name: str) -> str:
    """`name` without its CO-RE flavour: `task_struct___old` -> `task_struct`. The last `x___y` counts."""
    at = len(name)
    while (at := name.rfind("___", 1, at)) > 0:
        # Both neighbours must exist and be no underscores.
        if name[at - 1] != "_" and name[at + 3 : at + 4] not in ("", "_"):
            return name[:at]
        at += 2  # matches may overlap: step back by one character only
    return name


class BtfMember:
    """A struct's or union's member. Offsets and sizes in bits; `bit_size` is 0 unless it is a bitfield."""

    __slots__ = ("bit_offset", "bit_size", "name", "type")

    def __init__(self, name: str, type: int, bit_offset: int, bit_size: int) -> None:
        self.name = name
        self.type = type
        self.bit_offset = bit_offset
        self.bit_size = bit_size

    def _key(self) -> tuple[str, int, int, int]:
        return self.name, self.type, self.bit_offset, self.bit_size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BtfMember) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"BtfMember({self.name!r}, type={self.type}, {self.bit_offset}, {self.bit_size})"


class BtfType:
    """One type. `size` is in bytes (0 for kinds without one), `type` is the referenced type's id (0: void).

    What only some kinds have (`members`, `params`, …) is decoded at first use and is empty for the others.
    """

    __slots__ = (
        "_items",
        "_name",
        "_place",
        "btf",
        "id",
        "kflag",
        "kind",
        "name_off",
        "size",
        "type",
        "vlen",
    )

    def __init__(self, btf: Btf, id: int, name_off: int, info: int, size_type: int, place: int) -> None:
        self.btf = btf
        self.id = id
        self.name_off = name_off
        self.kind = kind = info >> 24 & 0x1F
        self.vlen = info & 0xFFFF
        self.kflag = info >> 31 == 1
        if kind in SIZED:
            self.size = size_type
            self.type = 0
        else:
            self.size = 0
            self.type = size_type
        self._place = place  # of the bytes after the common record
        self._name: str | None = None
        self._items: tuple[object, ...] | None = None

    @property
    def name(self) -> str:
        """The type's name, "" if it has none."""
        if self._name is None:
            self._name = self.btf.string(self.name_off)
        return self._name

    @property
    def kind_name(self) -> str:
        """The kind as bpftool spells it, in lower case: "struct", "func_proto"…"""
        return KIND_NAMES[self.kind]

    def __repr__(self) -> str:
        name = f" {self.name}" if self.name_off else ""
        return f"<BtfType {self.id} {self.kind_name}{name}>"

    def _records(self, fmt: struct.Struct, count: int) -> list[tuple[int, ...]]:
        buf = self.btf._buf
        data = buf[self._place : self._place + fmt.size * count]
        if len(data) != fmt.size * count:
            raise ObjectError(f"broken BTF: type {self.id} is cut off")
        return list(fmt.iter_unpack(data))

    @property
    def members(self) -> tuple[BtfMember, ...]:
        """Members of a struct or union, in the order of declaration."""
        if self.kind not in COMPOSITES:
            return ()
        if self._items is None:
            string = self.btf.string
            records = self._records(self.btf._three, self.vlen)
            mask, shift = (0xFFFFFF, 24) if self.kflag else (0xFFFFFFFF, 32)
            self._items = tuple(
                [
                    BtfMember(string(name) if name else "", type, at & mask, at >> shift)
                    for name, type, at in records
                ]
            )
        return self._items  # type: ignore[return-value]

    @property
    def enumerators(self) -> tuple[tuple[str, int], ...]:
        """(name, value) of an enum; values are signed if the enum is (`kflag`)."""
        if self.kind not in ENUMS:
            return ()
        if self._items is None:
            string = self.btf.string
            if self.kind == ENUM:
                flip = 0x80000000 if self.kflag else 0
                self._items = tuple(
                    [(string(n), (v ^ flip) - flip) for n, v in self._records(self.btf._two, self.vlen)]
                )
            else:
                flip = 1 << 63 if self.kflag else 0
                self._items = tuple(
                    [
                        (string(n), ((low | high << 32) ^ flip) - flip)
                        for n, low, high in self._records(self.btf._three, self.vlen)
                    ]
                )
        return self._items  # type: ignore[return-value]

    @property
    def params(self) -> tuple[tuple[str, int], ...]:
        """(name, type id) of a FUNC_PROTO; a last ("", 0) stands for `...`. `type` is what it returns."""
        if self.kind != FUNC_PROTO:
            return ()
        if self._items is None:
            string = self.btf.string
            self._items = tuple([(string(n), t) for n, t in self._records(self.btf._two, self.vlen)])
        return self._items  # type: ignore[return-value]

    @property
    def vars(self) -> tuple[tuple[int, int, int], ...]:
        """(type id of the VAR, byte offset, size) of a DATASEC."""
        if self.kind != DATASEC:
            return ()
        if self._items is None:
            self._items = tuple(self._records(self.btf._three, self.vlen))
        return self._items  # type: ignore[return-value]

    @property
    def array(self) -> tuple[int, int, int]:
        """(element type id, index type id, number of elements). Raises ObjectError for other kinds."""
        if self.kind != ARRAY:
            raise ObjectError(f"BTF type {self.id} is a {self.kind_name}, not an array")
        elem, index, nelems = self._records(self.btf._three, 1)[0]
        return elem, index, nelems

    def _word(self) -> int:
        return self._records(self.btf._one, 1)[0][0]

    @property
    def bits(self) -> int:
        """Width of an INT in bits; less than 8 * size only in old-style bitfields."""
        return self._word() & 0xFF if self.kind == INT else 0

    @property
    def offset(self) -> int:
        """Bit offset of an INT inside its storage; other than 0 only in old-style bitfields."""
        return self._word() >> 16 & 0xFF if self.kind == INT else 0

    @property
    def encoding(self) -> int:
        """Encoding of an INT: a sum of 1 (signed), 2 (char), 4 (bool)."""
        return self._word() >> 24 & 0xF if self.kind == INT else 0

    @property
    def linkage(self) -> int:
        """Linkage of a FUNC or VAR: 0 static, 1 global, 2 extern."""
        if self.kind == FUNC:
            return self.vlen
        return self._word() if self.kind == VAR else 0

    @property
    def component_idx(self) -> int:
        """What a DECL_TAG is about: index of a member or parameter, -1 for the type itself."""
        if self.kind != DECL_TAG:
            return -1
        word = self._word()
        return (word ^ 0x80000000) - 0x80000000


# Kinds of which there are few: looking through them costs less than an index of all names.
_FEW = frozenset((INT, DATASEC))


class _RecordWords(dict[int, int]):
    """`info` word of a type -> length of its record in words. Few distinct values occur, so it is a cache."""

    def __missing__(self, info: int) -> int:
        kind = info >> 24 & 0x1F
        if not 0 < kind <= KIND_MAX:
            raise ObjectError(f"broken BTF: unknown type kind {kind}")
        words = self[info] = (12 + FIXED_EXTRA[kind] + ITEM_EXTRA[kind] * (info & 0xFFFF)) // 4
        return words


def scan_types(words: Sequence[int]) -> list[int]:
    """Where each record begins, in words from the start of the type section. Raises ObjectError."""
    places: list[int] = []
    append = places.append
    lengths = _RecordWords()
    pos = 0
    end = len(words)
    try:
        while pos < end:
            append(pos)
            pos += lengths[words[pos + 1]]
    except IndexError:
        pos = end + 1
    if pos != end:
        raise ObjectError(f"broken BTF: type {len(places)} is cut off")
    return places


class Layout:
    """Where the sections of a BTF blob are. Positions and lengths in bytes from the start of the blob."""

    __slots__ = ("endian", "str_len", "str_pos", "type_len", "type_pos")

    def __init__(self, data: Buffer, *, split: bool = False) -> None:
        if len(data) < HEADER_SIZE:
            raise ObjectError(f"broken BTF: {len(data)} bytes are less than its header")
        head = bytes(data[:HEADER_SIZE])
        if head[:2] == b"\x9f\xeb":
            self.endian = "little"
        elif head[:2] == b"\xeb\x9f":
            self.endian = "big"
        else:
            raise ObjectError(f"not BTF: it begins with {head[:2].hex()} instead of the magic {MAGIC:04x}")
        order = "<" if self.endian == "little" else ">"
        _, version, flags, hdr_len, type_off, type_len, str_off, str_len = struct.unpack(
            order + "HBBIIIII", head
        )
        if version != VERSION:
            raise ObjectError(f"BTF version {version} is unknown; probee reads version {VERSION}")
        if flags:
            raise ObjectError(f"BTF flags {flags:#x} are unknown")
        if not HEADER_SIZE <= hdr_len <= len(data):
            raise ObjectError(f"broken BTF: header length {hdr_len}")
        room = len(data) - hdr_len
        if type_off % 4 or type_len % 4 or type_off + type_len > room:
            raise ObjectError(f"broken BTF: type section at {type_off}, {type_len} bytes, room for {room}")
        if str_off + str_len > room:
            raise ObjectError(f"broken BTF: string section at {str_off}, {str_len} bytes, room for {room}")
        self.type_pos: int = hdr_len + type_off
        self.type_len: int = type_len
        self.str_pos: int = hdr_len + str_off
        self.str_len: int = str_len
        if not str_len and split:
            return
        if not str_len or data[self.str_pos + str_len - 1] != 0 or (data[self.str_pos] != 0 and not split):
            raise ObjectError("broken BTF: the string section must begin and end with a zero byte")

    def words(self, data: Buffer) -> memoryview | Sequence[int]:
        """The type section as 32-bit numbers."""
        section = memoryview(data)[self.type_pos : self.type_pos + self.type_len]
        if self.endian == sys.byteorder:
            return section.cast("I")
        order = "<" if self.endian == "little" else ">"
        return struct.unpack(f"{order}{self.type_len // 4}I", section)


class _DictIndex:
    """Types by essential name, in memory."""

    __slots__ = ("_ids",)

    def __init__(self, btf: Btf) -> None:
        ids: dict[str, list[int]] = {}
        for t in btf.own_types():
            if t.name_off and t.name:
                ids.setdefault(essential_name(t.name), []).append(t.id)
        self._ids = ids

    def ids(self, essential_name: str) -> Sequence[int]:
        return self._ids.get(essential_name, ())


class Btf:
    """A set of types. Ids run from 1 to `len(btf) - 1`; id 0 is void. A split BTF continues its base's ids.

    Not changed after it was made, so it may be shared by threads.
    """

    __slots__ = (
        "__weakref__",
        "_buf",
        "_cache",
        "_first_id",
        "_first_str",
        "_layout",
        "_len",
        "_names",
        "_one",
        "_places",
        "_ptr_size",
        "_str_end",
        "_str_pos",
        "_three",
        "_two",
        "_type_pos",
        "base",
        "endian",
    )

    def __init__(
        self,
        data: Buffer,
        layout: Layout,
        places: Sequence[int],
        base: Btf | None,
        names: NameIndex | None = None,
    ) -> None:
        """Use `Btf.parse`. `places` are the words where the types begin, as `scan_types` gives them."""
        self._buf = data
        self.base = base
        self.endian = layout.endian
        self._layout = layout
        self._type_pos = layout.type_pos
        self._str_pos = layout.str_pos
        self._str_end = layout.str_pos + layout.str_len
        self._first_id = len(base) if base else 1
        self._first_str = base.strings_end if base else 0
        self._places = places
        self._len = self._first_id + len(places)
        self._names = names
        self._cache: dict[int, BtfType] = {}
        self._ptr_size = 0
        order = "<" if layout.endian == "little" else ">"
        self._one = struct.Struct(order + "I")
        self._two = struct.Struct(order + "II")
        self._three = struct.Struct(order + "III")
        if not base:
            self._cache[0] = BtfType(self, 0, 0, VOID << 24, 0, 0)

    @staticmethod
    def parse(data: bytes | bytearray | memoryview, base: Btf | None = None) -> Btf:
        """Read BTF from bytes. `base` is the BTF that a split one (a kernel module's) continues.

        Raises ObjectError if the framing is broken; references and names are checked when they are used.
        """
        blob = data if isinstance(data, bytes) else bytes(data)
        layout = Layout(blob, split=base is not None)
        if base and base.endian != layout.endian:
            raise ObjectError(f"split BTF is {layout.endian}-endian, its base is {base.endian}-endian")
        return Btf(blob, layout, scan_types(layout.words(blob)), base)

    @property
    def strings_end(self) -> int:
        """The first string offset that is not in this BTF or its base; those of a split one begin here."""
        return self._first_str + self._str_end - self._str_pos

    def __len__(self) -> int:
        """Number of type ids: void, the base's and its own."""
        return self._len

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Btf of {self._len - 1} types>"

    @property
    def raw(self) -> bytes:
        """The whole blob, header included (a copy if it is memory-mapped)."""
        return self._buf if isinstance(self._buf, bytes) else self._buf[:]

    @property
    def first_id(self) -> int:
        """The first id that is not the base's: 1 without a base."""
        return self._first_id

    @property
    def ptr_size(self) -> int:
        """Size of a pointer: that of the type `long`, as libbpf guesses it, or 8."""
        if not self._ptr_size:
            size = 8
            for name in _LONG_NAMES:
                found = self.find(name, INT)
                if found is not None and self.type(found).size in (4, 8):
                    size = self.type(found).size
                    break
            self._ptr_size = size
        return self._ptr_size

    def string(self, offset: int) -> str:
        """The string at an offset of the string section. Raises ObjectError beyond its end."""
        own = offset - self._first_str
        if own < 0:
            if self.base and offset >= 0:
                return self.base.string(offset)
        else:
            begin = self._str_pos + own
            if begin < self._str_end:
                end = self._buf.find(b"\0", begin, self._str_end)
                return self._buf[begin:end].decode("utf-8", "backslashreplace")
            if not own and not self.base:
                return ""
        raise ObjectError(f"broken BTF: string offset {offset} is outside the string section")

    def mentions(self, name: str) -> bool:
        """Whether some string, of a type or not, begins with `name`: cheap, for BTF that is not indexed."""
        if self.base and self.base.mentions(name):
            return True
        text, start = name.encode(), self._str_pos  # a split one's strings need not begin with a zero byte
        return (
            self._buf[start : start + len(text)] == text
            or self._buf.find(b"\0" + text, start, self._str_end) >= 0
        )

    def type(self, id: int) -> BtfType:
        """The type with this id. Raises ObjectError if there is none."""
        found = self._cache.get(id)
        if found is not None:
            return found
        if id < self._first_id:
            if self.base and id >= 0:
                return self.base.type(id)
        elif id < self._len:
            place = self._type_pos + 4 * self._places[id - self._first_id]
            try:
                name_off, info, size_type = self._three.unpack_from(self._buf, place)
            except struct.error:
                raise ObjectError(f"broken BTF: type {id} is outside the type section") from None
            made = self._cache[id] = BtfType(self, id, name_off, info, size_type, place + 12)
            return made
        raise ObjectError(f"broken BTF: there is no type {id} (last is {self._len - 1})")

    def own_types(self, *kinds: int) -> Iterator[BtfType]:
        """All types, or those of some kinds, except void and the base's."""
        if not kinds:
            return map(self.type, range(self._first_id, self._len))
        words = self._layout.words(self._buf)
        tops = {kind << 24 for kind in kinds}
        ids = [id for id, at in enumerate(self._places, self._first_id) if words[at + 1] & 0x1F000000 in tops]
        return map(self.type, ids)

    def own_words(self) -> Iterator[list[int]]:
        """The 32-bit words of each record of `own_types`, in order."""
        words = self._layout.words(self._buf)
        ends = [*self._places[1:], len(words)]
        return (list(words[at:end]) for at, end in zip(self._places, ends, strict=False))

    def ids_by_essential_name(self, name: str) -> list[int]:
        """Ids, ascending, of all types whose name without flavour is `name`'s without flavour."""
        essential = essential_name(name)
        if not essential:
            return []
        out = self.base.ids_by_essential_name(essential) if self.base else []
        if self._names is None:
            self._names = _DictIndex(self)
        for id in self._names.ids(essential):
            if essential_name(self.type(id).name) == essential:
                out.append(id)
        return out

    def find_all(self, name: str, *kinds: int) -> list[int]:
        """Ids, ascending, of the types with this name and one of these kinds (none given: any kind)."""
        out = []
        for id in self.ids_by_essential_name(name):
            t = self.type(id)
            if t.name == name and (not kinds or t.kind in kinds):
                out.append(id)
        return out

    def find(self, name: str, *kinds: int) -> int | None:
        """The first id of `find_all`, or None."""
        ids: Iterable[int]
        if self._names is None and self.base is None and kinds and _FEW.issuperset(kinds):
            ids = [t.id for t in self.own_types(*kinds)]
        else:
            ids = self.ids_by_essential_name(name)
        for id in ids:
            t = self.type(id)
            if t.name == name and (not kinds or t.kind in kinds):
                return id
        return None

    def strip(self, id: int) -> int:
        """The type behind typedefs, const, volatile, restrict and type tags."""
        t: BtfType
        for _ in range(MAX_CHAIN):
            t = self.type(id)
            if t.kind not in MODIFIERS:
                return id
            id = t.type
        raise ObjectError(f"broken BTF: the chain of typedefs and qualifiers at type {id} does not end")

    def size_of(self, id: int) -> int:
        """Size in bytes. Raises ObjectError for void, functions and forward declarations."""
        count = 1
        start = id
        for _ in range(MAX_CHAIN):
            t = self.type(id)
            kind = t.kind
            if kind in SIZED:
                return count * t.size
            if kind == PTR:
                return count * self.ptr_size
            if kind == ARRAY:
                id, _, nelems = t.array
                count *= nelems
            elif kind in MODIFIERS or kind in (VAR, DECL_TAG):
                id = t.type
            else:
                raise ObjectError(f"BTF type {start} has no size: it comes down to a {t.kind_name}")
        raise ObjectError(f"broken BTF: the chain of types at {start} does not end")


__all__ = ["Btf", "BtfMember", "BtfType", "Layout", "essential_name", "scan_types"]
