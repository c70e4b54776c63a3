"""From the object that LLVM makes to code in memory that can run, without LLVM: what is cached is this code.

The sections that a program needs are put one after another, and what they hold of one another's addresses is
relative, so the result runs wherever it lies.
"""

from __future__ import annotations

import ctypes
import mmap
import struct

from ..errors import ProbeeError, Unsupported

_ALLOC, _NOBITS, _RELA, _SYMTAB = 2, 8, 4, 2  # of ELF
_PC32, _PLT32, _PC64 = 2, 4, 24  # R_X86_64_…
_MAGIC = b"probee\0\1"


class Linked:
    """Machine code: `code` runs wherever it lies, `entries` are the offsets of its functions by name."""

    __slots__ = ("code", "entries")

    def __init__(self, code: bytes, entries: dict[str, int]) -> None:
        self.code = code
        self.entries = entries

    def pack(self) -> bytes:
        """The bytes to keep; `unpack` reads them."""
        out = [_MAGIC, struct.pack("<II", len(self.entries), len(self.code))]
        for name, offset in self.entries.items():
            raw = name.encode()
            out.append(struct.pack("<BI", len(raw), offset) + raw)
        out.append(self.code)
        return b"".join(out)

    @staticmethod
    def unpack(data: bytes) -> Linked:
        """The inverse of `pack`. Raises ProbeeError if these bytes are not such."""
        try:
            if data[:8] != _MAGIC:
                raise ValueError
            count, size = struct.unpack_from("<II", data, 8)
            at, entries = 16, {}
            for _ in range(count):
                length, offset = struct.unpack_from("<BI", data, at)
                name = data[at + 5 : at + 5 + length].decode()
                entries[name] = offset
                at += 5 + length
            if len(data) - at != size or any(offset >= size for offset in entries.values()):
                raise ValueError
        except (struct.error, ValueError):
            raise ProbeeError("this is no native code of probee's") from None
        return Linked(data[at:], entries)


def link(obj: bytes) -> Linked:
    """Put the sections of an x86-64 ELF object together.

    Raises:
        Unsupported: it refers to something outside of itself, or in a way that is not known here.
    """
    sections = _sections(obj)
    places: dict[int, int] = {}
    blob = bytearray()
    for number, (_, kind, flags, offset, size, _, _, align) in enumerate(sections):
        # Tables for unwinding are of no use: nothing unwinds through this code.
        if not flags & _ALLOC or kind == 0x70000001:
            continue
        blob += bytes(-len(blob) % max(align, 1))
        places[number] = len(blob)
        blob += bytes(size) if kind == _NOBITS else obj[offset : offset + size]
    symbols = _symbols(obj, sections)
    for _, kind, _, offset, size, _, info, _ in sections:
        if kind != _RELA or info not in places:
            continue
        for at, packed, addend in struct.iter_unpack("<QQq", obj[offset : offset + size]):
            _relocate(blob, places, symbols, places[info] + at, packed, addend)
    entries = {
        name: places[section] + value
        for name, section, value, exported in symbols
        if exported and name and section in places
    }
    return Linked(bytes(blob), entries)


def _sections(obj: bytes) -> list[tuple[int, int, int, int, int, int, int, int]]:
    """Name, kind, flags, offset, size, link, info and alignment of each section."""
    table, count = struct.unpack_from("<Q", obj, 40)[0], struct.unpack_from("<H", obj, 60)[0]
    out = []
    for n in range(count):
        name, kind, flags, _, offset, size, link_, info, align, _ = struct.unpack_from(
            "<IIQQQQIIQQ", obj, table + 64 * n
        )
        out.append((name, kind, flags, offset, size, link_, info, align))
    return out


def _symbols(
    obj: bytes, sections: list[tuple[int, int, int, int, int, int, int, int]]
) -> list[tuple[str, int, int, bool]]:
    """Name, section, value, and whether it is global, of each symbol."""
    out = []
    for _, kind, _, offset, size, link_, _, _ in sections:
        if kind != _SYMTAB:
            continue
        strings = sections[link_][3]
        for name, info, _, section, value, _ in struct.iter_unpack("<IBBHQQ", obj[offset : offset + size]):
            end = obj.index(0, strings + name)
            out.append((obj[strings + name : end].decode(), section, value, info >> 4 != 0))
    return out


def _relocate(
    blob: bytearray,
    places: dict[int, int],
    symbols: list[tuple[str, int, int, bool]],
    at: int,
    packed: int,
    addend: int,
) -> None:
    name, section, value, _ = symbols[packed >> 32]
    kind = packed & 0xFFFFFFFF
    if section not in places:
        raise Unsupported(f"native code needs {name or 'something'} from outside", feature="JIT")
    target = places[section] + value + addend - at
    if kind in (_PC32, _PLT32):
        struct.pack_into("<i", blob, at, target)
    elif kind == _PC64:
        struct.pack_into("<q", blob, at, target)
    else:
        raise Unsupported(f"native code has a reference of kind {kind}", feature="JIT")


class Mapped:
    """Code that can be called. Lives as long as this object."""

    __slots__ = ("_map", "address", "entries")

    def __init__(self, linked: Linked) -> None:
        size = (len(linked.code) + 4095) & -4096
        self._map = mmap.mmap(-1, size)
        self._map[: len(linked.code)] = linked.code
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        if _mprotect()(self.address, size, mmap.PROT_READ | mmap.PROT_EXEC):
            raise Unsupported("this system does not let a process make code", feature="JIT")
        self.entries = linked.entries

    def entry(self, name: str) -> int:
        """The address of a function."""
        return self.address + self.entries[name]


_functions: list[ctypes._NamedFuncPointer] = []


def _mprotect() -> ctypes._NamedFuncPointer:
    if not _functions:
        function = ctypes.CDLL(None).mprotect
        function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        _functions.append(function)
    return _functions[0]
