"""Pinning from the command line: the BPF file system is mounted where people expect it."""

from __future__ import annotations

import os

from ..errors import ProbeeError
from ..kernel.pinning import pin
from .output import Output
from .owners import mounts

BPFFS = "/sys/fs/bpf"


def pin_at(fd: int, path: str, what: str, output: Output) -> None:
    """Pin the object behind `fd`. Mounts /sys/fs/bpf if the path is in there and nothing is mounted yet,
    unless -n was given."""
    ready(path, output)
    pin(fd, path, what)


def ready(path: str, output: Output) -> None:
    """See to it that there is a BPF file system for a path below /sys/fs/bpf."""
    below = os.path.abspath(path).startswith(f"{BPFFS}/")
    if not below or BPFFS in mounts():
        return
    if output.nomount:
        raise ProbeeError(f"no BPF file system is mounted at {BPFFS}, and -n forbids to mount it")
    from ..sys import caps
    from ..sys.native import mount

    try:
        mount("bpf", BPFFS, "bpf")
    except OSError as error:
        if error.errno in (1, 13):
            raise caps.denied(f"mounting {BPFFS}", caps.CAP_SYS_ADMIN) from error
        raise ProbeeError(f"can't mount {BPFFS}: {os.strerror(error.errno or 0)}") from error
