"""`Trial`: one small program loaded thousands of times with another number in it, for probes of helpers."""

from __future__ import annotations

import os
from _ctypes import get_errno
from struct import Struct

from probee.sys.bpf import NR_BPF, PROG_LOAD
from probee.sys.native import Pinned, Scratch, syscall4

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.sys.bpf import ProgAttr

# union bpf_attr of BPF_PROG_LOAD up to attach_btf_id
_LOAD = Struct("=IIQQIIQII16xII36xI8x")
_INT = Struct("=i")
_LOG = 512
_BRIEF = 4  # BPF_LOG_STATS: only what is wrong, not every instruction


class Trial:
    """A program that is loaded again and again; between the loads only its first immediate changes.

    `attr` counts but for BTF, names and what is attached to other programs.
    """

    __slots__ = ("_attr", "_insns", "_keep", "_log")

    def __init__(self, attr: ProgAttr) -> None:
        insns = memoryview(attr.insns)
        self._insns = Scratch(insns.nbytes)
        self._insns.view[:] = insns
        self._log = Scratch(_LOG)
        license = Pinned(attr.license.encode() + b"\0")
        self._attr = Scratch(_LOAD.size)
        self._keep = license
        _LOAD.pack_into(
            self._attr.view,
            0,
            attr.type,
            insns.nbytes // 8,
            self._insns.address,
            license.address,
            _BRIEF,
            _LOG,
            self._log.address,
            attr.kernel_version,
            attr.flags,
            attr.ifindex,
            attr.attach_type,
            attr.attach_btf_id,
        )

    def load(self, immediate: int) -> tuple[int, bytes]:
        """Load with `immediate` in the first instruction: (errno or 0, the verifier's words on a failure)."""
        _INT.pack_into(self._insns.view, 4, immediate)
        log = self._log.view
        log[0] = 0
        fd = syscall4(NR_BPF, PROG_LOAD, self._attr.address, _LOAD.size)
        if fd >= 0:
            os.close(fd)
            return 0, b""
        return get_errno(), log.tobytes().partition(b"\0")[0]
