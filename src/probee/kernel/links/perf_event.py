"""Sampling: `perf_event`, by a software, hardware, cache or raw event, on CPUs, of a process or a cgroup."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError
from probee.kernel.links import perf
from probee.kernel.links.base import Link, refused
from probee.sys.bpf import PERF_TYPE_HARDWARE, PERF_TYPE_SOFTWARE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_DEFAULT_FREQUENCY = 99
PERF_TYPE_HW_CACHE, PERF_TYPE_RAW = 3, 4
_PERF_FLAG_PID_CGROUP = 4

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
    "cgroup-switches": (PERF_TYPE_SOFTWARE, 11),
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
# Cache events are named CACHE-OPERATION-RESULT, as LLC-load-misses: config is cache | operation << 8 | result
# << 16.
_CACHES = ("L1-dcache", "L1-icache", "LLC", "dTLB", "iTLB", "branch", "node")
_OPERATIONS = {"load": 0, "store": 1, "prefetch": 2}
_RESULTS = {"loads": 0, "stores": 0, "prefetches": 0, "refs": 0, "misses": 1}


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


def number(event: str) -> tuple[int, int] | None:
    """(type, config) of an event by name; None if there is none of that name."""
    known = EVENTS.get(event)
    if known is not None:
        return known
    if event[:1] == "r" and len(event) > 1:
        try:
            return PERF_TYPE_RAW, int(event[1:], 16)
        except ValueError:
            return None
    for index, cache in enumerate(_CACHES):
        if event.startswith(cache + "-"):
            return _cache(index, event[len(cache) + 1 :])
    return None


def _cache(cache: int, rest: str) -> tuple[int, int] | None:
    """`loads`, `load-misses`, `store-refs`… of a cache."""
    operation, dash, result = rest.partition("-")
    if not dash:
        result = operation
        operation = {"stores": "store", "prefetches": "prefetch"}.get(operation, "load")
    if operation not in _OPERATIONS or result not in _RESULTS:
        return None
    return PERF_TYPE_HW_CACHE, cache | _OPERATIONS[operation] << 8 | _RESULTS[result] << 16


def attach(
    program_fd: int,
    event: str | tuple[int, int] = "cpu-clock",
    *,
    frequency: int = 0,
    period: int = 0,
    pid: int | None = None,
    cpus: Sequence[int] | None = None,
    cgroup: str | os.PathLike[str] | int | None = None,
    cookie: int = 0,
) -> Link:
    """Run a program of type `perf_event` on each sample.

    `event` is a name, or (type, config) of perf_event_open(2). `frequency` is samples a second, `period` is
    events (nanoseconds for clocks) between samples; with neither it samples at 99 Hz. `pid` samples one
    process only, `cgroup` those of a control group (path or descriptor), `cpus` some CPUs only; else all that
    are online.
    """
    kernel = kernel_calls.kernel()
    if not frequency and not period:
        frequency = _DEFAULT_FREQUENCY
    rate = f"every {period}" if period else f"{frequency} Hz"
    name = event if isinstance(event, str) else f"{event[0]}:{event[1]:#x}"
    hook = f"perf event {name}, {rate}"
    if pid is not None and cgroup is not None:
        raise AttachError(f"{hook}: either of a process or of a cgroup", hook=hook)
    kind_config = number(event) if isinstance(event, str) else event
    if kind_config is None:
        raise _unknown(name, hook)
    kind, config = kind_config
    who, flags = (-1 if pid is None else pid), 0
    if cgroup is not None:
        who, flags = _open_cgroup(hook, cgroup), _PERF_FLAG_PID_CGROUP
    fds: list[int] = []
    try:
        for cpu in cpus if cpus is not None else kernel.online_cpus():
            try:
                fd = kernel.perf_event_open(
                    kind,
                    config,
                    sample=period or frequency,
                    frequency=not period,
                    pid=who,
                    cpu=cpu,
                    open_flags=flags,
                )
            except OSError as error:
                if error.errno == errno.ENODEV and cpus is None:
                    continue  # went offline since we looked
                raise
            fds.append(fd)
        if not fds:
            raise AttachError(f"{hook}: no CPU to sample", hook=hook)
    except OSError as error:
        for fd in fds:
            kernel.close(fd)
        raise _explained(name, kind, hook, frequency, error) from None
    finally:
        if cgroup is not None:
            os.close(who)
    try:
        return perf.attach(fds, program_fd, hook, cookie=cookie)
    except OSError as error:
        raise refused(hook, error) from None


def _open_cgroup(hook: str, cgroup: str | os.PathLike[str] | int) -> int:
    from probee.kernel.cgroups import open_cgroup

    try:
        return open_cgroup(cgroup)
    except OSError as error:
        raise AttachError(
            f"{hook}: no cgroup {cgroup} ({error.strerror})", hook=hook, errno=error.errno or 0
        ) from None


def _unknown(event: str, hook: str) -> AttachError:
    import difflib

    near = difflib.get_close_matches(event, EVENTS, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(EVENTS)}"
    return AttachError(f"no perf event {event!r}; {hint}", hook=hook, errno=errno.ENOENT)


def _explained(event: str, kind: int, hook: str, frequency: int, error: OSError) -> Exception:
    number = error.errno or 0
    if number in (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL) and kind in (
        PERF_TYPE_HARDWARE,
        PERF_TYPE_HW_CACHE,
        PERF_TYPE_RAW,
    ):
        reason = f"this machine has no hardware counter for {event} (a virtual machine?); use cpu-clock"
        return AttachError(reason, hook=hook, errno=number)
    if number == errno.EINVAL and frequency:
        reason = f"can't sample {event} at {frequency} Hz: is it over kernel.perf_event_max_sample_rate?"
        return AttachError(reason, hook=hook, errno=number)
    if number == errno.ESRCH:
        return AttachError(f"{hook}: no such process", hook=hook, errno=number)
    if number in (errno.EBADF, errno.EINVAL):
        reason = f"{hook}: the kernel can't sample that on such CPUs, or in such a cgroup"
        return AttachError(reason, hook=hook, errno=number)
    return refused(hook, error)
