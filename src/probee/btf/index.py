"""The index of a large BTF: where each type begins, and which types have a name. Made once, then mapped.

Layout of the file, in the machine's byte order (it never leaves the machine):

    header     `_HEADER`, see there
    places     u32 for each type: the word of the type section where it begins
    names      u64 for each named type, ascending: crc32 of the name without flavour << 32 | type id
    copy       the BTF itself, only where the kernel's cannot be mapped (before Linux 6.16)

An index belongs to one BTF, named by `key`; size and a checksum of both ends of the BTF are compared too. All
of the file is under checksums. Whatever does not hold makes it as good as absent.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left

from probee.btf.parser import Btf, Layout, essential_name, scan_types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from probee.btf.parser import Buffer

MAGIC = b"probeBTF"
VERSION = 1

# Magic; version, also a byte-order mark; checksum of everything behind it but the copy.
_START = struct.Struct("=8sII")
# Checksum of the copy; number of types; of names; size of the copy or 0; size of the BTF; checksum of its
# ends; key.
_HEADER = struct.Struct("=IIIIQI100s")
_TABLES = 152  # where the tables begin: a multiple of 8 behind the header
_EDGE = 4096


def _edges(data: Buffer) -> int:
    """A checksum of the first and last bytes: a cheap guard against a BTF other than its key says."""
    return zlib.crc32(data[-_EDGE:], zlib.crc32(data[:_EDGE]))


def build(data: Buffer, key: bytes, *, with_copy: bool = False) -> bytes:
    """Make the index of a BTF (not a split one). Raises ObjectError if the BTF is broken."""
    from array import array  # pulls in collections.abc, and a build is rare

    layout = Layout(data)
    words = layout.words(data)
    places = scan_types(words)
    names = _name_table(data[layout.str_pos : layout.str_pos + layout.str_len], [words[p] for p in places])

    tables = array("I", places).tobytes()
    tables += bytes(-len(tables) % 8) + array("Q", names).tobytes()
    copy = data[:] if with_copy else b""
    header = _HEADER.pack(
        zlib.crc32(copy), len(places), len(names), len(copy), len(data), _edges(data), key.ljust(100, b"\0")
    )
    header += bytes(_TABLES - _START.size - len(header))
    check = zlib.crc32(tables, zlib.crc32(header))
    return b"".join((_START.pack(MAGIC, VERSION, check), header, tables, copy))


def _name_table(strings: bytes, offsets: list[int]) -> list[int]:
    """The sorted table of names; `offsets` are the types' names, in order of their ids."""
    find = strings.find
    crc = zlib.crc32
    other = _flavoured(strings)
    # One expression and no call of a function of ours in it: this is most of what building costs.
    table = [
        crc(strings[at : find(0, at)]) << 32 | id
        for id, at in enumerate(offsets, 1)
        if at and at not in other
    ]
    table += [other[at] << 32 | id for id, at in enumerate(offsets, 1) if at in other]
    table.sort()
    return table


def _flavoured(strings: bytes) -> dict[int, int]:
    """Offset of each string that has a flavour -> checksum of its name without it. There are few."""
    out = {}
    at = strings.find(b"___")
    while at >= 0:
        begin = strings.rfind(0, 0, at) + 1
        end = strings.find(0, at)
        name = strings[begin:end].decode("utf-8", "backslashreplace")
        essential = essential_name(name)
        if essential != name:
            out[begin] = zlib.crc32(essential.encode())
        at = strings.find(b"___", end)
    return out


class _MappedNames:
    """Types by essential name, from the table."""

    __slots__ = ("_table",)

    def __init__(self, table: memoryview) -> None:
        self._table = table

    def ids(self, essential_name: str) -> Sequence[int]:
        table = self._table
        first = zlib.crc32(essential_name.encode("utf-8", "surrogatepass")) << 32
        at = bisect_left(table, first)
        out = []
        while at < len(table) and table[at] >> 32 == first >> 32:
            out.append(table[at] & 0xFFFFFFFF)
            at += 1
        return out


def attach(index: Buffer, key: bytes, data: Buffer | None, size: int) -> Btf | None:
    """The Btf that an index and the BTF's bytes make; None if the index is broken or another BTF's.

    Without `data` the index must hold a copy of the BTF. `size` is the size of the BTF in bytes.
    """
    if len(index) < _TABLES:
        return None
    magic, version, check = _START.unpack_from(index)
    if magic != MAGIC or version != VERSION:
        return None
    copy_check, n_types, n_names, copy_len, btf_size, edges, its_key = _HEADER.unpack_from(index, _START.size)
    names_at = _TABLES + (4 * n_types + 7) // 8 * 8
    end = names_at + 8 * n_names
    if its_key != key.ljust(100, b"\0") or btf_size != size or len(index) != end + copy_len:
        return None
    with memoryview(index) as view:
        if zlib.crc32(view[_START.size : end]) != check or zlib.crc32(view[end:]) != copy_check:
            return None
    if data is None:
        if copy_len != size:
            return None
        data = index[end:]
    if len(data) != size or _edges(data) != edges:
        return None
    view = memoryview(index)
    places = view[_TABLES : _TABLES + 4 * n_types].cast("I")
    return Btf(data, Layout(data), places, None, _MappedNames(view[names_at:end].cast("Q")))


__all__ = ["attach", "build"]
