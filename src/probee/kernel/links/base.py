"""`Link`, a program attached to a hook, and what all families of hooks share."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError, PermissionDenied, ProbeeError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from probee.kernel.link_info import LinkDetails
    from probee.kernel.program import Program

_ENOTSUPP = 524  # the kernel's own; user space has no name for it
_NO_SUCH_CALL = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, _ENOTSUPP)


class Link:
    """A program attached to `hook` (words, for people): a BPF link, or several that belong together.

    It stays attached until `close()`. Closing the last descriptor of a link detaches the program, so a
    process that ends, however it ends, leaves nothing attached; `pin()` makes a link outlive it.
    """

    __slots__ = ("__weakref__", "_after", "_fds", "_kernel", "_pins", "hook")

    def __init__(self, fds: int | Sequence[int], hook: str) -> None:
        self._kernel = kernel_calls.kernel()
        self._fds = [fds] if isinstance(fds, int) else list(fds)
        self._pins: list[str] = []
        self._after: Callable[[], None] | None = None
        self.hook = hook

    @staticmethod
    def open(path: str | os.PathLike[str] = "", *, id: int | None = None, fd: int | None = None) -> Link:
        """The link pinned at `path`, the one with this `id`, or the one behind descriptor `fd` (duplicated).

        A directory that `pin` made of several links is opened whole. Raises `AttachError` if there is no such
        link, `PermissionDenied`; `id` needs CAP_SYS_ADMIN. Linux 5.8.
        """
        from probee.kernel.links import reopen

        return reopen.link(os.fspath(path), id, fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<link {self.hook}{'' if self._fds else ' (closed)'}>"

    @property
    def fd(self) -> int:
        """The link's descriptor (the first, where several belong together)."""
        if not self._fds:
            raise ProbeeError(f"the link to {self.hook} is closed")
        return self._fds[0]

    @property
    def fds(self) -> tuple[int, ...]:
        """All descriptors: one, or as many as belong together (sampling: one for each CPU)."""
        return tuple(self._fds)

    @property
    def closed(self) -> bool:
        return not self._fds

    @property
    def id(self) -> int:
        """The kernel's number for the link (the first, where several belong together)."""
        return int(self._kernel.link_info(self.fd).id)

    def info(self) -> LinkDetails:
        """What the kernel says of the link now: its program, and the facts of its kind (Linux 5.8)."""
        from probee.kernel.link_info import read

        return read(self.fd)

    def update(self, program: Program, *, old: Program | None = None) -> None:
        """Run `program` instead, without a moment in between where none runs (Linux 5.7).

        With `old`, only if the link runs that program now (else `AttachError`, EPERM). Links of the kinds
        cgroup, netns, xdp, tcx, netkit and sockmap can; `Unsupported` for the others.
        """
        for fd in self.fds or (self.fd,):
            try:
                self._kernel.link_update(fd, program.fd, old_fd=old.fd if old is not None else None)
            except OSError as error:
                from probee.kernel.links.updating import explained

                raise explained(self, program, old, error) from None

    def text(self) -> str:
        """All that an iterator writes in one walk (Linux 5.8); `Unsupported` for links of other kinds."""
        raise Unsupported(f"{self.hook} writes no text: only iterators do", feature="text of a link")

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Keep the link attached beyond this process, as a file in a BPF file system (Linux 5.7).

        Several links that belong together become a directory of them. Raises `AttachError` if the name is
        taken or not on a BPF file system.
        """
        from probee.kernel.pinning import pin

        name = os.fspath(path)
        if len(self.fds or (self.fd,)) == 1:
            pin(self.fd, name, f"link {self.hook}")
            self._pins.append(name)
            return
        try:
            os.mkdir(name, 0o700)
        except OSError as error:
            raise AttachError(
                f"can't pin {self.hook} at {name}: {error.strerror}", hook=self.hook, errno=error.errno or 0
            ) from None
        self._pins.append(name)
        try:
            for index, fd in enumerate(self._fds):
                inside = f"{name}/{index}"
                pin(fd, inside, f"link {self.hook}")
                self._pins.append(inside)
        except BaseException:
            self.unpin()
            raise

    def unpin(self) -> None:
        """Take away the pins made through this object. The link itself lives on until `close()`."""
        from probee.kernel.pinning import unpin

        while self._pins:
            unpin(self._pins.pop())

    def detach(self) -> None:
        """Take the program off its hook, whoever else holds the link, and close. Pins of ours go too.

        Kinds of link that the kernel can't force off (tracing ones) are detached when nobody holds them.
        """
        self.unpin()
        for fd in self._fds:
            try:
                self._kernel.link_detach(fd)
            except OSError as error:
                if error.errno not in (*_NO_SUCH_CALL, errno.ENOLINK):
                    raise refused(self.hook, error, "detaching from") from None
        self.close()

    def close(self) -> None:
        """Give up the descriptors; what is not pinned is detached. Doing it again does nothing."""
        while self._fds:
            self._kernel.close(self._fds.pop())
        after, self._after = self._after, None
        if after is not None:
            after()

    def after_close(self, action: Callable[[], None]) -> None:
        """Have `close` call `action` once the descriptors are given up: it clears away what the hook was
        of.
        """
        self._after = action


class LegacyLink(Link):
    """An attachment that is no BPF link, on kernels or hooks that have none.

    It has a link's face; what the kernel can't do without a link raises `Unsupported` and says why. `what`
    names the mechanism and `since` the Linux version whose BPF links can do it ("" if none can).
    """

    __slots__ = ()

    what = "this way of attaching"
    since = ""

    def _lacks(self, can: str) -> Unsupported:
        newer = f"; Linux {self.since} has BPF links for it" if self.since else ""
        return Unsupported(
            f"{self.hook} is attached by {self.what}, which can't {can}{newer}",
            feature=f"link: {can}",
            since=self.since,
        )

    @property
    def id(self) -> int:
        raise self._lacks("be named by an id")

    def info(self) -> LinkDetails:
        raise self._lacks("be queried")

    def update(self, program: Program, *, old: Program | None = None) -> None:
        raise self._lacks("change its program")

    def pin(self, path: str | os.PathLike[str]) -> None:
        raise self._lacks("be pinned")

    def detach(self) -> None:
        """Take the program off its hook: as `close()`."""
        self.close()


def refused(hook: str, error: OSError, doing: str = "attaching to") -> AttachError | PermissionDenied:
    """What to raise when the kernel answers an attempt to attach with `error`."""
    number = error.errno or 0
    if number in (errno.EPERM, errno.EACCES):
        from probee.sys import caps

        return caps.denied(f"{doing} {hook}", caps.CAP_BPF, caps.CAP_PERFMON, error=number)
    text = "the kernel lacks this way of attaching" if number == _ENOTSUPP else os.strerror(number)
    start = f"can't attach to {hook}" if doing == "attaching to" else f"{doing} {hook} failed"
    return AttachError(f"{start}: {text}", hook=hook, errno=number)
