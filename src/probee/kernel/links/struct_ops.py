"""struct_ops: a table of functions that the kernel calls, as a TCP congestion control or a scheduler."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.errors import AttachError, PermissionDenied, ProbeeError, Unsupported
from probee.kernel.links.base import LegacyLink, Link, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.program import Program
    from probee.kernel.struct_ops import StructOps

BPF_STRUCT_OPS = 44  # enum bpf_attach_type
_KEY = bytes(4)


class StructOpsLink(Link):
    """A table that is registered as long as the link lives."""

    __slots__ = ()

    def update(self, program: Program, *, old: Program | None = None) -> None:
        raise Unsupported(
            f"{self.hook}: a struct_ops link holds a table, not a program; use replace(table)",
            feature="BPF_LINK_UPDATE",
        )

    def replace(self, ops: StructOps, *, old: StructOps | None = None) -> None:
        """Register `ops` in place of the table in the link, at once (Linux 6.4). `old`: only if it is
        that.
        """
        try:
            _fill(ops)
            self._kernel.link_update(self.fd, ops.map.fd, old_fd=old.map.fd if old is not None else None)
        except OSError as error:
            number = error.errno or 0
            if number == errno.EOPNOTSUPP:
                raise Unsupported(
                    f"{self.hook}: the kernel can't replace a {ops.type_name} that is in use",
                    feature="struct_ops update",
                ) from None
            if number in (errno.EPERM, errno.EINVAL, errno.ESTALE):
                raise AttachError(
                    f"{self.hook}: {ops.name} is of another kind or name, or the link holds another table",
                    hook=self.hook,
                    errno=number,
                ) from None
            raise _explained(self.hook, error) from None


class RegisteredStructOps(LegacyLink):
    """A table registered by writing its map. It stays registered until `close()`, whoever lives or dies."""

    __slots__ = ()

    what = "a write to its map"
    since = "6.4"

    def close(self) -> None:
        """Unregister. Doing it again does nothing."""
        try:
            for fd in self._fds:
                self._kernel.map_delete(fd, _KEY)
        except OSError as error:
            if error.errno != errno.EINPROGRESS:  # going already
                raise refused(self.hook, error, "detaching from") from None
        finally:
            super().close()


def attach_struct_ops(ops: StructOps) -> Link:
    """Register a struct_ops table with the kernel.

    One of section `.struct_ops.link` becomes a link (Linux 6.4), which can take another by `replace`. Another
    is registered by a write to its map (5.6) and unregistered by `close()`.
    """
    from probee.kernel.pinning import duplicate

    kernel = kernel_calls.kernel()
    hook = f"struct_ops {ops.name} ({ops.type_name})"
    try:
        if not ops.link:
            kernel.map_update(ops.map.fd, _KEY, ops.value)
            return RegisteredStructOps(duplicate(ops.map.fd), hook)
        _fill(ops)
        return StructOpsLink(kernel.link_create(ops.map.fd, 0, BPF_STRUCT_OPS), hook)
    except OSError as error:
        raise _explained(hook, error) from None


def _fill(ops: StructOps) -> None:
    """Put the table into its map, which makes it ready for a link. Once is enough."""
    try:
        kernel_calls.kernel().map_update(ops.map.fd, _KEY, ops.value)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise


def _explained(hook: str, error: OSError) -> AttachError | PermissionDenied | ProbeeError:
    number = error.errno or 0
    reason = {
        errno.EEXIST: "one of that name is registered already",
        errno.EBUSY: "the table is registered already",
        errno.EINVAL: "the kernel finds a function missing, or a value wrong",
    }.get(number)
    if reason:
        return AttachError(f"can't register {hook}: {reason}", hook=hook, errno=number)
    return refused(hook, error)
