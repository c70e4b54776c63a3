"""uprobe(2), by which x86-64 kernels since 6.18 run uprobes on five-byte nops without a trap."""

from __future__ import annotations

import errno
import os
from _ctypes import get_errno

from probee.sys.native import syscall4

_NR_UPROBE = 336
_known: bool | None = None


def available() -> bool:
    """Whether the kernel has the call. Called from here, where it has no business, it says ENXIO."""
    global _known
    if _known is None:
        _known = os.uname().machine == "x86_64" and (
            syscall4(_NR_UPROBE, 0, 0, 0) < 0 and get_errno() == errno.ENXIO
        )
    return _known
