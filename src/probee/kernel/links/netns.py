"""Hooks of a network namespace: `sk_lookup`, which picks sockets for connections, and the flow dissector."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError
from probee.kernel.links.base import Link
from probee.kernel.links.interfaces import programs, refused
from probee.kernel.links.namespaces import open_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.attach_base import Attachable

FLOW_DISSECTOR, SK_LOOKUP = 17, 36  # enum bpf_attach_type
_TYPES = {22: FLOW_DISSECTOR, 30: SK_LOOKUP}  # by enum bpf_prog_type
_NAMES = {FLOW_DISSECTOR: "flow dissector", SK_LOOKUP: "sk_lookup"}


def attach(
    program: Attachable,
    namespace: str | os.PathLike[str] | int | None = None,
    *,
    pid: int | None = None,
) -> Link:
    """`Program.attach_netns`."""
    attach_type = _TYPES.get(program.type)
    if attach_type is None:
        raise AttachError(
            f"program {program.name} is neither of type sk_lookup nor flow_dissector",
            hook="network namespace",
        )
    whose = f"process {pid}" if pid is not None else namespace
    where = "this network namespace" if whose in (None, "") else f"network namespace {whose}"
    hook = f"{_NAMES[attach_type]} of {where}"
    fd = open_namespace(namespace, pid=pid)
    kernel = kernel_calls.kernel()
    try:
        return Link(kernel.link_create(program.fd, fd, attach_type), hook)
    except OSError as error:
        if error.errno == errno.EINVAL and not os.readlink(f"/proc/self/fd/{fd}").startswith("net:"):
            raise AttachError(f"{whose} is no network namespace", hook=hook, errno=errno.EINVAL) from None
        if error.errno in (errno.EEXIST, errno.E2BIG, errno.EBUSY):
            there = kernel.prog_query(fd, attach_type).prog_ids
            what = programs(there) if there else "the first network namespace's, which rules all others,"
            only = "; a namespace has one" if attach_type == FLOW_DISSECTOR else ""
            raise AttachError(
                f"can't attach to {hook}: {what} is attached already{only}", hook=hook, errno=error.errno
            ) from None
        raise refused(hook, error) from None
    finally:
        os.close(fd)
