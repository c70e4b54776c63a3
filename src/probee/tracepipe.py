"""What programs print: lines of `bpf_trace_printk`, read from ftrace without taking them from other readers.

A pipe has one reader at a time, so each reader makes a tracefs instance of its own (`instances/probee-PID-N`)
with only the event `bpf_trace:bpf_trace_printk` on (Linux 5.9). Where that fails it reads the system's pipe.
"""

from __future__ import annotations

import os

from .errors import ProbeeError
from .sys import tracefs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_EVENT = "events/bpf_trace/bpf_trace_printk/enable"
_MARK = "bpf_trace_printk: "
_opened = 0


class TracePipe:
    """The lines that programs print from now on, of all programs in the kernel. A context manager."""

    __slots__ = ("_fd", "_instance", "_rest")

    def __init__(self) -> None:
        self._instance = _make_instance()
        self._rest = b""
        path = f"{self._instance or tracefs.root()}/trace_pipe"
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            _remove_instance(self._instance)
            raise ProbeeError(f"can't read what programs print from {path}: {error.strerror}") from None

    def fileno(self) -> int:
        """Readable while there are lines."""
        return self._fd

    def read(self) -> list[str]:
        """The lines that are there, without ftrace's prefix of task, CPU and time. Does not wait."""
        return [line.partition(_MARK)[2] for line in self.whole_lines() if _MARK in line]

    def whole_lines(self) -> list[str]:
        """The lines that are there, as ftrace writes them. Does not wait."""
        data = self._rest
        while True:
            try:
                chunk = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                break
            if not chunk:
                break
            data += chunk
        *whole, self._rest = data.split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def close(self) -> None:
        """Doing it again does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
            _remove_instance(self._instance)

    def __enter__(self) -> TracePipe:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _make_instance() -> str:
    """The folder of a new instance; "" where that is not possible."""
    global _opened
    instances = tracefs.root() + "/instances"
    _opened += 1
    path = f"{instances}/probee-{os.getpid()}-{_opened}"
    try:
        _clean(instances)
        os.mkdir(path)
    except OSError:
        return ""
    try:
        with open(f"{path}/{_EVENT}", "w") as file:
            file.write("1")
    except OSError:
        _remove_instance(path)
        return ""
    return path


def _clean(instances: str) -> None:
    """Remove what processes that were killed left behind."""
    for name in os.listdir(instances):
        parts = name.split("-")
        if parts[0] == "probee" and len(parts) == 3 and not os.path.exists(f"/proc/{parts[1]}"):
            _remove_instance(f"{instances}/{name}")


def _remove_instance(path: str) -> None:
    if path:
        try:  # noqa: SIM105 (contextlib takes longer to import than all of this)
            os.rmdir(path)
        except OSError:
            pass


def used_by(programs: Iterable[bytes | bytearray]) -> bool:
    """Does any of these programs, given as instructions, call bpf_trace_printk or bpf_trace_vprintk?"""
    import sys

    calls = {b"\x85\0\0\0" + number.to_bytes(4, sys.byteorder) for number in (6, 177)}  # linux/bpf.h
    return any(bytes(code[at : at + 8]) in calls for code in programs for at in range(0, len(code), 8))
