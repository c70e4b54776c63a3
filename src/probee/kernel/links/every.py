"""All BPF links of the machine."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.kernel import link_info
from probee.sys.bpf import LINK_GET_FD_BY_ID, LINK_GET_NEXT_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from probee.kernel.link_info import LinkDetails


def each() -> Iterator[LinkDetails]:
    """What the kernel says of each link, in the order of their ids (Linux 5.8).

    Those that go meanwhile are left out. Needs CAP_SYS_ADMIN; raises `OSError`.
    """
    kernel = kernel_calls.kernel()
    id = 0
    while (following := kernel.next_id(LINK_GET_NEXT_ID, id)) is not None:
        id = following
        try:
            fd = kernel.fd_by_id(LINK_GET_FD_BY_ID, id)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EAGAIN):
                continue  # closed since, or not ready yet
            raise
        try:
            yield link_info.read(fd)
        finally:
            kernel.close(fd)
