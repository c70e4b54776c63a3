"""The functions of a loaded program, by its BTF: what freplace replaces."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.btf.kinds import FUNC
from probee.errors import AttachError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf.parser import Btf


def btf_of(program_fd: int) -> Btf | None:
    """The BTF a program was loaded with; None if without. Raises `OSError`; needs CAP_SYS_ADMIN."""
    from probee.btf.parser import Btf
    from probee.sys.bpf import BTF_GET_FD_BY_ID
    from probee.sys.details import btf_details

    kernel = kernel_calls.kernel()
    id = kernel.prog_info(program_fd).btf_id
    if not id:
        return None
    fd = kernel.fd_by_id(BTF_GET_FD_BY_ID, id)
    try:
        return Btf.parse(btf_details(kernel, fd, data=True).data)
    finally:
        kernel.close(fd)


def function_in(program_fd: int, name: str, hook: str) -> int:
    """The BTF id of function `name` of a program. Raises `AttachError` with the functions that it has."""
    from probee.kernel.links.base import refused

    try:
        btf = btf_of(program_fd)
    except OSError as error:
        raise refused(hook, error, "looking into the target of") from None
    if btf is None:
        raise AttachError(f"{hook}: the target has no BTF", hook=hook, errno=errno.ENOENT)
    found = btf.find(name, FUNC)
    if found is None:
        names = [type.name for type in btf.own_types(FUNC)]
        raise AttachError(
            f"{hook}: the target has no function {name!r}; it has {', '.join(names)}",
            hook=hook,
            errno=errno.ENOENT,
        )
    return found
