"""Symbols of an ELF file on disk, found without reading the whole table: what a uprobe needs to know.

Layouts are those of the System V ABI (`/usr/include/elf.h`).
"""

from __future__ import annotations

import mmap
import os
import struct

from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ET_EXEC, ET_DYN = 2, 3
_SHT_SYMTAB, _SHT_DYNSYM, _SHT_GNU_VERSYM = 2, 11, 0x6FFFFFFF
_PT_LOAD, _PT_NOTE = 1, 4
_NT_GNU_BUILD_ID = 3
_HIDDEN = 0x8000  # .gnu.version: not the default version of this name
STT_FUNC, STT_GNU_IFUNC = 2, 10


class Symbol:
    """A defined symbol. `address` is virtual, as linked; `type` is STT_…; `size` is bytes, 0 if unknown."""

    __slots__ = ("address", "name", "size", "type")

    def __init__(self, name: str, address: int, size: int, type: int) -> None:
        self.name = name
        self.address = address
        self.size = size
        self.type = type

    def __repr__(self) -> str:
        return f"Symbol({self.name}, address={self.address:#x}, size={self.size})"


class _Table:
    """A symbol table: place and entry size of its entries, its strings, and its version table if any."""

    __slots__ = ("count", "offset", "string_size", "strings", "versions")

    def __init__(self, offset: int, count: int, strings: int, string_size: int, versions: int) -> None:
        self.offset = offset
        self.count = count
        self.strings = strings
        self.string_size = string_size
        self.versions = versions


class Elf:
    """An executable or shared object, mapped into memory until `close()`.

    Raises `OSError` if the file can't be opened, `ObjectError` if it is no sound ELF file.
    """

    __slots__ = ("_data", "_entry", "_order", "_segments", "_tables", "_wide", "machine", "path", "type")

    def __init__(self, path: str) -> None:
        self.path = path
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size < 64:
                raise ObjectError(f"{path}: not an ELF file (shorter than an ELF header)")
            self._data = mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
        finally:
            os.close(fd)
        try:
            self._parse()
        except (struct.error, IndexError, OverflowError) as error:
            self.close()
            raise ObjectError(f"{path}: broken ELF file: {error}") from None
        except ObjectError:
            self.close()
            raise

    def __enter__(self) -> Elf:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._data.close()

    def _parse(self) -> None:
        data = self._data
        if data[:4] != b"\x7fELF":
            raise ObjectError(f"{self.path}: not an ELF file (bad magic {data[:4]!r})")
        self._wide = wide = data[4] == 2
        self._order = order = ">" if data[5] == 2 else "<"
        self.type, self.machine = struct.unpack_from(order + "HH", data, 16)
        head = order + ("QQI6H" if wide else "III6H")
        phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, _ = struct.unpack_from(
            head, data, 32 if wide else 28
        )
        self._segments: list[tuple[int, int, int, int]] = []  # type, offset, address, size in file
        for index in range(phnum):
            at = phoff + index * phentsize
            if wide:
                kind, _, offset, address, _, size = struct.unpack_from(order + "IIQQQQ", data, at)
            else:
                kind, offset, address, _, size = struct.unpack_from(order + "IIIII", data, at)
            self._segments.append((kind, offset, address, size))
        sections = []
        shape = order + ("IIQQQQIIQQ" if wide else "10I")
        for index in range(shnum):
            sections.append(struct.unpack_from(shape, data, shoff + index * shentsize))
        self._entry = 24 if wide else 16
        self._tables: list[_Table] = []
        versions = next((s[4] for s in sections if s[1] == _SHT_GNU_VERSYM), 0)
        # .symtab is a superset of .dynsym where it exists, but only .dynsym has versions.
        for wanted in (_SHT_DYNSYM, _SHT_SYMTAB):
            for section in sections:
                if section[1] != wanted:
                    continue
                strings = sections[section[6]]
                end = strings[4] + strings[5]
                if end > len(data) or section[4] + section[5] > len(data):
                    raise ObjectError(f"{self.path}: broken ELF file: symbols past the end of the file")
                count = section[5] // self._entry
                numbers = versions if wanted == _SHT_DYNSYM else 0
                if numbers + 2 * count > len(data):
                    raise ObjectError(f"{self.path}: broken ELF file: versions past the end of the file")
                self._tables.append(_Table(section[4], count, strings[4], strings[5], numbers))

    def _symbol(self, table: _Table, index: int) -> tuple[int, int, int, int, int]:
        """(name offset, type, section index, value, size)."""
        at = table.offset + index * self._entry
        if self._wide:
            name, info, _, section, value, size = struct.unpack_from(self._order + "IBBHQQ", self._data, at)
        else:
            name, value, size, info, _, section = struct.unpack_from(self._order + "IIIBBH", self._data, at)
        return name, info & 15, section, value, size

    def find(self, name: str) -> Symbol | None:
        """The defined symbol called `name`, of its default version; `None` if there is none."""
        for table in self._tables:
            best: Symbol | None = None
            for index in self._indices(table, name.encode()):
                _, kind, section, value, size = self._symbol(table, index)
                if not section or not value:
                    continue
                found = Symbol(name, value, size, kind)
                if not self._hidden(table, index):
                    return found
                best = best or found
            if best:
                return best
        return None

    def _hidden(self, table: _Table, index: int) -> bool:
        if not table.versions:
            return False
        (version,) = struct.unpack_from(self._order + "H", self._data, table.versions + 2 * index)
        return bool(version & _HIDDEN)

    def _indices(self, table: _Table, name: bytes) -> Iterator[int]:
        """Entries whose name is `name`: each place of the text in the string table, then who refers to it."""
        data = self._data
        end = table.strings + table.string_size
        last = table.offset + table.count * self._entry
        at = data.find(name + b"\0", table.strings, end)
        while at >= 0:
            reference = struct.pack(self._order + "I", at - table.strings)
            place = data.find(reference, table.offset, last)
            while place >= 0:
                index, rest = divmod(place - table.offset, self._entry)
                if not rest:
                    yield index
                place = data.find(reference, place + 1, last)
            at = data.find(name + b"\0", at + 1, end)

    def symbols(self) -> Iterator[Symbol]:
        """Every defined symbol, those in both tables twice."""
        for table in self._tables:
            for index in range(table.count):
                name, kind, section, value, size = self._symbol(table, index)
                if section and value:
                    start = table.strings + name
                    end = self._data.find(b"\0", start, table.strings + table.string_size)
                    if end > start:
                        text = self._data[start:end].decode(errors="replace")
                        yield Symbol(text, value, size, kind)

    def file_offset(self, address: int) -> int | None:
        """Where in the file the byte at virtual `address` is; `None` if it is in no loaded segment."""
        for kind, offset, start, size in self._segments:
            if kind == _PT_LOAD and start <= address < start + size:
                return address - start + offset
        return None

    def build_id(self) -> str:
        """The GNU build id in hexadecimal, empty if there is none."""
        for kind, offset, _, size in self._segments:
            if kind != _PT_NOTE:
                continue
            at, end = offset, min(offset + size, len(self._data))
            while at + 12 <= end:
                name_size, value_size, note = struct.unpack_from(self._order + "III", self._data, at)
                value = at + 12 + (name_size + 3 & ~3)
                if note == _NT_GNU_BUILD_ID and self._data[at + 12 : at + 16] == b"GNU\0":
                    return self._data[value : value + value_size].hex()
                at = value + (value_size + 3 & ~3)
        return ""
