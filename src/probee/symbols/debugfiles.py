"""Symbols of stripped binaries: inside them (MiniDebugInfo), or in the debug files that distributions have.

The conventions are GDB's ("Debugging Information in Separate Files", "MiniDebugInfo").
"""

from __future__ import annotations

import os

from probee.errors import ObjectError
from probee.symbols.elf import Elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = "/usr/lib/debug"
_MOST = 256 << 20  # bytes of unpacked symbols
_CHUNK = 1 << 20


def related(elf: Elf) -> Iterator[Elf]:
    """Files with further symbols of `elf`, each open until the next is asked for. Broken ones are left out.

    Their addresses are those of `elf`; their segments say nothing about it.
    """
    mini = unpacked(elf)
    if mini is not None:
        yield mini
    build_id = elf.build_id()
    for path in candidates(elf, build_id):
        try:
            with Elf(path) as found:
                # One of another build has other addresses.
                if os.path.samefile(path, elf.path) or (build_id and found.build_id() != build_id):
                    continue
                if not build_id and not _same_sum(elf, path):
                    continue
                yield found
        except (OSError, ObjectError):
            continue


def candidates(elf: Elf, build_id: str) -> list[str]:
    """Where the debug file of `elf` may be, in GDB's order."""
    root = ""
    if elf.path.startswith("/proc/"):  # a process's own files have debug files beside them
        head, mark, _ = elf.path.partition("/root/")
        root = head + "/root" if mark else ""
    found = []
    if len(build_id) > 2:
        for base in dict.fromkeys((root, "")):
            found.append(f"{base}{DIRECTORY}/.build-id/{build_id[:2]}/{build_id[2:]}.debug")
    name = debug_link(elf)[0]
    if name:
        folder = os.path.dirname(os.path.realpath(elf.path) if not root else elf.path)
        found += [f"{folder}/{name}", f"{folder}/.debug/{name}"]
        found.append(f"{root}{DIRECTORY}{folder.removeprefix(root)}/{name}")
    return found


def debug_link(elf: Elf) -> tuple[str, int]:
    """(file name, checksum) of `.gnu_debuglink`; ("", 0) if there is none, or it is no plain name."""
    section = elf.section(".gnu_debuglink")
    content = elf.content(section) if section is not None else b""
    end = content.find(b"\0")
    at = (end + 4) & ~3
    if end <= 0 or at + 4 > len(content) or b"/" in content[:end]:
        return "", 0
    return os.fsdecode(content[:end]), int.from_bytes(content[at : at + 4], elf.byteorder)


def _same_sum(elf: Elf, path: str) -> bool:
    import zlib

    expected = debug_link(elf)[1]
    total = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            total = zlib.crc32(chunk, total)
    return total == expected


def unpacked(elf: Elf) -> Elf | None:
    """The symbols packed into `.gnu_debugdata`; `None` if there are none, or they are broken."""
    section = elf.section(".gnu_debugdata")
    if section is None:
        return None
    import lzma

    try:
        reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST)
        data = reader.decompress(elf.content(section), max_length=_MOST)
        if not reader.eof:
            return None
        return Elf(f"{elf.path} (.gnu_debugdata)", data=data, start=-1)
    except (lzma.LZMAError, ObjectError, EOFError):
        return None
