"""Writes relocatable ELF64 files for BPF (System V ABI, chapters 4 and 5)."""

from __future__ import annotations

import struct

from probee.obj.elf import EM_BPF, ET_REL, SHT_NOBITS, SHT_REL, SHT_SYMTAB, STB_LOCAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SHT_STRTAB = 3
_HEADER, _SECTION, _SYMBOL, _REL = 64, 64, 24, 16


class OutSection:
    """A section to be written. `size` counts for SHT_NOBITS, which have no `data`.

    `relocations` are (offset, type, index of a symbol).
    """

    __slots__ = ("align", "data", "flags", "name", "relocations", "size", "type")

    def __init__(self, name: str, type: int, flags: int) -> None:
        self.name = name
        self.type = type
        self.flags = flags
        self.align = 1
        self.data = bytearray()
        self.size = 0
        self.relocations: list[tuple[int, int, int]] = []


class OutSymbol:
    """A symbol to be written. `section` is the index of its section among those written, from 1; 0: none."""

    __slots__ = ("bind", "name", "section", "size", "type", "value", "visibility")

    def __init__(
        self,
        name: str,
        *,
        type: int,
        bind: int,
        section: int,
        value: int = 0,
        size: int = 0,
        visibility: int = 0,
    ) -> None:
        self.name = name
        self.type = type
        self.bind = bind
        self.visibility = visibility
        self.section = section
        self.value = value
        self.size = size


class _Names:
    def __init__(self) -> None:
        self.data = bytearray(1)
        self._at = {"": 0}

    def add(self, name: str) -> int:
        if name not in self._at:
            self._at[name] = len(self.data)
            self.data += name.encode() + b"\0"
        return self._at[name]


def write(sections: Sequence[OutSection], symbols: Sequence[OutSymbol], endian: str) -> bytes:
    """A file of these sections, their relocations and `symbols`, of which local ones have to come first."""
    order = "<" if endian == "little" else ">"
    names, symbol_names = _Names(), _Names()
    header = struct.Struct(order + "IIQQQQIIQQ")
    entry = struct.Struct(order + "IBBHQQ")
    table = bytearray(_SYMBOL)
    for s in symbols:
        other = s.bind << 4 | s.type
        table += entry.pack(symbol_names.add(s.name), other, s.visibility, s.section, s.value, s.size)
    locals_ = 1 + sum(s.bind == STB_LOCAL for s in symbols)

    relocated = [(i, s) for i, s in enumerate(sections, 1) if s.relocations]
    symtab = len(sections) + len(relocated) + 1
    out = bytearray(_HEADER)
    heads = [bytes(_SECTION)]

    def place(
        name: str, type: int, flags: int, data: bytes | bytearray, align: int, *rest: int, size: int = -1
    ) -> None:
        link, info, entries = rest or (0, 0, 0)
        align = max(1, align)
        out.extend(bytes(-len(out) % align))
        length = len(data) if size < 0 else size
        heads.append(
            header.pack(names.add(name), type, flags, 0, len(out), length, link, info, align, entries)
        )
        out.extend(data)

    for section in sections:
        size = section.size if section.type == SHT_NOBITS else -1
        place(section.name, section.type, section.flags, section.data, section.align, size=size)
    relocation = struct.Struct(order + "QQ")
    for index, section in relocated:
        entries = b"".join(
            relocation.pack(offset, symbol << 32 | type) for offset, type, symbol in section.relocations
        )
        place(".rel" + section.name, SHT_REL, 0, entries, 8, symtab, index, _REL)
    place(".symtab", SHT_SYMTAB, 0, table, 8, symtab + 1, locals_, _SYMBOL)
    place(".strtab", _SHT_STRTAB, 0, symbol_names.data, 1)
    names.add(".shstrtab")
    place(".shstrtab", _SHT_STRTAB, 0, names.data, 1)
    out.extend(bytes(-len(out) % 8))
    struct.pack_into(
        order + "4sBBBB8xHHIQQQIHHHHHH",
        out,
        0,
        b"\x7fELF",
        2,
        1 if endian == "little" else 2,
        1,
        0,
        ET_REL,
        EM_BPF,
        1,
        0,
        0,
        len(out),
        0,
        _HEADER,
        0,
        0,
        _SECTION,
        len(heads),
        len(heads) - 1,
    )
    return bytes(out) + b"".join(heads)


__all__ = ["OutSection", "OutSymbol", "write"]
