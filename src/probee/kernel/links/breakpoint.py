"""Breakpoints of the processor: a program runs when memory is touched or an instruction reached."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.errors import AttachError
from probee.kernel.links import perf
from probee.kernel.links.base import Link, refused

PERF_TYPE_BREAKPOINT = 5
ACCESS = {"r": 1, "w": 2, "rw": 3, "x": 4}  # include/uapi/linux/hw_breakpoint.h
_INSTRUCTION = 8  # sizeof(long): what the kernel wants for "x"


def attach(
    program_fd: int, address: int, length: int, access: str, *, pid: int | None = None, cookie: int = 0
) -> Link:
    """Run a program of type `perf_event` on each `access` ("r", "w", "rw", "x") to `address` (Linux 4.9).

    With `pid` the address is in that process, and the thread of that number is watched; without, every
    process on all CPUs, which takes a debug register of each.
    """
    hook = f"breakpoint {access} at {address:#x}"
    if access not in ACCESS:
        raise AttachError(f"{hook}: access is one of {', '.join(ACCESS)}", hook=hook)
    if access == "x":
        length = _INSTRUCTION
    if length not in (1, 2, 4, 8) or (address % length and access != "x"):
        raise AttachError(f"{hook}: a breakpoint covers 1, 2, 4 or 8 bytes, at a multiple of that", hook=hook)
    kernel = kernel_calls.kernel()
    events: list[int] = []
    try:
        for cpu in kernel.online_cpus() if pid is None else [-1]:
            events.append(
                kernel.perf_event_open(
                    PERF_TYPE_BREAKPOINT,
                    0,
                    sample=1,
                    pid=-1 if pid is None else pid,
                    cpu=cpu,
                    config1=address,
                    config2=length,
                    bp_type=ACCESS[access],
                )
            )
    except OSError as error:
        for fd in events:
            kernel.close(fd)
        raise _explained(hook, error, access, pid) from None
    try:
        return perf.attach(events, program_fd, hook, cookie=cookie)
    except OSError as error:
        raise refused(hook, error) from None


def _explained(hook: str, error: OSError, access: str, pid: int | None) -> Exception:
    number = error.errno or 0
    reason = {
        errno.ENOSPC: "all debug registers are in use (there are four on x86-64, and a debugger takes some)",
        errno.ESRCH: f"no process {pid}",
        errno.EINVAL: f"this processor has no breakpoints for {access} at such an address",
        errno.EOPNOTSUPP: f"this processor has no breakpoints for {access}",
        errno.ENOENT: "this machine has no breakpoints that the kernel can use",
        errno.ENODEV: "this machine has no breakpoints that the kernel can use",
    }.get(number)
    if reason:
        return AttachError(f"can't attach to {hook}: {reason}", hook=hook, errno=number)
    return refused(hook, error)
