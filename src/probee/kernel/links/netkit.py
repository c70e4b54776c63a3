"""netkit: programs at the two ends of a netkit pair, attached at its primary end."""

from __future__ import annotations

from probee.errors import AttachError
from probee.kernel.links.anchors import place
from probee.kernel.links.interfaces import resolve
from probee.kernel.links.tcx import attach_ordered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.attach_base import Attachable
    from probee.kernel.links.anchors import Anchor
    from probee.kernel.links.base import Link
    from probee.kernel.program import Program

PRIMARY, PEER = 54, 55  # enum bpf_attach_type


def attach(
    program: Attachable,
    interface: str | int,
    end: str = "",
    *,
    before: Anchor = None,
    after: Anchor = None,
    first: bool = False,
    last: bool = False,
    revision: int = 0,
    replace: Program | None = None,
    link: bool = True,
) -> Link:
    """`Program.attach_netkit`."""
    index, name = resolve(interface)
    end = end or program.section.partition("/")[2] or "primary"
    hook = f"netkit {name} {end}"
    if end not in ("primary", "peer"):
        raise AttachError(f"{hook}: the end is primary or peer", hook=hook)
    where = place(hook, before, after, first, last, revision)
    attach_type = PRIMARY if end == "primary" else PEER
    return attach_ordered(program, hook, index, attach_type, where, replace, link, "netkit", "6.7")
