"""`UserHooks`: the methods of `Program` that attach to code of user-space programs."""

from __future__ import annotations

from probee.kernel.attach_base import Attachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.links.base import Link

# Kind of section -> method.
USER = {
    "uprobe": "attach_uprobe",
    "uprobe.s": "attach_uprobe",
    "uretprobe": "attach_uprobe",
    "uretprobe.s": "attach_uprobe",
}


class UserHooks(Attachable):
    """Uprobes and USDT."""

    __slots__ = ()

    def attach_uprobe(self, target: str = "", *, pid: int | None = None, cookie: int = 0) -> Link:
        """Run where a function starts, or returns: `BINARY:SYMBOL` (Linux 4.17). Type `kprobe`."""
        from probee.kernel.links import uprobe

        binary, symbol = uprobe.split_target(target or self.spec.attach_to)
        return uprobe.attach(
            self.fd, binary, symbol, returns=self.kind.startswith("uret"), pid=pid, cookie=cookie
        )
