"""Whose events a tool reports: constants set before attach, so the verifier drops the tests not needed."""

from __future__ import annotations

import probee as bp
from probee import Char, u32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._common import Options

ANYBODY = 0xFFFF_FFFF  # no user has this id: it means "no change" to chown(2)

only_pid = bp.Const[u32](0)
only_uid = bp.Const[u32](ANYBODY)
only_comm = bp.Const[Char[16]]("")


def wanted() -> bool:
    """In a program: is the current thread one that was asked for?"""
    if only_pid and bp.pid() != only_pid:
        return False
    if only_uid != ANYBODY and bp.uid() != only_uid:
        return False
    return not only_comm[0] or bp.comm() == only_comm


def choose(opts: Options) -> None:
    """Take the filters from the command line; call it before attach."""
    only_pid.value = opts.pid or 0
    only_uid.value = ANYBODY if opts.uid is None else opts.uid
    only_comm.value = opts.comm or ""
