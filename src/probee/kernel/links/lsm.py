"""Hooks of Linux security modules: `lsm/HOOK`. For the tasks of a cgroup (`lsm_cgroup/HOOK`) see `cgroup`."""

from __future__ import annotations

from probee.errors import AttachError
from probee.kernel.links import tracing
from probee.kernel.links.base import Link

_MODULES = "/sys/kernel/security/lsm"


def attach(program_fd: int, name: str, *, cookie: int = 0) -> Link:
    """Run a program of type `lsm` at the hook it was loaded for, `name` (Linux 5.7, booted with `lsm=…,bpf`).

    Raises `AttachError` where the program would attach and never run.
    """
    hook = f"lsm {name}"
    check_active(hook)
    return tracing.attach(program_fd, hook, cookie=cookie, attach_type=tracing.LSM_MAC)


def check_active(hook: str) -> None:
    """A kernel may have BPF's LSM hooks and not call them: its command line decides."""
    try:
        with open(_MODULES, encoding="utf-8") as file:
            active = file.read().strip().split(",")
    except OSError:
        return  # not mounted here, or no such file: nothing is known
    if "bpf" not in active:
        raise AttachError(
            f"{hook}: this kernel does not run LSM programs; boot it with "
            f"lsm={','.join([*(m for m in active if m != 'capability'), 'bpf'])}",
            hook=hook,
        )
