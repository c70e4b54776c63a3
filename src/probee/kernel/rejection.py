"""What to do, and what to say, when the kernel refuses a program. Imported only then."""

from __future__ import annotations

import errno
import os
import struct

from probee import sys as kernel_calls
from probee.errors import LoadError, PermissionDenied, VerifierError
from probee.sys import caps
from probee.sys.bpf import VerifierLog
from probee.verifier.explain import LineTable, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer

    from probee.obj.spec import LinkedProgram, MapSpec, ObjectSpec
    from probee.sys.bpf import ProgAttr

_WHOLE, _VERDICT = 1, 4  # log levels: every instruction; only messages and statistics (BPF_LOG_STATS)
_LOG_SIZE = 256 * 1024
_LOG_GROWTH = 8
_LOG_LIMIT = 16 * 1024 * 1024 - 1  # kernels before 5.2 take no more; newer ones keep the end of longer logs
_MEMCG_SINCE = (5, 11)  # from here on BPF memory is not charged to RLIMIT_MEMLOCK


def retry(
    attr: ProgAttr,
    error: OSError,
    spec: ObjectSpec,
    linked: LinkedProgram,
    poisoned: dict[int, str],
    btf_error: str,
) -> tuple[int, str]:
    """Load again with a log. Returns (descriptor, log) if it goes well now; raises the right error if not."""
    kernel = kernel_calls.kernel()
    if error.errno == errno.EPERM and raise_memlock():
        try:
            return kernel.prog_load(attr), ""
        except OSError as again:
            error = again
    number = error.errno or 0
    jumps = back_jumps(linked.insns) if number == errno.E2BIG else None
    # A log of a million instructions takes the kernel ten seconds to write. If there is but one loop that
    # they can be spent in, the verdict alone will do.
    fd, text = _log_of(attr, _VERDICT if jumps is not None and len(jumps) < 2 else _WHOLE)
    if fd >= 0:
        return fd, text
    if number in (errno.EPERM, errno.EACCES) and not text.strip():
        raise caps.denied(
            f"loading program {attr.name}", caps.CAP_BPF, caps.CAP_PERFMON, error=number
        ) from None
    if not text.strip():
        raise LoadError(
            f"the kernel refuses program {attr.name} without a word: {os.strerror(number)}", errno=number
        ) from None
    table = LineTable(linked.line_info, spec.btf, linked.endian)
    found = explain(text, table, poisoned, jumps)
    message = found.message(attr.name)
    if btf_error:
        message += f" (the kernel had refused the BTF too: {btf_error})"
    place = found.place
    raise VerifierError(
        message,
        errno=number,
        log=text,
        program=attr.name,
        file=place.file if place else "",
        line=place.line if place else 0,
        source=place.source if place else "",
        cause=found.advice(),
    ) from None


def _log_of(attr: ProgAttr, level: int) -> tuple[int, str]:
    """Load with a log of `level`, in a buffer that grows while it is too small: (descriptor or -1, log)."""
    size = _LOG_SIZE
    while True:
        log = VerifierLog(size, level)
        try:
            return kernel_calls.kernel().prog_load(attr, log), log.text
        except OSError as error:
            if error.errno != errno.ENOSPC or size >= _LOG_LIMIT:
                return -1, log.text
            # The kernel's own figure where it gives one (Linux 6.4); the verdict is at the end of the log.
            size = min(max(log.true_size, size * _LOG_GROWTH), _LOG_LIMIT)


def back_jumps(insns: Buffer) -> list[int]:
    """The instructions that jump backwards, the ends of a program's loops (callbacks are not seen)."""
    found = []
    for index, (opcode, _, offset, immediate) in enumerate(struct.iter_unpack("=BBhi", insns)):
        if opcode & 7 not in (5, 6) or opcode & 0xF0 in (0x80, 0x90):  # jumps, but not call and exit
            continue
        if (immediate if opcode == 0x06 else offset) < 0:  # 0x06: the long jump has its distance in imm
            found.append(index)
    return found


def map_refused(spec: MapSpec) -> PermissionDenied:
    """The error for a map that may not be created."""
    return caps.denied(f"creating map {spec.name}", caps.CAP_BPF)


def raise_memlock() -> bool:
    """Lift RLIMIT_MEMLOCK on kernels that charge BPF memory to it (before 5.11). True if it was lifted."""
    release = os.uname().release.split(".")
    try:
        version = int(release[0]), int("".join(c for c in release[1] if c.isdigit()))
    except (ValueError, IndexError):
        return False
    if version >= _MEMCG_SINCE:
        return False
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return False
    return True
