"""Programs that are in the kernel already, by pin, id or descriptor."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError, ProbeeError
from probee.kernel.pinning import duplicate, opened
from probee.kernel.program import Program
from probee.sys.bpf import PROG_GET_FD_BY_ID


def program(path: str, id: int | None, fd: int | None) -> Program:
    """`Program.open`."""
    if bool(path) + (id is not None) + (fd is not None) != 1:
        raise ProbeeError("a program is opened by one of: the path of its pin, id=, fd=")
    kernel = kernel_calls.kernel()
    if path:
        own = opened(path, "program")
    elif id is not None:
        own = _by_id(id)
    else:
        assert fd is not None
        own = duplicate(fd)
    try:
        what = os.readlink(f"/proc/self/fd/{own}").removeprefix("anon_inode:")
        if what != "bpf-prog":
            raise AttachError(f"that is no program but {what}")
        info = kernel.prog_info(own)
    except OSError as error:
        kernel.close(own)
        raise AttachError(f"that is no program ({error.strerror})", errno=error.errno or 0) from None
    except BaseException:
        kernel.close(own)
        raise
    found = Program(own, None, name=info.name or f"{info.id}", type=info.type)
    if path:
        found._pins.append(path)
    return found


def _by_id(id: int) -> int:
    try:
        return kernel_calls.kernel().fd_by_id(PROG_GET_FD_BY_ID, id)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise AttachError(f"there is no program {id}", errno=error.errno) from None
        from probee.sys import caps

        if error.errno in (errno.EPERM, errno.EACCES):
            raise caps.denied(f"opening program {id}", caps.CAP_SYS_ADMIN, error=error.errno) from None
        raise AttachError(f"can't open program {id}: {error.strerror}", errno=error.errno or 0) from None
