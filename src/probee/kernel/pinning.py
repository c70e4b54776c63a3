"""Pins: kernel objects kept alive as files of a BPF file system (bpffs)."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError, ProbeeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


_NO_DOTS = "names in a BPF file system must not contain a dot"


def pin(fd: int, path: str, what: str) -> None:
    """Pin the object behind `fd` at `path`. Folders that are missing are made, as libbpf does.

    Raises `AttachError` (name taken, not a BPF file system), or `PermissionDenied`.
    """
    folder = os.path.dirname(path)
    try:
        if folder and not os.path.isdir(folder):
            os.makedirs(folder, 0o700, exist_ok=True)
        kernel_calls.kernel().obj_pin(fd, path)
    except OSError as error:
        _explain(error, f"can't pin {what} at {path}", path)


def opened(path: str, what: str) -> int:
    """A descriptor of the object pinned at `path`. Raises `AttachError` or `PermissionDenied`."""
    try:
        return kernel_calls.kernel().obj_get(path)
    except OSError as error:
        _explain(error, f"can't open {what} pinned at {path}", path)


def unpin(path: str) -> None:
    """Take a pin, or an empty folder of pins, away. What is gone already is no error."""
    try:
        if os.path.isdir(path):
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return


def _explain(error: OSError, start: str, path: str) -> NoReturn:
    number = error.errno or 0
    if number in (errno.EPERM, errno.EACCES):
        if os.path.isdir(path):
            raise AttachError(f"{start}: it is a folder", errno=number) from None
        if os.path.exists(path):
            raise AttachError(f"{start}: the file is no pin, or not ours to open", errno=number) from None
        if not _on_bpffs(path):
            raise AttachError(
                f"{start}: pins live in a BPF file system, usually /sys/fs/bpf "
                "(mount -t bpf bpf /sys/fs/bpf)",
                errno=number,
            ) from None
        if "." in os.path.basename(path):
            raise AttachError(f"{start}: {_NO_DOTS}", errno=number) from None
        from probee.sys import caps

        raise caps.denied(start.replace("can't pin", "pinning", 1), caps.CAP_BPF, error=number) from None
    reason = {
        errno.EEXIST: "something is there already; unlink it first",
        errno.ENOENT: "there is nothing",
        errno.EINVAL: "the kernel can't pin that kind of object",
    }.get(number, os.strerror(number))
    raise AttachError(f"{start}: {reason}", errno=number) from None


def _on_bpffs(path: str) -> bool:
    """Whether the nearest folder of `path` that exists is of a BPF file system."""
    folder = os.path.abspath(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    device = os.stat(folder).st_dev
    place = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.split()
                if fields[2] == place:
                    return fields[fields.index("-") + 1] == "bpf"
    except (OSError, ValueError, IndexError):
        pass
    return True


def duplicate(fd: int) -> int:
    """Another descriptor of the same object, close-on-exec. A bad descriptor is a `ProbeeError`."""
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
    except OSError as error:
        raise ProbeeError(f"descriptor {fd} is not open: {error.strerror}") from None
