"""ELF64 files of any byte order, read from untrusted bytes (System V ABI, chapters 4 and 5).

Everything is bounds-checked here, so that the rest of the room works on sections and symbols that exist.
"""

from __future__ import annotations

import struct

from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

EM_BPF = 247
ET_REL = 1

SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 1, 2, 4, 8, 9
SHF_EXECINSTR, SHF_COMPRESSED = 0x4, 0x800
SHN_UNDEF, SHN_LORESERVE, SHN_XINDEX = 0, 0xFF00, 0xFFFF
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION = 0, 1, 2, 3
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STV_INTERNAL, STV_HIDDEN = 1, 2

_HEADER_SIZE = 64
_SECTION_SIZE = 64
_SYMBOL_SIZE = 24

# A .bss of this size takes no room in the file, but would in memory.
MAX_NOBITS = 1 << 30


class Section:
    """A section. `data` is empty for SHT_NOBITS; `size` is what it takes in memory."""

    __slots__ = ("align", "data", "flags", "index", "info", "link", "name", "size", "type")

    def __init__(
        self,
        index: int,
        name: str,
        type: int,
        flags: int,
        size: int,
        link: int,
        info: int,
        data: memoryview,
        align: int = 1,
    ) -> None:
        self.index = index
        self.name = name
        self.type = type
        self.flags = flags
        self.size = size
        self.link = link
        self.info = info
        self.data = data
        self.align = align

    @property
    def has_code(self) -> bool:
        return self.type == SHT_PROGBITS and bool(self.flags & SHF_EXECINSTR) and self.size > 0


class Symbol:
    """An entry of the symbol table."""

    __slots__ = ("bind", "index", "name", "shndx", "size", "type", "value", "visibility")

    def __init__(
        self, index: int, name: str, type: int, bind: int, visibility: int, shndx: int, value: int, size: int
    ) -> None:
        self.index = index
        self.name = name
        self.type = type
        self.bind = bind
        self.visibility = visibility
        self.shndx = shndx
        self.value = value
        self.size = size


class Elf:
    """A parsed file: `endian` ("little" or "big"), `machine`, `type`, `sections`, `symbols`."""

    __slots__ = ("_order", "endian", "machine", "sections", "symbols", "type")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        """Raises ObjectError if the bytes are not a whole ELF64 file."""
        view = memoryview(data)
        if len(view) < 4 or bytes(view[:4]) != b"\x7fELF":
            raise ObjectError("not an ELF file: it does not begin with \\x7fELF")
        if len(view) < _HEADER_SIZE:
            raise ObjectError(f"truncated ELF file: {len(view)} bytes are less than its header")
        if view[4] != 2:
            raise ObjectError("a 32-bit ELF file; BPF objects are 64-bit (compile with -target bpf)")
        if view[5] not in (1, 2):
            raise ObjectError(f"broken ELF header: byte order {view[5]}")
        self.endian = "little" if view[5] == 1 else "big"
        self._order = order = "<" if view[5] == 1 else ">"
        self.type, self.machine = struct.unpack_from(order + "HH", view, 16)
        (shoff,) = struct.unpack_from(order + "Q", view, 40)
        shentsize, shnum, shstrndx = struct.unpack_from(order + "HHH", view, 58)
        self.sections = self._read_sections(view, shoff, shentsize, shnum, shstrndx)
        self.symbols = self._read_symbols()

    def _read_sections(
        self, view: memoryview, shoff: int, shentsize: int, shnum: int, shstrndx: int
    ) -> list[Section]:
        if not shoff:
            raise ObjectError("an ELF file without sections")
        if shentsize != _SECTION_SIZE:
            raise ObjectError(f"broken ELF header: section headers of {shentsize} bytes")
        total = len(view)
        if shoff + _SECTION_SIZE > total:
            raise ObjectError("truncated ELF file: its section headers are beyond the end")
        header = struct.Struct(self._order + "IIQQQQIIQQ")
        if not shnum or shstrndx == SHN_XINDEX:  # too many for 16 bits: the numbers are in section 0
            first = header.unpack_from(view, shoff)
            shnum = shnum or first[5]
            shstrndx = first[6] if shstrndx == SHN_XINDEX else shstrndx
        if shoff + shnum * _SECTION_SIZE > total:
            raise ObjectError("truncated ELF file: its section headers are beyond the end")
        raw = list(header.iter_unpack(view[shoff : shoff + shnum * _SECTION_SIZE]))
        if shstrndx >= shnum:
            raise ObjectError("broken ELF header: the section names are in a section that does not exist")
        names = self._content(view, raw[shstrndx], "section names")
        blob = bytes(names)
        out = []
        for index, head in enumerate(raw):
            name_off, type, flags, _, _, size, link, info, align, _ = head
            name = _string(blob, name_off, f"name of section {index}")
            if type == SHT_NOBITS:
                if size > MAX_NOBITS:
                    raise ObjectError(f"section {name} claims {size} bytes, over the limit of {MAX_NOBITS}")
                content = view[:0]
            else:
                content = self._content(view, head, name) if index else view[:0]
            out.append(Section(index, name, type, flags, size, link, info, content, align))
        return out

    @staticmethod
    def _content(view: memoryview, head: tuple[int, ...], name: str) -> memoryview:
        offset, size = head[4], head[5]
        if head[1] == SHT_NOBITS or not size:
            return view[:0]
        if offset + size > len(view):
            raise ObjectError(
                f"truncated ELF file: section {name} ends at byte {offset + size}, the file at {len(view)}"
            )
        return view[offset : offset + size]

    def _read_symbols(self) -> list[Symbol]:
        table = next((s for s in self.sections if s.type == SHT_SYMTAB), None)
        if table is None:
            return []
        if table.size % _SYMBOL_SIZE:
            raise ObjectError("broken ELF file: the symbol table is cut off")
        if table.link >= len(self.sections):
            raise ObjectError("broken ELF file: the symbol names are in a section that does not exist")
        names = bytes(self.sections[table.link].data)
        out = []
        n = len(self.sections)
        for index, fields in enumerate(struct.iter_unpack(self._order + "IBBHQQ", table.data)):
            name_off, info, other, shndx, value, size = fields
            if n <= shndx < SHN_LORESERVE:
                raise ObjectError(f"broken ELF file: symbol {index} is in section {shndx} of {n}")
            type = info & 15
            name = _string(names, name_off, f"name of symbol {index}") if name_off else ""
            if type == STT_SECTION and not name and shndx < n:
                name = self.sections[shndx].name
            out.append(Symbol(index, name, type, info >> 4, other & 3, shndx, value, size))
        return out

    def section(self, name: str) -> Section | None:
        """The first section with this name."""
        for s in self.sections:
            if s.name == name:
                return s
        return None

    def relocations(self, table: Section) -> Iterator[tuple[int, int, Symbol]]:
        """The entries of a SHT_REL section: offset in the section it is for, relocation type, symbol."""
        if table.size % 16:
            raise ObjectError(f"broken ELF file: relocation section {table.name} is cut off")
        symbols = self.symbols
        for offset, info in struct.iter_unpack(self._order + "QQ", table.data):
            index = info >> 32
            if index >= len(symbols):
                raise ObjectError(f"broken ELF file: {table.name} names symbol {index}, which does not exist")
            yield offset, info & 0xFFFFFFFF, symbols[index]


def _string(blob: bytes, offset: int, what: str) -> str:
    end = blob.find(0, offset)
    if offset > len(blob) or (end < 0 and offset < len(blob)):
        raise ObjectError(f"broken ELF file: {what} is outside its string table")
    return blob[offset:end].decode("utf-8", "backslashreplace")
