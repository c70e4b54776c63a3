"""System calls by name: kprobes on the function that takes them, whatever this machine calls it."""

from __future__ import annotations

import errno
import os

from probee.errors import AttachError
from probee.kernel.links import kprobe
from probee.kernel.links.base import Link

# Machine (uname -m) -> what stands in the name of a system call's function: __x64_sys_openat.
_PREFIXES = {
    "x86_64": "x64",
    "aarch64": "arm64",
    "s390x": "s390x",
    "riscv64": "riscv",
    "riscv32": "riscv",
    "ppc64le": "powerpc",
    "ppc64": "powerpc",
    "loongarch64": "loongarch",
    "mips64": "mips",
}


def attach(program_fd: int, name: str, *, returns: bool = False, cookie: int = 0, way: str = "auto") -> Link:
    """Run a program of type `kprobe` at system call `name`, or (`returns`) when it returns (as
    `kprobe.attach`).
    """
    call = name.removeprefix("sys_")
    hook = f"{'kretsyscall' if returns else 'ksyscall'} {call}"
    link = kprobe.attach(
        program_fd, kprobe.Place(_function(call, hook)), returns=returns, cookie=cookie, way=way
    )
    link.hook = hook
    return link


def _function(call: str, hook: str) -> str:
    """The function of a system call. Kernels without wrappers have it without the machine's name."""
    from probee.symbols.kallsyms import KernelSymbols

    machine = _PREFIXES.get(_machine(), "")
    names = [f"__{machine}_sys_{call}"] if machine else []
    names += [f"__se_sys_{call}", f"sys_{call}"]
    try:
        symbols = KernelSymbols.read()
    except OSError:
        return names[0]
    for name in names:
        if any(symbol.is_function for symbol in symbols.find(name)):
            return name
    stem = names[0].removesuffix(call)
    known = {s.name.removeprefix(stem) for s in symbols.matching(f"{stem}*")}
    if not known:
        return names[0]
    from probee.sys.tracefs import nearest

    near = nearest(call, known)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise AttachError(f"{hook}: this kernel has no system call {call}{hint}", hook=hook, errno=errno.ENOENT)


def _machine() -> str:
    return os.uname().machine
