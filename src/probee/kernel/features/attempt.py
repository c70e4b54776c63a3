"""The small calls that probes are made of: an instruction, a program, a map, and what came of it."""

from __future__ import annotations

import errno
import struct

from probee import sys as kernel_calls
from probee.sys.bpf import ProgAttr, VerifierLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LOG = 4096
_BRIEF = 4  # BPF_LOG_STATS: only what is wrong, not every instruction
DENIED = (errno.EPERM, errno.EACCES)


def insn(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """One instruction."""
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


ZERO = insn(0xB7)  # r0 = 0
EXIT = insn(0x95)
NOTHING = ZERO + EXIT
ONE = insn(0xB7, 0, 0, 0, 1) + EXIT


def program(
    kind: int,
    insns: bytes = NOTHING,
    *,
    attach: int = 0,
    flags: int = 0,
    btf_id: int = 0,
    name: str = "",
    log: VerifierLog | None = None,
    **more: Any,
) -> int:
    """Load a program under the GPL: its descriptor. `more` are other fields of `ProgAttr`."""
    attr = ProgAttr(kind, insns, "GPL", name)
    attr.attach_type = attach
    attr.flags = flags
    attr.attach_btf_id = btf_id
    for field, value in more.items():
        setattr(attr, field, value)
    return kernel_calls.kernel().prog_load(attr, log)


def verdict(kind: int, insns: bytes = NOTHING, **more: Any) -> tuple[int, str]:
    """Load a program and close it: (errno or 0, what the verifier said)."""
    log = VerifierLog(_LOG, _BRIEF)
    try:
        kernel_calls.kernel().close(program(kind, insns, log=log, **more))
    except OSError as error:
        return error.errno or 0, log.text
    return 0, log.text


def loads(kind: int, insns: bytes = NOTHING, **more: Any) -> bool:
    """Whether a program loads. EPERM is raised: it says nothing of the kernel's abilities."""
    try:
        kernel_calls.kernel().close(program(kind, insns, **more))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    return True


def creates(kind: int, key: int, value: int, entries: int, **more: Any) -> bool:
    """Whether a map can be made."""
    kernel = kernel_calls.kernel()
    try:
        kernel.close(kernel.map_create(kind, key, value, entries, **more))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    return True


def link_errno(prog_fd: int, target: int, attach: int, *, flags: int = 0, extra: bytes = b"") -> int:
    """The errno of a link that can't come to be (0: it did, and was closed)."""
    kernel = kernel_calls.kernel()
    try:
        kernel.close(kernel.link_create(prog_fd, target, attach, flags=flags, extra=extra))
    except OSError as error:
        return error.errno or 0
    return 0
