"""Network namespaces: opened by name, path, process or descriptor; and doing things inside one."""

from __future__ import annotations

import errno
import os

from probee.errors import AttachError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

_NAMED = "/run/netns"  # where `ip netns` keeps them
_CURRENT = "/proc/thread-self/ns/net"
_CLONE_NEWNET = 0x40000000


def open_namespace(which: str | os.PathLike[str] | int | None = None, *, pid: int | None = None) -> int:
    """A descriptor of a network namespace, to be closed.

    `which` is a path, a name that `ip netns` knows, or a descriptor; `pid` a process inside it; with neither
    it is the calling thread's. Raises `AttachError` if there is none, `PermissionDenied`.
    """
    if isinstance(which, int):
        return os.dup(which)
    if pid is not None:
        path, what = f"/proc/{pid}/ns/net", f"process {pid}"
    elif which is None or which == "":
        path = what = _CURRENT
    else:
        path = what = os.fspath(which)
        if "/" not in path:
            path = f"{_NAMED}/{path}"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        hook = f"network namespace {'of ' if pid is not None else ''}{what}"
        if error.errno in (errno.EACCES, errno.EPERM):
            from probee.sys import caps

            raise caps.denied(f"opening the {hook}", caps.CAP_SYS_PTRACE, error=error.errno) from None
        near = "" if pid is not None else _near(what)
        raise AttachError(f"no {hook}{near}", hook=hook, errno=error.errno or errno.ENOENT) from None


def _near(name: str) -> str:
    try:
        known = sorted(os.listdir(_NAMED))
    except OSError:
        known = []
    if not known:
        return " (a path, or a name that `ip netns` lists; there are none)"
    import difflib

    return f"; did you mean {' or '.join(difflib.get_close_matches(name, known, 3, 0.4) or known[:5])}?"


def identity(fd: int) -> int:
    """The inode that stands for the namespace of a descriptor."""
    return os.fstat(fd).st_ino


def is_current(fd: int) -> bool:
    """Whether the calling thread is in the namespace of `fd`."""
    try:
        return os.stat(_CURRENT).st_ino == identity(fd)
    except OSError:
        return True


def inside(fd: int, call: Callable[[], T], *, thread: bool = False) -> T:
    """The result of `call`, made in the network namespace of `fd`.

    A thread of its own makes it if the caller is in another namespace, or with `thread`.
    """
    here = is_current(fd)
    if here and not thread:
        return call()
    from threading import Thread

    results: list[T] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            if not here:
                from probee.sys.native import setns

                setns(fd, _CLONE_NEWNET)
            results.append(call())
        except BaseException as problem:
            problems.append(problem)

    worker = Thread(target=run, name="probee-netns")
    worker.start()
    worker.join()
    if problems:
        raise problems[0]
    return results[0]
