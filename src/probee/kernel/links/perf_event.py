"""Sampling: `perf_event`, on every CPU, by a software or hardware event."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.errors import AttachError
from probee.kernel.links import perf
from probee.kernel.links.base import Link, refused
from probee.sys.bpf import PERF_TYPE_HARDWARE, PERF_TYPE_SOFTWARE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_DEFAULT_FREQUENCY = 99

# Names of perf-list(1): (type, config) of include/uapi/linux/perf_event.h.
EVENTS = {
    "cpu-clock": (PERF_TYPE_SOFTWARE, 0),
    "task-clock": (PERF_TYPE_SOFTWARE, 1),
    "page-faults": (PERF_TYPE_SOFTWARE, 2),
    "faults": (PERF_TYPE_SOFTWARE, 2),
    "context-switches": (PERF_TYPE_SOFTWARE, 3),
    "cs": (PERF_TYPE_SOFTWARE, 3),
    "cpu-migrations": (PERF_TYPE_SOFTWARE, 4),
    "migrations": (PERF_TYPE_SOFTWARE, 4),
    "minor-faults": (PERF_TYPE_SOFTWARE, 5),
    "major-faults": (PERF_TYPE_SOFTWARE, 6),
    "alignment-faults": (PERF_TYPE_SOFTWARE, 7),
    "emulation-faults": (PERF_TYPE_SOFTWARE, 8),
    "cpu-cycles": (PERF_TYPE_HARDWARE, 0),
    "cycles": (PERF_TYPE_HARDWARE, 0),
    "instructions": (PERF_TYPE_HARDWARE, 1),
    "cache-references": (PERF_TYPE_HARDWARE, 2),
    "cache-misses": (PERF_TYPE_HARDWARE, 3),
    "branch-instructions": (PERF_TYPE_HARDWARE, 4),
    "branches": (PERF_TYPE_HARDWARE, 4),
    "branch-misses": (PERF_TYPE_HARDWARE, 5),
    "bus-cycles": (PERF_TYPE_HARDWARE, 6),
    "stalled-cycles-frontend": (PERF_TYPE_HARDWARE, 7),
    "stalled-cycles-backend": (PERF_TYPE_HARDWARE, 8),
    "ref-cycles": (PERF_TYPE_HARDWARE, 9),
}


def parse(text: str) -> tuple[str, int, int]:
    """(event, frequency, period) from what follows `perf_event/` in a section name: `cpu-clock:freq=99`.

    Raises `AttachError` if it is something else.
    """
    event, frequency, period = "cpu-clock", 0, 0
    for part in text.split(":") if text else ():
        word, equals, value = part.partition("=")
        if not equals:
            event = part
        elif word in ("freq", "period") and value.isdigit() and int(value):
            frequency, period = (int(value), period) if word == "freq" else (frequency, int(value))
        else:
            raise AttachError(
                f"perf_event/{text}: expected EVENT:freq=N or EVENT:period=N", hook=f"perf_event {text}"
            )
    return event, frequency, period


def attach(
    prog_fd: int,
    event: str = "cpu-clock",
    *,
    frequency: int = 0,
    period: int = 0,
    pid: int | None = None,
    cpus: Sequence[int] | None = None,
    cookie: int = 0,
) -> Link:
    """Run a program of type `perf_event` on each sample.

    `frequency` is samples a second, `period` is events (nanoseconds for clocks) between samples; with neither
    it samples at 99 Hz. `pid` samples one process only, `cpus` some CPUs only; else all that are online.
    """
    kernel = kernel_calls.kernel()
    if not frequency and not period:
        frequency = _DEFAULT_FREQUENCY
    rate = f"every {period}" if period else f"{frequency} Hz"
    hook = f"perf event {event}, {rate}"
    if event not in EVENTS:
        import difflib

        near = difflib.get_close_matches(event, EVENTS, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(EVENTS)}"
        raise AttachError(f"no perf event {event!r}; {hint}", hook=hook, errno=errno.ENOENT)
    kind, config = EVENTS[event]
    fds: list[int] = []
    try:
        for cpu in cpus if cpus is not None else kernel.online_cpus():
            try:
                fd = kernel.perf_event_open(
                    kind,
                    config,
                    sample=period or frequency,
                    frequency=not period,
                    pid=-1 if pid is None else pid,
                    cpu=cpu,
                )
            except OSError as error:
                if error.errno == errno.ENODEV and cpus is None:
                    continue  # went offline since we looked
                raise
            fds.append(fd)
        return perf.attach(fds, prog_fd, hook, cookie=cookie)
    except OSError as error:
        for fd in fds:
            kernel.close(fd)
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP) and kind == PERF_TYPE_HARDWARE:
            raise AttachError(
                f"this machine has no hardware counter for {event} (a virtual machine?); use cpu-clock",
                hook=hook,
                errno=error.errno,
            ) from None
        if error.errno == errno.EINVAL and frequency:
            raise AttachError(
                f"can't sample {event} at {frequency} Hz: is it over kernel.perf_event_max_sample_rate?",
                hook=hook,
                errno=error.errno,
            ) from None
        raise refused(hook, error) from None
