"""Uprobes: where a function of a user-space program or library starts or returns, or at an instruction."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError, ProbeeError, Unsupported
from probee.kernel.links import perf
from probee.kernel.links.base import Link, refused
from probee.sys.bpf import PERF_SAMPLE_RAW, PERF_TYPE_TRACEPOINT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probee.symbols.locate import Location

_PMU = "/sys/bus/event_source/devices/uprobe"
_ENOTSUPP = 524  # the kernel's own; user space has no name for it
_NO_PLACE = (errno.EINVAL, errno.EIO, errno.EOPNOTSUPP, errno.ENOEXEC, _ENOTSUPP)
WAYS = ("auto", "perf", "tracefs")


class Point:
    """Where one uprobe goes: `offset` bytes into the file `path`, with a `cookie` for the program.

    `semaphore` is the offset of a counter in the file that is 1 higher while somebody probes (USDT), or 0.
    """

    __slots__ = ("cookie", "offset", "path", "semaphore")

    def __init__(self, path: str, offset: int, cookie: int = 0, semaphore: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.cookie = cookie
        self.semaphore = semaphore

    def __str__(self) -> str:
        return f"{self.path}+{self.offset:#x}"


def split_target(target: str) -> tuple[str, str]:
    """(binary, symbol) from what follows `uprobe/` in a section name: `path:symbol+offset`."""
    binary, colon, symbol = target.partition(":")
    if not (binary and colon and symbol):
        raise AttachError(
            f"uprobe/{target}: expected BINARY:SYMBOL, as in libc:malloc", hook=f"uprobe {target}"
        )
    return binary, symbol


def check(location: Location, hook: str, returns: bool) -> None:
    """Refuse what would break the process that is probed, warn of what may."""
    if returns and location.inside:
        raise AttachError(
            f"{hook}: a return probe goes at a function's start, where the return address is known", hook=hook
        )
    if returns and location.go:
        import warnings

        warnings.warn(
            f"{hook}: {location.path} is a Go program; its stacks move, and a return probe may crash it. "
            "Probe the function's RET instructions by offset instead",
            RuntimeWarning,
            stacklevel=5,
        )


def attach(
    program_fd: int,
    points: Sequence[Point],
    hook: str,
    *,
    returns: bool = False,
    pid: int | None = None,
    way: str = "auto",
) -> Link:
    """Run a program of type `kprobe` at each of `points`, or (`returns`) when the functions there return.

    In all processes, or in the one called `pid`. `way` forces an older way than the kernel's best: "perf"
    (Linux 4.17) or "tracefs" (4.1).
    """
    if way not in WAYS:
        raise ProbeeError(f"way={way!r}: expected one of {', '.join(WAYS)}")
    kind = pmu_type()
    tracefs = way == "tracefs" or (way == "auto" and kind is None)
    if kind is None and not tracefs:
        raise lacking()
    made: list[Link] = []
    try:
        for point in points:
            if tracefs:
                made.append(_through_tracefs(program_fd, point, hook, returns, pid, way != "auto"))
            else:
                fd = _open_event(kind or 0, point, returns, pid)
                made.append(perf.attach([fd], program_fd, hook, cookie=point.cookie, legacy=way != "auto"))
    except OSError as error:
        _close(made)
        raise not_attached(hook, point, pid, error) from None
    except BaseException:
        _close(made)
        raise
    return _one(made, hook)


def not_attached(hook: str, point: Point, pid: int | None, error: OSError) -> ProbeeError:
    """What to raise for the kernel's answer `error` to a uprobe at `point`."""
    number = error.errno or 0
    if number == errno.ESRCH:
        return AttachError(f"{hook}: no process {pid}", hook=hook, errno=number)
    if number == errno.ENOENT:
        return AttachError(f"{hook}: {point.path} is not there any more", hook=hook, errno=number)
    if number in _NO_PLACE:
        text = "it can't probe that instruction" if number == _ENOTSUPP else os.strerror(number)
        return AttachError(
            f"can't attach to {hook}: the kernel refuses a probe at {point} ({text}); is it the start of an "
            "instruction in a file on disk?",
            hook=hook,
            errno=number,
        )
    return refused(hook, error)


def lacking() -> Unsupported:
    """The error for a kernel without uprobes."""
    return Unsupported("this kernel has no uprobes (CONFIG_UPROBE_EVENTS)", feature="uprobe", since="4.1")


def pmu_type() -> int | None:
    """The perf event type of uprobes; None where there is none (before Linux 4.17)."""
    try:
        return int(_sysfs("type"))
    except OSError:
        return None


def _open_event(kind: int, point: Point, returns: bool, pid: int | None) -> int:
    config = 1 << _bit("retprobe") if returns else 0
    if point.semaphore:
        try:
            shift = _bit("ref_ctr_offset")
        except OSError:
            raise Unsupported(
                "this kernel's uprobes count no semaphores", feature="uprobe_ref_ctr", since="4.20"
            ) from None
        config |= _semaphore(point) << shift
    return kernel_calls.kernel().perf_event_open(
        kind,
        config,
        pid=-1 if pid is None else pid,
        cpu=0 if pid is None else -1,
        path=point.path,
        config2=point.offset,
    )


def _semaphore(point: Point) -> int:
    if point.semaphore >> 32:
        raise AttachError(
            f"the semaphore of {point} is at {point.semaphore:#x}, further into the file than perf events "
            "can say; uprobe.multi links can (Linux 6.6)",
            hook=str(point),
        )
    return point.semaphore


def _through_tracefs(
    program_fd: int, point: Point, hook: str, returns: bool, pid: int | None, legacy: bool
) -> Link:
    from probee.sys import probe_events

    handle = -1
    path = point.path
    if any(mark in path for mark in " \t\n:#"):  # what tracefs can't write in a name, a descriptor stands for
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        path = f"/proc/self/fd/{handle}"
    place = f"{path}:{point.offset:#x}" + (f"({point.semaphore:#x})" if point.semaphore else "")
    try:
        event = probe_events.add(
            probe_events.UPROBES, "r" if returns else "p", place, os.path.basename(point.path)
        )
    except FileNotFoundError:
        if pmu_type() is None and not os.path.exists(point.path):
            raise
        raise lacking() from None
    finally:
        if handle >= 0:
            os.close(handle)
    try:
        fd = kernel_calls.kernel().perf_event_open(
            PERF_TYPE_TRACEPOINT,
            event.id,
            sample=1,
            sample_type=PERF_SAMPLE_RAW,
            pid=-1 if pid is None else pid,
            cpu=0 if pid is None else -1,
        )
        link = perf.attach([fd], program_fd, hook, cookie=point.cookie, legacy=legacy)
    except BaseException:
        event.remove()
        raise
    link.after_close(event.remove)
    return link


def _one(made: list[Link], hook: str) -> Link:
    """The links as one, of the first one's class."""
    if len(made) == 1:
        return made[0]
    whole = type(made[0])([fd for link in made for fd in link._fds], hook)
    actions = [link._after for link in made if link._after is not None]
    for link in made:
        link._fds.clear()
        link._after = None
    if actions:
        whole.after_close(lambda: _all(actions))
    return whole


def _all(actions: list[Callable[[], None]]) -> None:
    for action in actions:
        action()


def _close(made: list[Link]) -> None:
    while made:
        made.pop().close()


def _bit(name: str) -> int:
    """The lowest bit of a field of perf_event_attr's `config`, as `config:32-63` in sysfs says."""
    return int(_sysfs(f"format/{name}").rpartition(":")[2].partition("-")[0])


def _sysfs(name: str) -> str:
    fd = os.open(f"{_PMU}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 256).decode().strip()
    finally:
        os.close(fd)
