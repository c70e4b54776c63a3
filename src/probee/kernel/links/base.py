"""`Link`, a program attached to a hook, and what all families of hooks share."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError, PermissionDenied, ProbeeError
from probee.sys.bpf import PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF

BPF_PERF_EVENT = 41  # enum bpf_attach_type


class Link:
    """A program attached to `hook` (words, for people). It stays attached until `close()`.

    Closing the last descriptor of a link detaches the program, so a process that ends, however it ends,
    leaves nothing attached.
    """

    __slots__ = ("__weakref__", "_fds", "_kernel", "hook")

    def __init__(self, fds: list[int], hook: str) -> None:
        self._kernel = kernel_calls.kernel()
        self._fds = fds
        self.hook = hook

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<link {self.hook}{'' if self._fds else ' (closed)'}>"

    @property
    def fd(self) -> int:
        """The link's descriptor (the first CPU's, for sampling)."""
        if not self._fds:
            raise ProbeeError(f"the link to {self.hook} is closed")
        return self._fds[0]

    @property
    def fds(self) -> tuple[int, ...]:
        """All descriptors: one, or one for each CPU that is sampled."""
        return tuple(self._fds)

    @property
    def closed(self) -> bool:
        return not self._fds

    def close(self) -> None:
        """Detach. Doing it again does nothing."""
        while self._fds:
            self._kernel.close(self._fds.pop())

    detach = close


def attach_perf(event_fd: int, prog_fd: int, cookie: int = 0) -> int:
    """Run a program on a perf event. Returns the descriptor that holds the attachment; takes `event_fd` over.

    A BPF link where the kernel has them for perf events (Linux 5.15), the ioctl elsewhere.
    """
    kernel = kernel_calls.kernel()
    try:
        fd = kernel.link_create(prog_fd, event_fd, BPF_PERF_EVENT, cookie=cookie)
    except OSError as error:
        if error.errno != errno.EINVAL or cookie:
            kernel.close(event_fd)
            raise
    else:
        kernel.close(event_fd)  # the link holds the event
        return fd
    try:
        kernel.ioctl(event_fd, PERF_EVENT_IOC_SET_BPF, prog_fd)
        kernel.ioctl(event_fd, PERF_EVENT_IOC_ENABLE)
    except OSError:
        kernel.close(event_fd)
        raise
    return event_fd


def refused(hook: str, error: OSError) -> AttachError | PermissionDenied:
    """What to raise when the kernel answers an attempt to attach with `error`."""
    number = error.errno or 0
    if number in (errno.EPERM, errno.EACCES):
        from probee.sys import caps

        return caps.denied(f"attaching to {hook}", caps.CAP_BPF, caps.CAP_PERFMON, error=number)
    return AttachError(f"can't attach to {hook}: {os.strerror(number)}", hook=hook, errno=number)
