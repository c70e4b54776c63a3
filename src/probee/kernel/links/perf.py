"""Programs on perf events: a BPF link where the kernel has them (Linux 5.15), an ioctl elsewhere."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.errors import Unsupported
from probee.kernel.links.base import LegacyLink, Link
from probee.sys.bpf import PERF_EVENT_IOC_DISABLE, PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF

BPF_PERF_EVENT = 41  # enum bpf_attach_type


class PerfLink(LegacyLink):
    """A program on perf events by ioctl."""

    __slots__ = ()

    what = "a perf event's ioctl"
    since = "5.15"

    def close(self) -> None:
        """Detach. Doing it again does nothing."""
        for fd in self._fds:
            try:
                self._kernel.ioctl(fd, PERF_EVENT_IOC_DISABLE)
            except OSError:
                break  # closing does it too
        super().close()


def attach(
    events: list[int],
    program_fd: int,
    hook: str,
    *,
    cookie: int = 0,
    legacy: bool = False,
) -> Link:
    """Run a program on each of the perf `events` (descriptors, taken over whatever happens).

    `legacy` uses the ioctl even where there are links. A `cookie` needs a link.
    Raises `OSError`, `Unsupported`.
    """
    kernel = kernel_calls.kernel()
    made: list[int] = []
    try:
        while events and not legacy:
            try:
                made.append(kernel.link_create(program_fd, events[0], BPF_PERF_EVENT, cookie=cookie))
            except OSError as error:
                if error.errno != errno.EINVAL or _has_links(program_fd):
                    raise
                legacy = True
            else:
                kernel.close(events.pop(0))  # the link holds the event
        if made:
            return Link(made, hook)
        if cookie:
            raise Unsupported(
                f"{hook}: this kernel's perf events take no cookie", feature="perf_event cookie", since="5.15"
            )
        for event in events:
            kernel.ioctl(event, PERF_EVENT_IOC_SET_BPF, program_fd)
            kernel.ioctl(event, PERF_EVENT_IOC_ENABLE)
        return PerfLink(events, hook)
    except BaseException:
        for fd in (*made, *events):
            kernel.close(fd)
        raise


def _has_links(program_fd: int) -> bool:
    """Whether the kernel makes BPF links of perf events: it then looks at the event, which is not there."""
    try:
        fd = kernel_calls.kernel().link_create(program_fd, -1, BPF_PERF_EVENT)
    except OSError as error:
        return error.errno == errno.EBADF
    kernel_calls.kernel().close(fd)
    return True
