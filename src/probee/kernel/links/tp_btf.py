"""Raw tracepoints with typed arguments: `tp_btf/event`."""

from __future__ import annotations

from probee import sys as kernel_calls
from probee.kernel.links.base import Link, refused


def attach(prog_fd: int, event: str) -> Link:
    """Run a program of type `tracing`, loaded for the tracepoint `event`, on every CPU (Linux 5.5)."""
    hook = f"tp_btf {event}"
    try:
        return Link([kernel_calls.kernel().raw_tracepoint_open(prog_fd)], hook)
    except OSError as error:
        raise refused(hook, error) from None
