"""tcx: BPF programs in order at the ingress and egress of a network interface, without qdisc or netlink.

netkit devices have the same, for their two ends: `attach_ordered` is for both.
"""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.errors import AttachError, Unsupported
from probee.kernel.links.anchors import BPF_F_REPLACE, Place, explain, place
from probee.kernel.links.attached import Attachment
from probee.kernel.links.base import Link
from probee.kernel.links.interfaces import refused, resolve
from probee.kernel.links.namespaces import inside, open_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.attach_base import Attachable
    from probee.kernel.links.anchors import Anchor
    from probee.kernel.program import Program

INGRESS, EGRESS = 46, 47  # enum bpf_attach_type
_SCHED_CLS = 3


def attach(
    program: Attachable,
    interface: str | int,
    direction: str = "",
    *,
    before: Anchor = None,
    after: Anchor = None,
    first: bool = False,
    last: bool = False,
    revision: int = 0,
    replace: Program | None = None,
    link: bool = True,
) -> Link:
    """`Program.attach_tcx`."""
    index, name = resolve(interface)
    direction = direction or program.section.partition("/")[2] or "ingress"
    hook = f"tcx {name} {direction}"
    if direction not in ("ingress", "egress"):
        raise AttachError(f"{hook}: the direction is ingress or egress", hook=hook)
    where = place(hook, before, after, first, last, revision)
    attach_type = INGRESS if direction == "ingress" else EGRESS
    return attach_ordered(program, hook, index, attach_type, where, replace, link, "tcx", "6.6")


def attach_ordered(
    program: Attachable,
    hook: str,
    index: int,
    attach_type: int,
    where: Place,
    replace: Program | None,
    link: bool,
    feature: str,
    since: str,
) -> Link:
    """Attach to a hook of an interface that runs its programs in order."""
    if program.type != _SCHED_CLS:
        raise AttachError(f"{hook}: program {program.name} is not of type sched_cls", hook=hook)
    if replace is not None and link:
        raise AttachError(
            f"{hook}: a program in a link is replaced by the link's update(); "
            "to replace one that is attached without a link, pass link=False",
            hook=hook,
        )
    try:
        if not link:
            return OrderedProgram(program, hook, index, attach_type, where, replace)
        fd = kernel_calls.kernel().link_create(
            program.fd, index, attach_type, flags=where.flags, extra=where.extra
        )
        return Link(fd, hook)
    except OSError as error:
        if error.errno == errno.EINVAL and not _known(index, attach_type):
            raise Unsupported(f"{hook}: this kernel has no {feature}", feature=feature, since=since) from None
        if error.errno in (errno.ENXIO, errno.EACCES) and feature == "netkit":
            raise AttachError(
                f"can't attach to {hook}: the interface is not the primary end of a netkit pair",
                hook=hook,
                errno=error.errno,
            ) from None
        raise explain(hook, error, index, attach_type, where) from None


def _known(index: int, attach_type: int) -> bool:
    """Whether the kernel knows the hook at all."""
    try:
        kernel_calls.kernel().prog_query(index, attach_type)
    except OSError as error:
        return error.errno != errno.EINVAL
    return True


class OrderedProgram(Attachment):
    """tcx or netkit without a link: it stays until it is taken off, or the interface goes."""

    __slots__ = ("_attach_type", "_index", "_namespace")

    what = "BPF_PROG_ATTACH"

    def __init__(
        self,
        program: Attachable,
        hook: str,
        index: int,
        attach_type: int,
        where: Place,
        replace: Program | None,
    ) -> None:
        super().__init__(hook, program)
        self._index = index
        self._attach_type = attach_type
        try:
            self._namespace = open_namespace()
            self._own.append(self._namespace)
            self._kernel.prog_attach(
                index,
                program.fd,
                attach_type,
                flags=where.flags | (BPF_F_REPLACE if replace is not None else 0),
                replace_fd=replace.fd if replace is not None else 0,
                relative=where.relative,
                revision=where.revision,
            )
        except BaseException:
            self.leave()
            raise

    def _there(self) -> list[int]:
        from probee.kernel.network import ordered

        found = inside(self._namespace, lambda: ordered(self._index, self._attach_type))
        return [one.prog_id for one in found]

    def _change(self, program: Program) -> None:
        def replace() -> None:
            self._kernel.prog_attach(
                self._index,
                program.fd,
                self._attach_type,
                flags=BPF_F_REPLACE,
                replace_fd=self._program,
            )

        try:
            inside(self._namespace, replace)
        except OSError as error:
            raise explain(self.hook, error, self._index, self._attach_type, Place(0, 0, 0)) from None

    def _take_off(self) -> None:
        try:
            inside(
                self._namespace,
                lambda: self._kernel.prog_detach(self._index, self._program, self._attach_type),
            )
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENOENT):
                raise refused(self.hook, error, "detaching from") from None


def detach(interface: str | int, direction: str) -> None:
    """Take the last program that was attached without a link off an interface (`bpftool net detach`)."""
    index, name = resolve(interface)
    hook = f"tcx {name} {direction}"
    attach_type = INGRESS if direction == "ingress" else EGRESS
    try:
        kernel_calls.kernel().prog_detach(index, 0, attach_type)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise AttachError(f"no program is attached to {hook}", hook=hook, errno=error.errno) from None
        if error.errno == errno.EBUSY:
            raise AttachError(
                f"{hook}: the last program there is attached by a BPF link, which only its owner can take "
                "off; see `probee link detach`",
                hook=hook,
                errno=error.errno,
            ) from None
        if error.errno == errno.EINVAL and not _known(index, attach_type):
            raise Unsupported(f"{hook}: this kernel has no tcx", feature="tcx", since="6.6") from None
        raise refused(hook, error, "detaching from") from None
