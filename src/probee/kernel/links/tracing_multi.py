"""Many functions in one tracing link: `fentry.multi`, `fexit.multi`, `fsession.multi`."""

from __future__ import annotations

import errno
from array import array
from struct import Struct

from probee import sys as kernel_calls
from probee.btf.kinds import FUNC
from probee.errors import AttachError, Unsupported
from probee.kernel.links.base import Link, refused
from probee.kernel.links.kprobe_multi import matching
from probee.sys.native import Pinned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTRA = Struct("=QQI4x")  # ids, cookies, cnt
_KINDS = {59: "fentry.multi", 60: "fexit.multi", 61: "fsession.multi"}


def attach(
    program_fd: int,
    attach_type: int,
    pattern: str = "",
    *,
    functions: Sequence[str] = (),
    cookies: Sequence[int] = (),
    cookie: int = 0,
) -> Link:
    """Run a program of type `tracing` at each function that matches `pattern` or is named (Linux 7.2).

    `pattern` may start with `MODULE:`, then all functions are of that module, for which the program was
    loaded.
    """
    kind = _KINDS.get(attach_type, "tracing.multi")
    hook = f"{kind} {pattern or ', '.join(functions)}"
    if bool(pattern) == bool(functions):
        raise AttachError(f"{hook}: either a pattern or functions", hook=hook)
    if cookies and len(cookies) != len(functions):
        raise AttachError(f"{hook}: one cookie for each of functions, or cookie= for all", hook=hook)
    ids = _ids(hook, pattern, functions)
    marks = list(cookies) or ([cookie] * len(ids) if cookie else [])
    where = Pinned(array("I", ids))
    numbers = Pinned(array("Q", marks))
    extra = _EXTRA.pack(where.address, numbers.address if marks else 0, len(ids))
    try:
        fd = kernel_calls.kernel().link_create(program_fd, 0, attach_type, extra=extra)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.E2BIG):
            raise Unsupported(
                f"{hook}: this kernel has no tracing links of many functions; kprobe.multi may do",
                feature=kind,
                since="7.2",
            ) from None
        raise refused(hook, error) from None
    return Link(fd, f"{hook} ({len(ids)} functions)")


def _ids(hook: str, pattern: str, functions: Sequence[str]) -> list[int]:
    """The BTF ids of the functions. Those that a pattern chose and that have no BTF are left out."""
    from probee.btf import kernel_btf
    from probee.kernel.modules import Modules

    module, colon, rest = pattern.rpartition(":")
    modules = Modules(kernel_btf)
    try:
        find = kernel_btf().find
        if colon and module != "vmlinux":
            one = modules.named(module)
            if one is None:
                raise AttachError(f"{hook}: there is no module {module} with BTF", hook=hook)
            find = one.find
        found = {name: find(name, FUNC) for name in functions or matching(hook, rest)}
    finally:
        modules.close()
    missing = [name for name, id in found.items() if id is None]
    if functions and missing:
        raise AttachError(f"{hook}: {missing[0]} is not in the kernel's BTF", hook=hook, errno=errno.ENOENT)
    ids = [id for id in found.values() if id is not None]
    if not ids:
        raise AttachError(f"{hook}: none of the functions that match has BTF", hook=hook, errno=errno.ENOENT)
    return ids
