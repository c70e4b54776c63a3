"""Uprobes: where a function of a user-space program or library starts, or returns."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError, Unsupported
from probee.kernel.links import perf
from probee.kernel.links.base import Link, refused
from probee.symbols.locate import locate

_PMU = "/sys/bus/event_source/devices/uprobe"


def _sysfs(name: str) -> str:
    try:
        fd = os.open(f"{_PMU}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise Unsupported(
            "this kernel has no uprobe perf events (CONFIG_UPROBE_EVENTS)", feature="uprobe", since="4.17"
        ) from None
    try:
        return os.read(fd, 256).decode().strip()
    finally:
        os.close(fd)


def split_target(target: str) -> tuple[str, str]:
    """(binary, symbol) from what follows `uprobe/` in a section name: `path:symbol+offset`."""
    binary, colon, symbol = target.rpartition(":")
    if not (binary and colon and symbol):
        raise AttachError(
            f"uprobe/{target}: expected BINARY:SYMBOL, as in libc:malloc", hook=f"uprobe {target}"
        )
    return binary, symbol


def attach(
    prog_fd: int,
    binary: str,
    symbol: str,
    *,
    returns: bool = False,
    pid: int | None = None,
    cookie: int = 0,
) -> Link:
    """Run a program of type `kprobe` where `symbol` of `binary` starts, or (`returns`) returns.

    `binary` is a path, a library ("c", "libc.so.6") or an executable on PATH; `symbol` may be `name+offset`
    or a number, the offset in the file. All processes, or the one called `pid`.
    """
    hook = f"{'uretprobe' if returns else 'uprobe'} {binary}:{symbol}"
    place = locate(binary, symbol, pid)
    kind = int(_sysfs("type"))
    config = 1 << int(_sysfs("format/retprobe").rpartition(":")[2]) if returns else 0
    try:
        fd = kernel_calls.kernel().perf_event_open(
            kind,
            config,
            pid=-1 if pid is None else pid,
            cpu=0 if pid is None else -1,
            path=place.path,
            config2=place.offset,
        )
        return perf.attach([fd], prog_fd, hook, cookie=cookie)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise AttachError(f"{hook}: no process {pid}", hook=hook, errno=error.errno) from None
        if error.errno in (errno.EINVAL, errno.EIO, errno.EOPNOTSUPP):
            raise AttachError(
                f"can't attach to {hook}: the kernel refuses a probe at {place.path}+{place.offset:#x} "
                f"({os.strerror(error.errno)}); is it the start of an instruction in a file on disk?",
                hook=hook,
                errno=error.errno,
            ) from None
        raise refused(hook, error) from None
