"""Attachments without a BPF link: what they share, with a link's face."""

from __future__ import annotations

import os

from probee.errors import ProbeeError
from probee.kernel.links.base import LegacyLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.attach_base import Attachable


class Attachment(LegacyLink):
    """A program that the kernel holds at its hook until it is taken off, even if this process ends.

    `close()` takes it off, `leave()` does not. `prog_id` is the program's id.
    """

    __slots__ = ("_attached", "_own", "prog_id")

    def __init__(self, hook: str, program: Attachable) -> None:
        super().__init__([], hook)
        self._attached = True
        self._own: list[int] = []  # descriptors needed to take it off
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

    def _take_off(self) -> None:
        raise NotImplementedError


def program_fd(program: Attachable | int) -> int:
    """The descriptor of a program."""
    return program if isinstance(program, int) else program.fd
