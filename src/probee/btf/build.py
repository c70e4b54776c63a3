"""Write BTF: types are added one by one, each call returns the id of the new type."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from probee.btf.kinds import (
    ARRAY,
    COMPOSITES,
    CONST,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    HEADER_SIZE,
    INT,
    LINK_GLOBAL,
    MAGIC,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    VERSION,
    VOLATILE,
)
from probee.btf.parser import Btf, BtfType

# A member: name, type id, offset in bits and, for a bitfield, its width in bits.
Member = tuple[str, int, int] | tuple[str, int, int, int]


class BtfBuilder:
    """Makes a BTF blob. Ids are given in order from 1, or from the end of `base` for a split BTF.

    A type may refer to ids that are added later (`next_id` says which come). Raises ValueError for what the
    format cannot hold, when the type is added.
    """

    def __init__(self, base: Btf | None = None, *, endian: str = "little") -> None:
        self.base = base
        self.endian = base.endian if base else endian
        self._order = "<" if self.endian == "little" else ">"
        self._records: list[bytes] = []
        self._first_id = len(base) if base else 1
        self._first_str = base.strings_end if base else 0
        self._strings = bytearray(b"" if base else b"\0")
        self._offsets: dict[str, int] = {"": 0}

    @property
    def next_id(self) -> int:
        """The id of the type that is added next."""
        return self._first_id + len(self._records)

    def string(self, text: str) -> int:
        """Offset of a string in the string section; equal strings are kept once."""
        offset = self._offsets.get(text)
        if offset is None:
            data = text.encode("utf-8")
            if b"\0" in data:
                raise ValueError("a BTF string cannot hold a zero byte")
            offset = self._offsets[text] = self._first_str + len(self._strings)
            self._strings += data + b"\0"
        return offset

    def _words(self, *words: int) -> bytes:
        try:
            return struct.pack(f"{self._order}{len(words)}I", *words)
        except struct.error as e:
            raise ValueError(f"does not fit a BTF record: {e}") from None

    def _record(
        self, kind: int, name: str, size_type: int, extra: bytes = b"", *, vlen: int = 0, kflag: bool = False
    ) -> bytes:
        if vlen > 0xFFFF:
            raise ValueError(f"{vlen} items; a BTF type can hold 65535")
        return self._words(self.string(name), kflag << 31 | kind << 24 | vlen, size_type) + extra

    def _add(
        self, kind: int, name: str, size_type: int, extra: bytes = b"", *, vlen: int = 0, kflag: bool = False
    ) -> int:
        self._records.append(self._record(kind, name, size_type, extra, vlen=vlen, kflag=kflag))
        return self.next_id - 1

    def int_(
        self, name: str, size: int, encoding: int = 0, *, bits: int | None = None, offset: int = 0
    ) -> int:
        """An integer of `size` bytes; `encoding` is a sum of 1 (signed), 2 (char), 4 (bool)."""
        width = 8 * size if bits is None else bits
        return self._add(INT, name, size, self._words(encoding << 24 | offset << 16 | width))

    def float_(self, name: str, size: int) -> int:
        """A floating point type of `size` bytes (Linux 5.13)."""
        return self._add(FLOAT, name, size)

    def ptr(self, type: int) -> int:
        """A pointer to a type; 0 makes it `void *`."""
        return self._add(PTR, "", type)

    def typedef(self, name: str, type: int) -> int:
        """Another name for a type."""
        return self._add(TYPEDEF, name, type)

    def const(self, type: int) -> int:
        """`const`."""
        return self._add(CONST, "", type)

    def volatile(self, type: int) -> int:
        """`volatile`."""
        return self._add(VOLATILE, "", type)

    def restrict(self, type: int) -> int:
        """`restrict`."""
        return self._add(RESTRICT, "", type)

    def type_tag(self, tag: str, type: int, *, attribute: bool = False) -> int:
        """btf_type_tag (Linux 5.17), or any `attribute` (6.15)."""
        return self._add(TYPE_TAG, tag, type, kflag=attribute)

    def decl_tag(self, tag: str, type: int, component: int = -1, *, attribute: bool = False) -> int:
        """btf_decl_tag (Linux 5.16) on a type, or on the member or parameter number `component` of it."""
        return self._add(DECL_TAG, tag, type, self._words(component & 0xFFFFFFFF), kflag=attribute)

    def array(self, elem: int, nelems: int, index: int | None = None) -> int:
        """An array; `index` is the type of its index, by default the first integer there is."""
        if index is None:
            index = self._any_int()
        return self._add(ARRAY, "", 0, self._words(elem, index, nelems))

    def _any_int(self) -> int:
        for at, record in enumerate(self._records):
            if struct.unpack_from(self._order + "I", record, 4)[0] >> 24 & 0x1F == INT:
                return self._first_id + at
        return self.int_("__ARRAY_SIZE_TYPE__", 4)

    def struct(self, name: str, size: int, members: Iterable[Member] = ()) -> int:
        """A struct of `size` bytes; "" as name for an anonymous one."""
        return self._composite(STRUCT, name, size, members)

    def union(self, name: str, size: int, members: Iterable[Member] = ()) -> int:
        """A union of `size` bytes; "" as name for an anonymous one."""
        return self._composite(UNION, name, size, members)

    def _composite(self, kind: int, name: str, size: int, members: Iterable[Member]) -> int:
        items = [(m[0], m[1], m[2], m[3] if len(m) == 4 else 0) for m in members]
        kflag = any(bits for *_, bits in items)
        return self.composite(kind, name, size, items, kflag)

    def composite(
        self, kind: int, name: str, size: int, items: Sequence[tuple[str, int, int, int]], kflag: bool
    ) -> int:
        """A STRUCT or UNION of members (name, type, bit offset, bits of a bitfield or 0).

        `kflag` says that members may be bitfields.
        """
        extra = b""
        for field, type, at, bits in items:
            if kflag and not (0 <= at < 1 << 24 and 0 <= bits < 256):
                raise ValueError(
                    f"member {field!r}: offset {at} or width {bits} is too large next to bitfields"
                )
            extra += self._words(self.string(field), type, bits << 24 | at if kflag else at)
        return self._add(kind, name, size, extra, vlen=len(items), kflag=kflag)

    def enum(self, name: str, values: Iterable[tuple[str, int]], *, size: int = 4) -> int:
        """An enum of up to four bytes; it is signed if a value is negative."""
        items = list(values)
        signed = any(v < 0 for _, v in items)
        return self._enum(name, items, size, signed)

    def _enum(self, name: str, items: Sequence[tuple[str, int]], size: int, signed: bool) -> int:
        low, high = (-(1 << 31), 1 << 31) if signed else (0, 1 << 32)
        extra = b""
        for label, value in items:
            if not low <= value < high:
                raise ValueError(f"enumerator {label!r} = {value} needs enum64")
            extra += self._words(self.string(label), value & 0xFFFFFFFF)
        return self._add(ENUM, name, size, extra, vlen=len(items), kflag=signed)

    def enum64(self, name: str, values: Iterable[tuple[str, int]], *, size: int = 8) -> int:
        """An enum with 64-bit values (Linux 6.0); it is signed if a value is negative."""
        items = list(values)
        signed = any(v < 0 for _, v in items)
        return self._enum64(name, items, size, signed)

    def _enum64(self, name: str, items: Sequence[tuple[str, int]], size: int, signed: bool) -> int:
        low, high = (-(1 << 63), 1 << 63) if signed else (0, 1 << 64)
        extra = b""
        for label, value in items:
            if not low <= value < high:
                raise ValueError(f"enumerator {label!r} = {value} does not fit 64 bits")
            extra += self._words(self.string(label), value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF)
        return self._add(ENUM64, name, size, extra, vlen=len(items), kflag=signed)

    def fwd(self, name: str, *, union: bool = False) -> int:
        """A struct or union that is declared but not defined."""
        return self._add(FWD, name, 0, kflag=union)

    def func_proto(self, returns: int, params: Iterable[tuple[str, int]] = ()) -> int:
        """A function type; a last parameter ("", 0) stands for `...`."""
        items = list(params)
        extra = b"".join(self._words(self.string(name), type) for name, type in items)
        return self._add(FUNC_PROTO, "", returns, extra, vlen=len(items))

    def func(self, name: str, proto: int, linkage: int = LINK_GLOBAL) -> int:
        """A function of a FUNC_PROTO; linkage 0 static, 1 global, 2 extern."""
        return self._add(FUNC, name, proto, vlen=linkage)

    def var(self, name: str, type: int, linkage: int = LINK_GLOBAL) -> int:
        """A variable; linkage 0 static, 1 global, 2 extern."""
        return self._add(VAR, name, type, self._words(linkage))

    def datasec(self, name: str, size: int, vars: Iterable[tuple[int, int, int]]) -> int:
        """An ELF section; `vars` are (id of the VAR, byte offset, size)."""
        items = list(vars)
        return self._add(DATASEC, name, size, b"".join(self._words(*v) for v in items), vlen=len(items))

    def reference(self, t: BtfType, type: int) -> int:
        """A pointer, typedef, qualifier or type tag as `t` is, but of another type."""
        return self._add(t.kind, t.name, type, kflag=t.kflag)

    def copy(self, t: BtfType) -> int:
        """Add a type read from another BTF as it is: the ids it refers to stay the same numbers."""
        kind = t.kind
        if kind in COMPOSITES:
            items = [(m.name, m.type, m.bit_offset, m.bit_size) for m in t.members]
            return self.composite(kind, t.name, t.size, items, t.kflag)
        if kind == ENUM:
            return self._enum(t.name, t.enumerators, t.size, t.kflag)
        if kind == ENUM64:
            return self._enum64(t.name, t.enumerators, t.size, t.kflag)
        if kind == INT:
            return self.int_(t.name, t.size, t.encoding, bits=t.bits, offset=t.offset)
        extra = b""
        if kind == ARRAY:
            extra = self._words(*t.array)
        elif kind == FUNC_PROTO:
            extra = b"".join(self._words(self.string(name), type) for name, type in t.params)
        elif kind == DATASEC:
            extra = b"".join(self._words(*v) for v in t.vars)
        elif kind == VAR:
            extra = self._words(t.linkage)
        elif kind == DECL_TAG:
            extra = self._words(t.component_idx & 0xFFFFFFFF)
        size_type = t.size if kind in (DATASEC, FLOAT) else t.type
        return self._add(kind, t.name, size_type, extra, vlen=t.vlen, kflag=t.kflag)

    def build(self) -> bytes:
        """The blob, as it stands in an ELF object's `.BTF` section or goes to BPF_BTF_LOAD."""
        types = b"".join(self._records)
        strings = bytes(self._strings)
        head = (MAGIC, VERSION, 0, HEADER_SIZE, 0, len(types), len(types), len(strings))
        return struct.pack(self._order + "HBBIIIII", *head) + types + strings

    def btf(self) -> Btf:
        """What was built, parsed."""
        return Btf.parse(self.build(), self.base)


__all__ = ["BtfBuilder", "Member"]
