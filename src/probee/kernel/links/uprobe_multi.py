"""Many uprobes in one link: `uprobe.multi`, `uretprobe.multi`, `uprobe.session`; else a perf event each."""

from __future__ import annotations

import errno
from array import array
from struct import Struct

from probee import sys as kernel_calls
from probee.errors import AttachError, ProbeeError, Unsupported
from probee.kernel.links import uprobe
from probee.kernel.links.base import Link, refused
from probee.sys.native import Pinned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from probee.kernel.links.uprobe import Point

TRACE_UPROBE_MULTI, TRACE_UPROBE_SESSION = 48, 57  # enum bpf_attach_type
BPF_F_UPROBE_MULTI_RETURN = 1
_EXTRA = Struct("=QQQQIII4x")
_MOST_PERF = 1000  # probes by perf events: each holds a descriptor, and detaching each takes a while


def attach(
    program_fd: int,
    points: Sequence[Point],
    hook: str,
    *,
    returns: bool = False,
    session: bool = False,
    pid: int | None = None,
) -> Link:
    """Run a program of type `kprobe` at each of `points`, or (`returns`) when the functions there return.

    One link for each file (Linux 6.6), if the program was loaded for such; one perf event for each point
    otherwise. A `session` runs the program at start and return, and the program decides at the start whether
    it wants the return (6.13).
    """
    if not points:
        raise AttachError(f"{hook}: nothing to attach to", hook=hook)
    fds: list[int] = []
    attach_type = TRACE_UPROBE_SESSION if session else TRACE_UPROBE_MULTI
    flags = BPF_F_UPROBE_MULTI_RETURN if returns and not session else 0
    by_path: dict[str, list[Point]] = {}
    for point in points:
        by_path.setdefault(point.path, []).append(point)
    kernel = kernel_calls.kernel()
    try:
        for path, inside in by_path.items():
            fds.append(_create(program_fd, attach_type, path, inside, flags, pid))
    except OSError as error:
        for fd in fds:
            kernel.close(fd)
        # EINVAL: the kernel knows no such link, or the program is for perf events.
        if error.errno == errno.EINVAL and not fds and not session:
            return _each(program_fd, points, hook, returns, pid)
        raise _refused(hook, points[0], session, pid, error) from None
    return Link(fds, hook)


def _create(
    program_fd: int, attach_type: int, path: str, points: list[Point], flags: int, pid: int | None
) -> int:
    """The descriptor of a link to points of one file."""
    name = Pinned(path.encode(errors="surrogateescape") + b"\0")
    offsets = Pinned(array("Q", [point.offset for point in points]))
    cookies = semaphores = None
    if any(point.cookie for point in points):
        cookies = Pinned(array("Q", [point.cookie for point in points]))
    if any(point.semaphore for point in points):
        semaphores = Pinned(array("Q", [point.semaphore for point in points]))
    extra = _EXTRA.pack(
        name.address,
        offsets.address,
        semaphores.address if semaphores else 0,
        cookies.address if cookies else 0,
        len(points),
        flags,
        pid or 0,
    )
    return kernel_calls.kernel().link_create(program_fd, 0, attach_type, extra=extra)


def _each(program_fd: int, points: Sequence[Point], hook: str, returns: bool, pid: int | None) -> Link:
    if len(points) > _MOST_PERF:
        raise Unsupported(
            f"{hook}: {len(points)} functions take a uprobe.multi link, which this kernel lacks or this "
            f"program was not loaded for (section uprobe.multi); without, {_MOST_PERF} are the most",
            feature="uprobe_multi",
            since="6.6",
        )
    return uprobe.attach(program_fd, points, hook, returns=returns, pid=pid)


def _refused(hook: str, point: Point, session: bool, pid: int | None, error: OSError) -> ProbeeError:
    number = error.errno or 0
    if session and number in (errno.EINVAL, errno.EOPNOTSUPP):
        return Unsupported(
            f"{hook}: the kernel has no such links, or the program was not loaded for one (section "
            "uprobe.session)",
            feature="uprobe_session",
            since="6.13",
        )
    if number == errno.EBADF:
        return AttachError(f"{hook}: {point.path} is not a file that can be probed", hook=hook, errno=number)
    if number in (errno.EPERM, errno.EACCES):
        return refused(hook, error)
    return uprobe.not_attached(hook, point, pid, error)
