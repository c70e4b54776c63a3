"""ELF files as a uprobe needs them: symbols, sections, segments, notes, the build id.

Only the parts that are asked for are read. Nothing is mapped: a file that is cut short while it is mapped
kills the process that reads it. Layouts are those of the System V ABI (`/usr/include/elf.h`).
"""

from __future__ import annotations

import os
import struct

from probee.errors import ObjectError
from probee.symbols.table import (
    STT_FUNC,
    STT_GNU_IFUNC,
    STT_NOTYPE,
    Symbol,
    SymbolTable,
    rank,
)
from probee.symbols.versions import Versions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

ET_EXEC, ET_DYN = 2, 3
SHT_SYMTAB, SHT_NOTE, SHT_NOBITS, SHT_DYNSYM = 2, 7, 8, 11
_SHT_GNU_VERDEF, _SHT_GNU_VERSYM = 0x6FFFFFFD, 0x6FFFFFFF
PT_LOAD, PT_NOTE = 1, 4
_NT_GNU_BUILD_ID = 3
_SHN_XINDEX, _PN_XNUM = 0xFFFF, 0xFFFF
_MOST_NOTES = 100_000
_LONGEST_NAME = 256
_MOST_BYTES = 1 << 31

__all__ = ["STT_FUNC", "STT_GNU_IFUNC", "STT_NOTYPE", "Elf", "Section", "Symbol"]


class Section:
    """A section header. `offset` and `size` are bytes of the file, `address` is virtual, as linked."""

    __slots__ = ("address", "flags", "info", "link", "name", "offset", "size", "type")

    def __init__(self, fields: tuple[int, ...]) -> None:
        self.name = ""
        _, self.type, self.flags, self.address, self.offset, self.size, self.link, self.info, _, _ = fields


class Segment:
    """A program header. `size` is bytes in the file, `memory_size` in memory."""

    __slots__ = ("address", "flags", "memory_size", "offset", "size", "type")

    def __init__(self, type: int, flags: int, offset: int, address: int, size: int, memory_size: int) -> None:
        self.type = type
        self.flags = flags
        self.offset = offset
        self.address = address
        self.size = size
        self.memory_size = memory_size


class Elf:
    """An executable or shared object, open until `close()`.

    `data` is used instead of the file, if given: an image from an archive, or one that was unpacked. `start`
    is then where it lies in the file `path`, which `file_offset` adds; -1 if it lies nowhere.
    Raises `OSError` if the file can't be opened, `ObjectError` if it is no sound ELF file.
    """

    __slots__ = (
        "_data",
        "_fd",
        "_order",
        "_tables",
        "machine",
        "path",
        "sections",
        "segments",
        "size",
        "start",
        "type",
        "wide",
    )

    def __init__(self, path: str, data: bytes | None = None, start: int = 0) -> None:
        self.path = path
        self.start = start
        self._data = data
        self._fd = -1
        self._tables: list[SymbolTable] | None = None
        try:
            if data is None:
                # A pipe, too, opens at once.
                self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
                self.size = os.fstat(self._fd).st_size
            else:
                self.size = len(data)
            self._parse()
        except (struct.error, IndexError, OverflowError) as error:
            self.close()
            raise ObjectError(f"{path}: broken ELF file: {error}") from None
        except (OSError, ObjectError):
            self.close()
            raise

    def __enter__(self) -> Elf:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes of the image at `offset`. Raises `ObjectError` if the file ends before."""
        if offset + size > self.size or size > _MOST_BYTES:
            raise ObjectError(f"{self.path}: broken ELF file: it ends before {offset + size:#x}")
        if self._data is not None:
            return self._data[offset : offset + size]
        chunks = []
        while size > 0:
            chunk = os.pread(self._fd, size, offset)
            if not chunk:
                raise ObjectError(f"{self.path}: the file became shorter while it was read")
            chunks.append(chunk)
            offset += len(chunk)
            size -= len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def peek(self, offset: int, size: int) -> bytes:
        """`size` bytes of the image at `offset`, or as many as there are."""
        return self.read(offset, max(0, min(size, self.size - offset)))

    # ---- headers

    def _parse(self) -> None:
        data = self.read(0, min(64, self.size))
        if len(data) < 52:
            raise ObjectError(f"{self.path}: not an ELF file (shorter than an ELF header)")
        if data[:4] != b"\x7fELF":
            raise ObjectError(f"{self.path}: not an ELF file (bad magic {data[:4]!r})")
        self.wide = wide = data[4] == 2
        self._order = order = ">" if data[5] == 2 else "<"
        self.type, self.machine = struct.unpack_from(order + "HH", data, 16)
        head = order + ("QQI6H" if wide else "III6H")
        phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, names = struct.unpack_from(
            head, data, 32 if wide else 28
        )
        shape = order + ("IIQQQQIIQQ" if wide else "10I")
        width = struct.calcsize(shape)
        if shoff and (not shnum or phnum == _PN_XNUM or names == _SHN_XINDEX):
            first = struct.unpack(shape, self.read(shoff, width))  # numbers too large for the header are here
            shnum = shnum or first[5]
            phnum = first[7] if phnum == _PN_XNUM else phnum
            names = first[6] if names == _SHN_XINDEX else names
        for what, count, size, least in (
            ("section", shnum, shentsize, width),
            ("program", phnum, phentsize, 56 if wide else 32),
        ):
            if count and size != least:
                raise ObjectError(f"{self.path}: broken ELF file: {what} headers of {size} bytes")
        self.segments: list[Segment] = []
        headers = self.read(phoff, phnum * phentsize)
        for fields in struct.iter_unpack(order + ("IIQQQQQQ" if wide else "8I"), headers):
            if wide:
                kind, flags, offset, address, _, size, memory, _ = fields
            else:
                kind, offset, address, _, size, memory, flags, _ = fields
            self.segments.append(Segment(kind, flags, offset, address, size, memory))
        headers = self.read(shoff, shnum * shentsize)
        found = list(struct.iter_unpack(shape, headers))
        self.sections = [Section(fields) for fields in found]
        if names < len(self.sections):
            text = self.content(self.sections[names]) + b"\0"
            for section, fields in zip(self.sections, found, strict=True):
                stop = text.find(b"\0", fields[0])
                if stop > fields[0]:
                    section.name = text[fields[0] : min(stop, fields[0] + _LONGEST_NAME)].decode(
                        errors="replace"
                    )

    def _symbol_tables(self) -> Iterator[SymbolTable]:
        # .symtab is a superset of .dynsym where it exists, but only .dynsym has versions.
        for wanted in (SHT_DYNSYM, SHT_SYMTAB):
            for section in self.sections:
                if section.type != wanted or section.link >= len(self.sections):
                    continue
                strings = self.sections[section.link]
                if strings.type == SHT_NOBITS:
                    continue
                for part in (strings, section):
                    if part.offset + part.size > self.size:
                        raise ObjectError(f"{self.path}: broken ELF file: symbols past the end of the file")
                yield SymbolTable(
                    self.read,
                    self._order,
                    self.wide,
                    (section.offset, section.size),
                    (strings.offset, strings.size),
                    self._versions(strings) if wanted == SHT_DYNSYM else None,
                )

    def _versions(self, strings: Section) -> Versions | None:
        numbers = next((s for s in self.sections if s.type == _SHT_GNU_VERSYM), None)
        if numbers is None:
            return None
        versions = Versions(self._order, self.content(numbers))
        for section in self.sections:
            if section.type == _SHT_GNU_VERDEF:
                versions.define(self.content(section), self.content(strings))
        return versions

    # ---- symbols

    @property
    def tables(self) -> list[SymbolTable]:
        """`.dynsym`, then `.symtab`, as far as they are there."""
        if self._tables is None:
            self._tables = list(self._symbol_tables())
        return self._tables

    def lookup(self, name: str) -> list[Symbol]:
        """Every defined symbol called `name`, which may end in `@VERSION` or `@@VERSION` (the default one).

        Each address once. Without a version, those that are not the default one come last.
        """
        plain, at, version = name.partition("@")
        only_default = version.startswith("@")
        version = version.lstrip("@")
        found: dict[int, Symbol] = {}
        for table in self.tables:
            for index in table.named(plain.encode()):
                symbol = table.symbol(index)
                if symbol is None or (at and symbol.version != version):
                    continue
                if only_default and not symbol.default:
                    continue
                found.setdefault(symbol.address, symbol)
            if at:  # .symtab has the versions inside the names
                for text in [f"{plain}@@{version}"] + [f"{plain}@{version}"] * (not only_default):
                    for index in table.named(text.encode()):
                        symbol = table.symbol(index)
                        if symbol is not None:
                            found.setdefault(symbol.address, symbol)
        return sorted(found.values(), key=lambda symbol: not symbol.default)

    def find(self, name: str) -> Symbol | None:
        """The defined symbol that `name` means: of its default version, global rather than weak or local."""
        found = self.lookup(name)
        return min(found, key=rank, default=None)

    def matching(self, pattern: str) -> list[Symbol]:
        """The functions whose name matches `pattern` (`*`, `?`), each address once, by address."""
        found: dict[int, Symbol] = {}
        for table in self.tables:
            for index in table.matching(pattern):
                symbol = table.symbol(index)
                if symbol is not None and symbol.type == STT_FUNC:
                    found.setdefault(symbol.address, symbol)
        return sorted(found.values(), key=lambda symbol: symbol.address)

    def symbols(self) -> Iterator[Symbol]:
        """Every defined symbol, those in both tables twice."""
        for table in self.tables:
            for index in range(table.count):
                symbol = table.symbol(index)
                if symbol is not None:
                    yield symbol

    def at(self, address: int) -> Symbol | None:
        """The function that the virtual `address` is in; of one without a size, the last before it."""
        best = None
        for table in self.tables:
            found = table.at(address)
            if found is not None and (best is None or found.address > best.address):
                best = found
        return best

    def imports(self, name: str) -> bool:
        """Whether the file uses `name` from another one."""
        return any(table.undefined(name) for table in self.tables)

    # ---- places

    def file_offset(self, address: int) -> int | None:
        """Where in the file the byte at virtual `address` is; `None` if the file doesn't hold it."""
        for segment in self.segments:
            if segment.type == PT_LOAD and segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset + self.start
        return None

    def address_of(self, offset: int) -> int | None:
        """The virtual address of the byte at `offset` of the file; `None` if it is loaded nowhere."""
        offset -= self.start
        for segment in self.segments:
            if segment.type == PT_LOAD and segment.offset <= offset < segment.offset + segment.size:
                return offset - segment.offset + segment.address
        return None

    def is_code(self, address: int) -> bool:
        """Whether `address` lies in an executable segment."""
        return any(
            s.type == PT_LOAD and s.flags & 1 and s.address <= address < s.address + s.memory_size
            for s in self.segments
        )

    # ---- sections and notes

    def section(self, name: str) -> Section | None:
        """The first section called `name`."""
        return next((section for section in self.sections if section.name == name), None)

    def content(self, section: Section) -> bytes:
        """The bytes of a section; none if the file doesn't hold them (`SHT_NOBITS`)."""
        if section.type == SHT_NOBITS:
            return b""
        return self.read(section.offset, section.size)

    def notes(self, content: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """(owner, type, value) of each note in `content`; a broken one ends the list."""
        at = 0
        for _ in range(_MOST_NOTES):
            if at + 12 > len(content):
                return
            name_size, value_size, type = struct.unpack_from(self._order + "III", content, at)
            value = at + 12 + (name_size + 3 & ~3)
            if value + value_size > len(content):
                return
            yield (
                content[at + 12 : at + 12 + name_size].rstrip(b"\0"),
                type,
                content[value : value + value_size],
            )
            at = value + (value_size + 3 & ~3)

    def words(self, content: bytes, count: int) -> tuple[int, ...]:
        """The first `count` addresses in `content`, in the file's own width and byte order."""
        words: tuple[int, ...] = struct.unpack_from(
            f"{self._order}{count}{'Q' if self.wide else 'I'}", content
        )
        return words

    @property
    def byteorder(self) -> Literal["little", "big"]:
        return "little" if self._order == "<" else "big"

    @property
    def word_size(self) -> int:
        """Bytes of an address."""
        return 8 if self.wide else 4

    def build_id(self) -> str:
        """The GNU build id in hexadecimal, empty if there is none."""
        # Sections first: in a debug file, the segments are those of the file that it was made of.
        places = [(s.offset, s.size) for s in self.sections if s.type == SHT_NOTE]
        places += [(s.offset, s.size) for s in self.segments if s.type == PT_NOTE]
        for offset, size in places:
            if offset + size > self.size:
                continue
            for owner, type, value in self.notes(self.read(offset, size)):
                if type == _NT_GNU_BUILD_ID and owner == b"GNU":
                    return value.hex()
        return ""

    @property
    def is_go(self) -> bool:
        """Whether Go's linker made it: functions whose stack moves, which return probes break."""
        return any(
            section.name in (".go.buildinfo", ".note.go.buildid", ".gopclntab") for section in self.sections
        )
