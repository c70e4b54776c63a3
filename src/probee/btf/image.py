"""The `.BTF` section of an ELF file of any machine, as the kernel's image on disk is one."""

from __future__ import annotations

import struct

from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedReader

_MAX_SECTIONS = 1 << 16
_MAX_NAMES = 1 << 22
_NOBITS = 8


def btf_section(file: BufferedReader) -> bytes:
    """The section's content; little of the file is read but that. Raises ObjectError if there is none."""
    name = getattr(file, "name", "the file")
    head = _read(file, 0, 64)
    if head[4] != 2 or head[5] not in (1, 2):
        raise ObjectError(f"{name} is no 64-bit ELF file")
    order = "<" if head[5] == 1 else ">"
    (table,) = struct.unpack_from(order + "Q", head, 40)
    size, count, names = struct.unpack_from(order + "HHH", head, 58)
    if size != 64:
        raise ObjectError(f"broken ELF header in {name}")
    header = struct.Struct(order + "IIQQQQIIQQ")
    if not count or names == 0xFFFF:  # too many for 16 bits: the numbers are in section 0
        first = header.unpack(_read(file, table, 64))
        count, names = count or first[5], first[6] if names == 0xFFFF else names
    if names >= count or count > _MAX_SECTIONS:
        raise ObjectError(f"broken ELF header in {name}")
    sections = list(header.iter_unpack(_read(file, table, 64 * count)))
    if sections[names][5] > _MAX_NAMES:
        raise ObjectError(f"broken ELF header in {name}")
    texts = _read(file, sections[names][4], sections[names][5])
    for section in sections:
        end = texts.find(0, section[0])
        if texts[section[0] : end] == b".BTF" and section[1] != _NOBITS:
            return _read(file, section[4], section[5])
    raise ObjectError(f"{name} has no section .BTF")


def _read(file: BufferedReader, offset: int, size: int) -> bytes:
    end = file.seek(0, 2)
    if offset + size > end:
        raise ObjectError(f"truncated ELF file: {getattr(file, 'name', 'it')} ends at byte {end}")
    file.seek(offset)
    return file.read(size)
