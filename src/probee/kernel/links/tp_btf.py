"""Raw tracepoints with typed arguments: `tp_btf/event`."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.kernel.links.base import Link, refused


def attach(program_fd: int, event: str, *, cookie: int = 0) -> Link:
    """Run a program of type `tracing`, loaded for the tracepoint `event`, on every CPU (Linux 5.5)."""
    hook = f"tp_btf {event}"
    try:
        return Link(kernel_calls.kernel().raw_tracepoint_open(program_fd, cookie=cookie), hook)
    except OSError as error:
        if cookie and error.errno in (errno.EINVAL, errno.E2BIG):
            from probee.kernel.links.raw_tp import no_cookie

            raise no_cookie(hook) from None
        raise refused(hook, error) from None
