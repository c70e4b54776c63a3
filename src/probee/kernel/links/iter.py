"""Iterators: programs that walk the kernel's objects and write what they like, read as a stream."""

from __future__ import annotations

import errno
import os
from struct import Struct

from probee import sys as kernel_calls
from probee.errors import AttachError, ProbeeError, Unsupported
from probee.kernel.links.base import Link, refused
from probee.sys.native import Pinned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

TRACE_ITER = 28  # enum bpf_attach_type
ORDERS = {"self": 1, "pre": 2, "post": 3, "up": 4, "children": 5}  # enum bpf_cgroup_iter_order
_CHUNK = 1 << 16


class IterLink(Link):
    """An iterator that is set up. Each reading starts a walk of its own."""

    __slots__ = ()

    def walk(self) -> int:
        """A descriptor of a new walk (BPF_ITER_CREATE), which the caller closes."""
        try:
            return self._kernel.iter_create(self.fd)
        except OSError as error:
            raise refused(self.hook, error, "walking") from None

    def stream(self) -> BinaryIO:
        """A new walk as a binary file. The program runs as it is read."""
        return os.fdopen(self.walk(), "rb", buffering=_CHUNK)

    def read(self) -> bytes:
        """All that one walk writes."""
        chunks = []
        fd = self.walk()
        try:
            while chunk := _read(fd):
                chunks.append(chunk)
        except OSError as error:
            raise AttachError(
                f"{self.hook}: {os.strerror(error.errno or 0)}", hook=self.hook, errno=error.errno or 0
            ) from None
        finally:
            self._kernel.close(fd)
        return b"".join(chunks)

    def text(self) -> str:
        """All that one walk writes, as text."""
        return self.read().decode(errors="replace")

    def lines(self) -> Iterator[str]:
        """The lines of one walk, without their ends, as they come."""
        with self.stream() as file:
            for line in file:
                yield line.decode(errors="replace").rstrip("\n")


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, _CHUNK)
        except OSError as error:
            if error.errno != errno.EAGAIN:  # the kernel paused a long walk (seq_file), there is more
                raise


def attach(
    program_fd: int,
    name: str,
    *,
    map_fd: int | None = None,
    pid: int | None = None,
    tid: int | None = None,
    pidfd: int | None = None,
    cgroup: str | os.PathLike[str] | int | None = None,
    order: str = "",
) -> IterLink:
    """Set up a program of type `tracing`, loaded for the iterator `name` (Linux 5.8).

    `map_fd`, a process, a thread or a `cgroup` (a path or an id) narrow what it walks.
    """
    hook = f"iter {name}"
    if sum(what is not None for what in (map_fd, pid, tid, pidfd, cgroup)) > 1:
        raise ProbeeError(f"{hook} walks one of: a map, a process (pid or pidfd), a thread, a cgroup")
    if order and order not in ORDERS:
        raise ProbeeError(f"{hook}: order={order!r}: expected one of {', '.join(ORDERS)}")
    # The kernel ignores what an iterator does not take.
    of_task = pid is not None or tid is not None or pidfd is not None
    if (of_task and name[:4] not in ("", "task")) or (
        (cgroup is not None or order) and name not in ("", "cgroup")
    ):
        raise AttachError(f"{hook} takes no such parameter: {_wants(name)}", hook=hook)
    cgroup_fd = None if cgroup is None or isinstance(cgroup, int) else _open_cgroup(hook, cgroup)
    try:
        info = Pinned(_parameters(map_fd, pid, tid, pidfd, cgroup, cgroup_fd, order))
        extra = Struct("=QI").pack(info.address, info.size)
        return IterLink(kernel_calls.kernel().link_create(program_fd, 0, TRACE_ITER, extra=extra), hook)
    except OSError as error:
        raise _explained(name, hook, error) from None
    finally:
        if cgroup_fd is not None:
            os.close(cgroup_fd)


def _parameters(
    map_fd: int | None,
    pid: int | None,
    tid: int | None,
    pidfd: int | None,
    cgroup: str | os.PathLike[str] | int | None,
    cgroup_fd: int | None,
    order: str,
) -> bytes:
    """`union bpf_iter_link_info`; b"" for everything there is."""
    if map_fd is not None:
        return Struct("=I12x").pack(map_fd)
    if (pid, tid, pidfd) != (None, None, None):
        return Struct("=III4x").pack(tid or 0, pid or 0, pidfd or 0)
    if cgroup is not None or order:
        return Struct("=IIQ").pack(
            ORDERS[order or "pre"], cgroup_fd or 0, cgroup if isinstance(cgroup, int) else 0
        )
    return b""


def _open_cgroup(hook: str, path: str | os.PathLike[str]) -> int:
    from probee.kernel.cgroups import open_cgroup

    try:
        return open_cgroup(path)
    except OSError as error:
        raise AttachError(
            f"{hook}: no cgroup {os.fspath(path)} ({error.strerror})", hook=hook, errno=error.errno or 0
        ) from None


def _explained(name: str, hook: str, error: OSError) -> ProbeeError:
    number = error.errno or 0
    if number == errno.EINVAL:
        reason = f"{hook}: the kernel refuses its parameters: {_wants(name)}"
        return AttachError(reason, hook=hook, errno=number)
    if number == errno.EBADF and name != "cgroup":
        return AttachError(f"{hook} has no map: {_wants(name)}", hook=hook, errno=number)
    if number == errno.E2BIG:
        return Unsupported(f"{hook}: this kernel knows no such parameters", feature="iter parameters")
    if number == errno.ESRCH:
        return AttachError(f"{hook}: no such process", hook=hook, errno=number)
    if number in (errno.EBADF, errno.ENOENT):
        return AttachError(f"{hook}: no such cgroup", hook=hook, errno=number)
    return refused(hook, error)


def _wants(name: str) -> str:
    return next((text for start, text in _WANTS.items() if name.startswith(start)), "it takes none")


# What iterators take, by the start of their names.
_WANTS = {
    "bpf_map_elem": "it wants map=, one whose keys and values are as large as those the program reads",
    "bpf_sk_storage_map": "it wants map=, a socket storage",
    "sockmap": "it wants map=, a sockmap or sockhash",
    "cgroup": "it takes cgroup= and order= (Linux 6.1)",
    "task": "it takes one of pid=, tid= and pidfd= (Linux 6.1)",
}
