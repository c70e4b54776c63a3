"""Where among the programs of one hook a new one goes (tcx, netkit, newer cgroups), and what can be wrong."""

from __future__ import annotations

import errno
from struct import Struct

from probee import sys as kernel_calls
from probee.errors import AttachError, PermissionDenied, ProbeeError, Unsupported
from probee.kernel.links.base import LegacyLink, Link
from probee.kernel.links.interfaces import programs, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from probee.kernel.program import Program

    Anchor: TypeAlias = "Program | Link | int | None"

BPF_F_REPLACE, BPF_F_BEFORE, BPF_F_AFTER, BPF_F_ID, BPF_F_LINK = 4, 8, 16, 32, 1 << 13
_EXTRA = Struct("=I4xQ")  # the part of BPF_LINK_CREATE's union that tcx, netkit and cgroup have in common


class LinkId(int):
    """A link's id, as an anchor; a plain number is a program's."""


class Place:
    """A place in the order: flags, what they refer to, and the revision that is expected (0: any)."""

    __slots__ = ("flags", "relative", "revision")

    def __init__(self, flags: int, relative: int, revision: int) -> None:
        self.flags = flags
        self.relative = relative
        self.revision = revision

    def __bool__(self) -> bool:
        return bool(self.flags or self.revision)

    @property
    def extra(self) -> bytes:
        """What BPF_LINK_CREATE is told of it."""
        return _EXTRA.pack(self.relative, self.revision)


def place(
    hook: str,
    before: Anchor = None,
    after: Anchor = None,
    first: bool = False,
    last: bool = False,
    revision: int = 0,
) -> Place:
    """The place that one of `before`, `after`, `first`, `last` names; with none the kernel's: last."""
    if (before is not None) + (after is not None) + first + last > 1:
        raise AttachError(f"{hook}: only one of before, after, first and last", hook=hook)
    flags = BPF_F_BEFORE if first or before is not None else BPF_F_AFTER if last or after is not None else 0
    anchor = before if before is not None else after
    relative = 0
    if isinstance(anchor, LegacyLink):
        flags, relative = flags | BPF_F_ID, getattr(anchor, "prog_id", 0)
    elif isinstance(anchor, Link):
        flags, relative = flags | BPF_F_LINK, anchor.fd
    elif isinstance(anchor, LinkId):
        flags, relative = flags | BPF_F_LINK | BPF_F_ID, int(anchor)
    elif isinstance(anchor, int):
        flags, relative = flags | BPF_F_ID, anchor
    elif anchor is not None:
        relative = anchor.fd
    return Place(flags, relative, revision)


def explain(
    hook: str, error: OSError, target: int, attach_type: int, place: Place
) -> AttachError | PermissionDenied | Unsupported | ProbeeError:
    """The error for a refusal by a hook with an order; `target` is what BPF_PROG_QUERY takes."""
    number = error.errno or 0

    def failed(text: str) -> AttachError:
        return AttachError(f"can't attach to {hook}: {text}", hook=hook, errno=number)

    try:
        now = kernel_calls.kernel().prog_query(target, attach_type)
    except OSError:
        return refused(hook, error)
    there = f"it has {programs(now.prog_ids)}" if now.prog_ids else "it has no programs"
    if number == errno.ESTALE:
        return failed(f"its revision is {now.revision}, not {place.revision}; {there}")
    if number == errno.ENOENT and place.relative:
        return failed(f"what to go before or after is not attached there; {there}")
    if number == errno.EEXIST:
        return failed(f"the program is attached there already; {there}")
    if number in (errno.ERANGE, errno.E2BIG):
        return failed(f"no room for another program; it has {len(now.prog_ids)}")
    if number == errno.EBUSY:
        return failed(f"the program to replace, or to go by, belongs to a link; {there}")
    return refused(hook, error)
