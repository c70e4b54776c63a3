"""Network interfaces by name or index, and errors that name them."""

from __future__ import annotations

import errno
from _socket import if_indextoname, if_nameindex, if_nametoindex

from probee.errors import AttachError, PermissionDenied, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Interface: TypeAlias = "str | int"


def resolve(interface: str | int) -> tuple[int, str]:
    """(index, name) of a network interface of the current namespace, given by either.

    Raises `AttachError` with the nearest names if there is none.
    """
    if interface == "":
        raise AttachError("say which network interface to attach to, by name or index", hook="interface")
    try:
        if isinstance(interface, int):
            return interface, if_indextoname(interface)
        return if_nametoindex(interface), interface
    except (OSError, OverflowError):
        names = [name for _, name in if_nameindex()]
        if isinstance(interface, str) and interface.isdigit() and int(interface) < 1 << 31:
            return resolve(int(interface))
        import difflib

        near = difflib.get_close_matches(str(interface), names, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
        raise AttachError(
            f"no network interface {interface} in this network namespace; {hint}",
            hook=f"interface {interface}",
            errno=errno.ENODEV,
        ) from None


def refused(
    hook: str, error: OSError, doing: str = "attaching to"
) -> AttachError | PermissionDenied | Unsupported:
    """What to raise when the kernel refuses something on the network with `error`."""
    number = error.errno or 0
    if number in (errno.EPERM, errno.EACCES):
        from probee.sys import caps

        return caps.denied(f"{doing} {hook}", caps.CAP_BPF, caps.CAP_NET_ADMIN, error=number)
    if number == errno.ENODEV:
        return AttachError(f"{hook}: the network interface is gone", hook=hook, errno=number)
    from probee.kernel.links import base

    explained = getattr(error, "explained", "")  # by netlink: worth more than the number's name
    if doing == "attaching to" and explained:
        return AttachError(f"can't attach to {hook}: {explained}", hook=hook, errno=number)
    return base.refused(hook, error, doing)


def programs(ids: list[int]) -> str:
    """`program 7 (drop_all)`, for error messages."""
    from probee import sys as kernel_calls
    from probee.sys.bpf import PROG_GET_FD_BY_ID

    kernel = kernel_calls.kernel()
    out = []
    for id in ids:
        name = ""
        try:
            fd = kernel.fd_by_id(PROG_GET_FD_BY_ID, id)
        except OSError:
            pass
        else:
            try:
                name = kernel.prog_info(fd).name
            finally:
                kernel.close(fd)
        out.append(f"{id} ({name})" if name else str(id))
    return f"program{'s' if len(ids) > 1 else ''} {', '.join(out)}"
