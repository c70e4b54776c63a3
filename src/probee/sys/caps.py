"""Capabilities, and what to tell people who lack one."""

from __future__ import annotations

import os
import sys

from probee.errors import PermissionDenied

# include/uapi/linux/capability.h
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_NET_ADMIN = 12
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
CAP_SYS_RESOURCE = 24
CAP_PERFMON = 38
CAP_BPF = 39

_NAMES = {
    CAP_DAC_READ_SEARCH: "CAP_DAC_READ_SEARCH",
    CAP_NET_ADMIN: "CAP_NET_ADMIN",
    CAP_SYS_PTRACE: "CAP_SYS_PTRACE",
    CAP_SYS_ADMIN: "CAP_SYS_ADMIN",
    CAP_SYS_RESOURCE: "CAP_SYS_RESOURCE",
    CAP_PERFMON: "CAP_PERFMON",
    CAP_BPF: "CAP_BPF",
}
# What stands for a capability, as in the kernel.
_COVERED_BY = {
    CAP_BPF: CAP_SYS_ADMIN,
    CAP_PERFMON: CAP_SYS_ADMIN,
    CAP_DAC_READ_SEARCH: CAP_DAC_OVERRIDE,
}
_WHOLE_RANGE = "4294967295"  # a user namespace that maps every id is the initial one


def _status(field: str) -> str:
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(field):
                    return line.split(None, 1)[1].strip()
    except OSError:
        pass
    return "0"


def effective() -> int:
    """The process's effective capabilities as a bit mask (`CapEff` of /proc/self/status)."""
    return int(_status("CapEff:"), 16)


def missing(*needed: int) -> list[str]:
    """The names of the `needed` capabilities that this process lacks."""
    have = effective()
    lacks = []
    for capability in needed:
        wider = _COVERED_BY.get(capability, capability)
        if not (have >> capability & 1 or have >> wider & 1):
            lacks.append(_NAMES[capability])
    return lacks


def name(capability: int) -> str:
    """`CAP_…` of a number."""
    return _NAMES[capability]


def drop_all() -> None:
    """Give up every capability of this thread, for good: the kernel then takes it for an unprivileged one."""
    from probee.sys.native import capset

    capset(0)


def sudo_line() -> str:
    """The command that runs this process's command line as root."""
    import shlex

    command = list(sys.orig_argv)
    command[:1] = [sys.executable or "python3"]
    if len(command) > 1 and os.access(command[1], os.X_OK) and os.path.isfile(command[1]):
        del command[0]  # a script with its own interpreter line
        command[0] = os.path.abspath(command[0])
    return shlex.join(["sudo", *command])


def denied(what: str, *needed: int, error: int = 1) -> PermissionDenied:
    """The error for an EPERM or EACCES met while doing `what`, naming what stands in the way."""
    lacks = missing(*needed)
    if lacks:
        verb = "is" if len(lacks) == 1 else "are"
        names = " and ".join(lacks)
        return PermissionDenied(
            f"{what} needs {names}, which {verb} missing here; run it as root: {sudo_line()}",
            errno=error,
            capability=lacks[0],
        )
    reason, text = _obstacle()
    return PermissionDenied(f"{what} is not permitted: {text}", errno=error, reason=reason)


def obstacle() -> str:
    """What can refuse a process that has every capability, in words."""
    return _obstacle()[1]


def _obstacle() -> tuple[str, str]:
    if in_user_namespace():
        return "namespace", (
            "this is a user namespace (a rootless container?), where root has no power over BPF; "
            "run it on the host as root, or with a BPF token (Linux 6.9: a bpffs mounted with delegate_cmds)"
        )
    if locked_down() == "confidentiality":
        return "lockdown", (
            "the kernel is locked down (lockdown=confidentiality), which forbids BPF to read kernel memory"
        )
    if _status("Seccomp:") == "2":
        return "seccomp", (
            "a seccomp filter is active (a container?); run it with --privileged, or outside the container"
        )
    return "policy", "the kernel's policy refuses it (a security module, or a hook that is closed to BPF)"


def in_user_namespace() -> bool:
    """Whether this process is in another user namespace than the machine's first."""
    try:
        with open("/proc/self/uid_map", encoding="utf-8") as file:
            return _WHOLE_RANGE not in file.read()
    except OSError:
        return False


def locked_down() -> str:
    """The kernel's lockdown: "none", "integrity" or "confidentiality"; "" where it does not say."""
    try:
        with open("/sys/kernel/security/lockdown", encoding="utf-8", errors="replace") as file:
            return file.read().partition("[")[2].partition("]")[0]
    except OSError:
        return ""
