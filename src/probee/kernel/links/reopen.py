"""Links that exist already, by pin, id or descriptor."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError, ProbeeError
from probee.kernel import link_info
from probee.kernel.links.base import Link, refused
from probee.kernel.pinning import duplicate, opened
from probee.sys.bpf import LINK_GET_FD_BY_ID


def link(path: str, id: int | None, fd: int | None) -> Link:
    """`Link.open`."""
    if bool(path) + (id is not None) + (fd is not None) != 1:
        raise ProbeeError("a link is opened by one of: the path of its pin, id=, fd=")
    if path:
        return _pinned(path)
    if id is not None:
        return _typed([_by_id(id)])
    assert fd is not None
    return _typed([duplicate(fd)])


def _by_id(id: int) -> int:
    try:
        return kernel_calls.kernel().fd_by_id(LINK_GET_FD_BY_ID, id)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise AttachError(f"there is no link {id}", errno=error.errno) from None
        raise refused(f"link {id}", error, "opening") from None


def _pinned(path: str) -> Link:
    if not os.path.isdir(path):
        found = _typed([opened(path, "link")])
        found._pins.append(path)
        return found
    names = sorted((n for n in os.listdir(path) if n.isdigit()), key=int)
    if not names:
        raise AttachError(f"{path} is a folder without links")
    fds: list[int] = []
    try:
        for name in names:
            fds.append(opened(f"{path}/{name}", "link"))
    except BaseException:
        for fd in fds:
            kernel_calls.kernel().close(fd)
        raise
    found = _typed(fds)
    found._pins += [path, *(f"{path}/{name}" for name in names)]
    return found


def _typed(fds: list[int]) -> Link:
    """The link behind `fds`, which are taken over, of the class that fits its kind."""
    kernel = kernel_calls.kernel()
    try:
        kind = _kind(fds[0])
        hook = link_info.read(fds[0]).hook
    except BaseException:
        for fd in fds:
            kernel.close(fd)
        raise
    if kind == link_info.ITER:
        from probee.kernel.links.iter import IterLink

        return IterLink(fds, hook)
    if kind == link_info.STRUCT_OPS:
        from probee.kernel.links.struct_ops import StructOpsLink

        return StructOpsLink(fds, hook)
    return Link(fds, hook)


def _kind(fd: int) -> int:
    if "bpf_link" not in (what := os.readlink(f"/proc/self/fd/{fd}")) and "bpf-link" not in what:
        raise AttachError(f"that is no link but {what.removeprefix('anon_inode:')}")
    return int(kernel_calls.kernel().link_info(fd).type)
