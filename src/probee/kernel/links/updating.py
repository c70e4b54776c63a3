"""Why a link did not take another program. Imported only then."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.errors import AttachError, ProbeeError, Unsupported
from probee.kernel import link_info
from probee.kernel.links.base import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.links.base import Link
    from probee.kernel.program import Program

_CAN = (
    link_info.CGROUP,
    link_info.NETNS,
    link_info.XDP,
    link_info.STRUCT_OPS,
    link_info.TCX,
    link_info.NETKIT,
    link_info.SOCKMAP,
)


def explained(link: Link, program: Program, old: Program | None, error: OSError) -> ProbeeError:
    """The error for an update of `link` that the kernel refused with `error`."""
    number = error.errno or 0
    if number == errno.ENOLINK:
        return AttachError(f"{link.hook}: the link is detached", hook=link.hook, errno=number)
    if number == errno.EPERM and old is not None:
        return AttachError(
            f"{link.hook}: the link does not run program {old.name} any more", hook=link.hook, errno=number
        )
    kind = kernel_calls.kernel().link_info(link.fd).type
    if kind not in _CAN:
        return Unsupported(
            f"the kernel can't change the program of a link to {link.hook}; "
            "attach the new program, then close the old link",
            feature="BPF_LINK_UPDATE",
        )
    if number == errno.EINVAL:
        return AttachError(
            f"{link.hook}: program {program.name} is of another type, or for another hook than this",
            hook=link.hook,
            errno=number,
        )
    return refused(link.hook, error, "updating")
