"""Hooks that BTF describes: fentry, fexit, fmod_ret, fsession, LSM, freplace. What they hook is set at
load.
"""

from __future__ import annotations

import errno
from struct import Struct

from probee import sys as kernel_calls
from probee.errors import AttachError, PermissionDenied, Unsupported
from probee.kernel.links.base import Link, refused

TRACE_RAW_TP, TRACE_FENTRY, TRACE_FEXIT, MODIFY_RETURN, LSM_MAC = range(23, 28)
_ENOTSUPP = 524
_TARGET = Struct("=I4xQ")  # target_btf_id, cookie


def attach(program_fd: int, hook: str, *, cookie: int = 0, attach_type: int = 0) -> Link:
    """Attach a program of type `tracing`, `lsm` or `ext` to what it was loaded for (Linux 5.5).

    A `cookie` (Linux 5.19; not for freplace) needs the `attach_type` of the program.
    """
    kernel = kernel_calls.kernel()
    try:
        if cookie:
            return Link(kernel.link_create(program_fd, 0, attach_type, extra=_TARGET.pack(0, cookie)), hook)
        return Link(kernel.raw_tracepoint_open(program_fd), hook)
    except OSError as error:
        raise _explained(hook, error, cookie) from None


def attach_to_program(program_fd: int, target_fd: int, btf_id: int, hook: str) -> Link:
    """Attach a program of type `ext` to a function of another program than it was loaded for (Linux 5.10)."""
    try:
        fd = kernel_calls.kernel().link_create(program_fd, target_fd, 0, extra=_TARGET.pack(btf_id, 0))
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise AttachError(
                f"{hook}: the function's arguments differ from those it was loaded for, or "
                "the program runs there already",
                hook=hook,
                errno=error.errno,
            ) from None
        raise _explained(hook, error, 0) from None
    return Link(fd, hook)


def _explained(hook: str, error: OSError, cookie: int) -> AttachError | PermissionDenied | Unsupported:
    number = error.errno or 0
    if number == _ENOTSUPP:
        return Unsupported(
            f"{hook}: this machine's kernel has no BPF trampolines (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS)",
            feature="BPF trampoline",
            since="5.5",
        )
    if cookie and number in (errno.EINVAL, errno.E2BIG):
        return Unsupported(
            f"{hook}: this kernel's tracing links take no cookie", feature="tracing cookie", since="5.19"
        )
    reason = {
        errno.E2BIG: "too many programs are attached to that function already",
        errno.EBUSY: "something else (a live patch, a freplace, another tracer) holds that function",
        errno.ENODEV: "the module of that function is gone",
    }.get(number)
    if reason:
        return AttachError(f"can't attach to {hook}: {reason}", hook=hook, errno=number)
    return refused(hook, error)
