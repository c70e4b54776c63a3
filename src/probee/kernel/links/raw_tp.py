"""Raw tracepoints by name: `raw_tp/event`. Cheaper than perf's, and closed at once."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.errors import AttachError, Unsupported
from probee.kernel.links.base import Link, refused


def attach(program_fd: int, event: str, *, cookie: int = 0) -> Link:
    """Run a program of type `raw_tracepoint` at tracepoint `event` (no group), on every CPU (Linux 4.17)."""
    hook = f"raw tracepoint {event}"
    try:
        return Link(kernel_calls.kernel().raw_tracepoint_open(program_fd, event, cookie=cookie), hook)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise unknown(hook, event) from None
        if error.errno == errno.EINVAL and not cookie:
            raise AttachError(
                f"can't attach to {hook}: the program reads or writes more than the tracepoint has",
                hook=hook,
                errno=error.errno,
            ) from None
        if error.errno in (errno.EINVAL, errno.E2BIG):
            raise no_cookie(hook) from None
        raise refused(hook, error) from None


def no_cookie(hook: str) -> Unsupported:
    """The error for a kernel whose raw tracepoints know no cookies."""
    return Unsupported(
        f"{hook}: this kernel's raw tracepoints take no cookie", feature="raw_tp cookie", since="6.10"
    )


def unknown(hook: str, event: str) -> AttachError:
    """The error for a raw tracepoint that does not exist, with the nearest names."""
    from probee.sys import tracefs

    try:
        names = {name.rpartition(":")[2] for name in tracefs.events()} | {"sys_enter", "sys_exit"}
    except Exception:  # without tracefs there are no names to offer, and the error is still this one
        names = set()
    near = tracefs.nearest(event, names)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    if event.startswith(("sys_enter_", "sys_exit_")):
        hint = (
            "; single system calls have no raw tracepoint: use sys_enter or sys_exit and look at the number"
        )
    return AttachError(f"no {hook} in this kernel{hint}", hook=hook, errno=errno.ENOENT)
