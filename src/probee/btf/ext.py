"""`.BTF.ext`: what belongs to instructions of a BPF object (UAPI header `linux/btf.h`, kernel's btf.rst).

Offsets are as in the section: in bytes from the start of the ELF section the records are for.
"""

from __future__ import annotations

import struct

from probee.btf.kinds import MAGIC, VERSION
from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf.merge import Strings
    from probee.btf.parser import Btf

_HEADER = 24  # up to and including the line info; from 32 on there are CO-RE relocations
_HEADER_WITH_CORE = 32


class CoreReloc:
    """A CO-RE relocation record: the instruction, the local type, the access path ("0:1:2"), the kind."""

    __slots__ = ("access_str", "insn_off", "kind", "type_id")

    def __init__(self, insn_off: int, type_id: int, access_str: str, kind: int) -> None:
        self.insn_off = insn_off
        self.type_id = type_id
        self.access_str = access_str
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CoreReloc) and (
            (self.insn_off, self.type_id, self.access_str, self.kind)
            == (other.insn_off, other.type_id, other.access_str, other.kind)
        )

    def __hash__(self) -> int:
        return hash((self.insn_off, self.type_id, self.access_str, self.kind))

    def __repr__(self) -> str:
        return f"CoreReloc({self.insn_off}, {self.type_id}, {self.access_str!r}, {self.kind})"


class BtfExt:
    """Function, line and CO-RE records, by name of the ELF section they are for, in file order.

    `funcs`: (byte offset, FUNC type id). `lines`: (byte offset, file name, line text, line << 10 | column),
    the two names as string offsets. `core`: CoreReloc.
    """

    __slots__ = ("core", "funcs", "lines")

    def __init__(
        self,
        funcs: dict[str, list[tuple[int, int]]],
        lines: dict[str, list[tuple[int, int, int, int]]],
        core: dict[str, list[CoreReloc]],
    ) -> None:
        self.funcs = funcs
        self.lines = lines
        self.core = core

    @staticmethod
    def parse(data: bytes | bytearray | memoryview, btf: Btf) -> BtfExt:
        """Read a `.BTF.ext` section; `btf` is the object's own and gives the strings. Raises ObjectError."""
        blob = data if isinstance(data, bytes) else bytes(data)
        if len(blob) < 8:
            raise ObjectError("broken .BTF.ext: shorter than its header")
        order = "<" if blob[:2] == b"\x9f\xeb" else ">"
        magic, version, _, hdr_len = struct.unpack_from(order + "HBBI", blob)
        if magic != MAGIC:
            raise ObjectError(f"not .BTF.ext: magic {blob[:2].hex()} instead of {MAGIC:04x}")
        if (order == "<") != (btf.endian == "little"):
            raise ObjectError("the byte orders of .BTF and .BTF.ext differ")
        if version != VERSION:
            raise ObjectError(f".BTF.ext version {version} is unknown; probee reads version {VERSION}")
        if not _HEADER <= hdr_len <= len(blob):
            raise ObjectError(f"broken .BTF.ext: header length {hdr_len}")
        func_off, func_len, line_off, line_len = struct.unpack_from(order + "4I", blob, 8)
        core_off = core_len = 0
        if hdr_len >= _HEADER_WITH_CORE:
            core_off, core_len = struct.unpack_from(order + "2I", blob, 24)

        funcs: dict[str, list[tuple[int, int]]] = {}
        for section, record in _sections(blob, order, hdr_len, func_off, func_len, 2, btf):
            funcs.setdefault(section, []).extend((r[0], r[1]) for r in record)
        lines: dict[str, list[tuple[int, int, int, int]]] = {}
        for section, record in _sections(blob, order, hdr_len, line_off, line_len, 4, btf):
            lines.setdefault(section, []).extend((r[0], r[1], r[2], r[3]) for r in record)
        core: dict[str, list[CoreReloc]] = {}
        for section, record in _sections(blob, order, hdr_len, core_off, core_len, 4, btf):
            core.setdefault(section, []).extend(CoreReloc(r[0], r[1], btf.string(r[2]), r[3]) for r in record)
        return BtfExt(funcs, lines, core)


def encode(ext: BtfExt, strings: Strings, endian: str) -> bytes:
    """A `.BTF.ext` section. Section names and accesses are added to `strings`; lines hold their offsets."""
    order = "<" if endian == "little" else ">"
    tables: list[tuple[int, dict[str, list[tuple[int, ...]]]]] = [
        (2, {name: list(records) for name, records in ext.funcs.items()}),
        (4, {name: list(records) for name, records in ext.lines.items()}),
        (
            4,
            {
                name: [(r.insn_off, r.type_id, strings.add(r.access_str), r.kind) for r in relocs]
                for name, relocs in ext.core.items()
            },
        ),
    ]
    body = bytearray()
    places = []
    for words, sections in tables:
        start = len(body)
        if any(sections.values()):
            body += struct.pack(order + "I", 4 * words)
        for name, records in sections.items():
            if records:
                body += struct.pack(order + "2I", strings.add(name), len(records))
                body += struct.pack(f"{order}{words * len(records)}I", *(w for r in records for w in r))
        places += [start, len(body) - start]
    return struct.pack(order + "HBBI6I", MAGIC, VERSION, 0, _HEADER_WITH_CORE, *places) + bytes(body)


def _sections(
    blob: bytes, order: str, base: int, offset: int, length: int, words: int, btf: Btf
) -> list[tuple[str, list[tuple[int, ...]]]]:
    """The tables of one sort of record. Records longer than the `words` we know are cut."""
    if not length:
        return []
    pos = base + offset
    end = pos + length
    if offset % 4 or end > len(blob):
        raise ObjectError(f"broken .BTF.ext: a table at {offset}, {length} bytes, is outside the section")
    if length < 4:
        raise ObjectError("broken .BTF.ext: a table without record size")
    (size,) = struct.unpack_from(order + "I", blob, pos)
    if size % 4 or not 4 * words <= size <= length:
        raise ObjectError(f"broken .BTF.ext: record size {size}")
    record = struct.Struct(f"{order}{words}I{size - 4 * words}x")
    pos += 4
    out = []
    while pos < end:
        if end - pos < 8:
            raise ObjectError("broken .BTF.ext: a section header is cut off")
        name, count = struct.unpack_from(order + "2I", blob, pos)
        pos += 8
        if not count or count * size > end - pos:
            raise ObjectError(f"broken .BTF.ext: {count} records do not fit")
        out.append((btf.string(name), list(record.iter_unpack(blob[pos : pos + count * size]))))
        pos += count * size
    return out


__all__ = ["BtfExt", "CoreReloc", "encode"]
