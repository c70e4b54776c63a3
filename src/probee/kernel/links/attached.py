"""Attachments without a BPF link: what they share, with a link's face."""

from __future__ import annotations

import errno
import os
from struct import Struct

from probee.errors import AttachError, ProbeeError
from probee.kernel.link_info import LinkDetails
from probee.kernel.links.base import LegacyLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from probee.kernel.attach_base import Attachable
    from probee.kernel.program import Program


class AttachmentDetails(LinkDetails):
    """An attachment without a link, so without id. `attached` says whether the program is still there; None
    where the kernel doesn't tell."""

    __slots__ = ("attached", "what")

    def __init__(self, prog_id: int, what: str, attached: bool | None) -> None:
        super().__init__(Struct("=III").pack(0, 0, prog_id))
        self.what = what
        self.attached = attached

    @property
    def type_name(self) -> str:
        return self.what

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.what, "prog_id": self.prog_id, "attached": self.attached}


class Attachment(LegacyLink):
    """A program that the kernel holds at its hook until it is taken off, even if this process ends.

    `close()` takes it off, `leave()` does not. `prog_id` is the program's id.
    """

    __slots__ = ("_attached", "_own", "_program", "prog_id")

    def __init__(self, hook: str, program: Attachable) -> None:
        super().__init__([], hook)
        self._attached = True
        self._own: list[int] = []  # descriptors needed to take it off
        self._program = self._keep(program.fd)
        self.prog_id = program.id

    @property
    def fd(self) -> int:
        if not self._attached:
            raise ProbeeError(f"the link to {self.hook} is closed")
        raise self._lacks("be reached by a descriptor")

    @property
    def closed(self) -> bool:
        return not self._attached

    def __repr__(self) -> str:
        return f"<link {self.hook}{'' if self._attached else ' (closed)'}>"

    def info(self) -> AttachmentDetails:
        """The program, and whether it is still there."""
        there = self._there() if self._attached else []
        return AttachmentDetails(self.prog_id, self.what, None if there is None else self.prog_id in there)

    def update(self, program: Program, *, old: Program | None = None) -> None:
        """Run `program` instead, in the same place. With `old`, only if that is the one attached.

        Raises `AttachError`, `PermissionDenied`; `Unsupported` where this can't be done.
        """
        if not self._attached:
            raise ProbeeError(f"the link to {self.hook} is closed")
        if old is not None and old.id != self.prog_id:
            raise AttachError(
                f"{self.hook} does not run program {old.name}", hook=self.hook, errno=errno.EPERM
            )
        self._change(program)
        os.dup2(program.fd, self._program, inheritable=False)
        self.prog_id = program.id

    def close(self) -> None:
        """Take the program off its hook, if it is still there. Doing it again does nothing."""
        if self._attached:
            self._attached = False
            try:
                self._take_off()
            finally:
                self._drop()

    def leave(self) -> None:
        """Close this object, and leave the program attached."""
        self._attached = False
        self._drop()

    def _keep(self, fd: int) -> int:
        """Hold a duplicate of `fd` until the end."""
        self._own.append(os.dup(fd))
        return self._own[-1]

    def _drop(self) -> None:
        while self._own:
            os.close(self._own.pop())

    def _there(self) -> list[int] | None:
        """The ids of the programs at the hook now, None if the kernel doesn't tell."""
        return None

    def _change(self, program: Program) -> None:
        """Put `program` in the place of this one. Raises the errors of `update`."""
        raise self._lacks("change its program")

    def _take_off(self) -> None:
        raise NotImplementedError
