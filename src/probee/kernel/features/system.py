"""What the machine says of itself: kernel configuration, sysctls, lockdown, capabilities."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.sys import caps
from probee.sys.bpf import PROG_GET_NEXT_ID

_configs: list[dict[str, str] | None] = []

CONFIG_FILES = ("/proc/config.gz", "/boot/config-{release}", "/lib/modules/{release}/config")
SYSCTLS = {
    "unprivileged_bpf_disabled": "/proc/sys/kernel/unprivileged_bpf_disabled",
    "bpf_jit_enable": "/proc/sys/net/core/bpf_jit_enable",
    "bpf_jit_harden": "/proc/sys/net/core/bpf_jit_harden",
    "bpf_jit_kallsyms": "/proc/sys/net/core/bpf_jit_kallsyms",
    "bpf_jit_limit": "/proc/sys/net/core/bpf_jit_limit",
}


def config() -> dict[str, str] | None:
    """The kernel's build configuration, option → value (unset options are missing). None if it is nowhere."""
    if not _configs:
        _configs.append(_read_config())
    return _configs[0]


def _read_config() -> dict[str, str] | None:
    release = os.uname().release
    for pattern in CONFIG_FILES:
        path = pattern.format(release=release)
        try:
            with open(path, "rb") as file:
                raw = file.read()
            if path.endswith(".gz"):
                import zlib

                raw = zlib.decompress(raw, 31)
        except (OSError, ValueError):
            continue
        return parse_config(raw.decode(errors="replace"))
    return None


def parse_config(text: str) -> dict[str, str]:
    """The options that are set in the text of a kernel's `.config`."""
    options: dict[str, str] = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if sign and name.startswith("CONFIG_"):
            options[name] = value.strip().strip('"')
    return options


def sysctl(name: str) -> int | None:
    """One of `SYSCTLS`, None if this kernel has none of that name or keeps it from us."""
    try:
        with open(SYSCTLS[name], encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def have_bpf() -> bool:
    """Whether the kernel has the bpf system call, answered or refused."""
    try:
        kernel_calls.kernel().next_id(PROG_GET_NEXT_ID, 0)
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def security_modules() -> list[str]:
    """The security modules that are on, in order; empty where securityfs is not mounted."""
    try:
        with open("/sys/kernel/security/lsm", encoding="ascii") as file:
            return file.read().strip().split(",")
    except OSError:
        return []


def capabilities() -> dict[str, bool]:
    """Which of the capabilities that BPF asks for this process has."""
    needed = (caps.CAP_BPF, caps.CAP_PERFMON, caps.CAP_NET_ADMIN, caps.CAP_SYS_ADMIN, caps.CAP_SYS_RESOURCE)
    lacks = caps.missing(*needed)
    return {name: name not in lacks for name in map(caps.name, needed)}
