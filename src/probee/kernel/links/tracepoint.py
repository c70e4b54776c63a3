"""Tracepoints through perf events: `tracepoint/group/event`."""

from __future__ import annotations

from probee import sys as kernel_calls
from probee.errors import AttachError
from probee.kernel.links import perf
from probee.kernel.links.base import Link, refused
from probee.sys import tracefs
from probee.sys.bpf import PERF_SAMPLE_RAW, PERF_TYPE_TRACEPOINT


def attach(program_fd: int, group: str, event: str, *, cookie: int = 0) -> Link:
    """Run a program of type `tracepoint` at `group:event`, on every CPU (Linux 4.7; `cookie` 5.15).

    Detaching waits for a grace period of the kernel (tens of milliseconds); raw tracepoints detach at once.
    """
    hook = f"tracepoint {group}:{event}"
    if not group or not event:
        raise AttachError(f"{hook}: a tracepoint is named group:event, as in sched:sched_switch", hook=hook)
    number = tracefs.event_id(group, event)
    try:
        # One event on one CPU is enough: the program hangs on the tracepoint itself and runs on all of them.
        fd = kernel_calls.kernel().perf_event_open(
            PERF_TYPE_TRACEPOINT, number, sample=1, sample_type=PERF_SAMPLE_RAW
        )
        return perf.attach([fd], program_fd, hook, cookie=cookie)
    except OSError as error:
        raise refused(hook, error) from None
