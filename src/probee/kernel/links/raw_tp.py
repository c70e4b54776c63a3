"""Raw tracepoints by name: `raw_tp/event`. Cheaper than perf's, and closed at once."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.errors import AttachError
from probee.kernel.links.base import Link, refused


def attach(prog_fd: int, event: str) -> Link:
    """Run a program of type `raw_tracepoint` at tracepoint `event` (no group), on every CPU (Linux 4.17)."""
    hook = f"raw tracepoint {event}"
    try:
        return Link([kernel_calls.kernel().raw_tracepoint_open(prog_fd, event)], hook)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise unknown(hook, event) from None
        raise refused(hook, error) from None


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
