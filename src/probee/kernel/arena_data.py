"""Global variables in an arena (`.addr_space.1`): where they are, and their first values.

They are at the end of the arena where the kernel lets instructions point there, so that addresses near its
start stay invalid; else at its start. That is libbpf's layout.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from mmap import PAGESIZE

from probee import sys as kernel_calls
from probee.errors import LoadError
from probee.sys.bpf import ProgAttr, VerifierLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ARRAY, _SOCKET_FILTER = 2, 1
_FAR = 1 << 30
_CODE = "BBhi"


def place(arena: Any, size: int) -> int:
    """The offset in a live arena of `size` bytes of variables. Raises LoadError if they don't fit."""
    room = arena.max_entries * PAGESIZE
    needed = (size + PAGESIZE - 1) // PAGESIZE * PAGESIZE
    if needed > room:
        raise LoadError(
            f"arena {arena.name} has {room} bytes, its global variables take {size}", errno=errno.E2BIG
        )
    return room - needed if _any_offset() else 0


def write(arena: Any, offset: int, content: bytes | bytearray) -> None:
    """Set what the variables hold at the start."""
    arena.memory[offset : offset + len(content)] = content


def _any_offset() -> bool:
    """Whether instructions may point further than 512 MiB into a map (Linux 7.0)."""
    from struct import pack

    kernel = kernel_calls.kernel()
    map_fd = kernel.map_create(_ARRAY, 4, 1, 1)
    try:
        code = pack("=" + _CODE, 0x18, 0x21, 0, map_fd) + pack("=" + _CODE, 0, 0, 0, _FAR)
        attr = ProgAttr(_SOCKET_FILTER, code + pack("=" + _CODE, 0x95, 0, 0, 0), "GPL")
        log = VerifierLog(1024)
        with suppress(OSError):
            kernel.close(kernel.prog_load(attr, log))
        return "invalid access to map value pointer" in log.text
    finally:
        kernel.close(map_fd)
