"""Maps that hold other kernel objects: written as descriptors, read as ids."""

from __future__ import annotations

import errno
import os

from ..errors import MapError
from .maps import ENOTSUPP, MISSING_FEATURE, KeyedMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .program import Program


def descriptor(value: Any) -> int | None:
    """The descriptor of anything that has one; None for what has none."""
    if isinstance(value, int):
        return value
    fd = getattr(value, "fd", None)
    if not isinstance(fd, int) and hasattr(value, "fileno"):
        fd = value.fileno()
    return fd if isinstance(fd, int) else None


class Holder(KeyedMap):
    """Assign anything with a `fileno()` or `fd`, or a descriptor; reading gives the object's id."""

    __slots__ = ()

    def dump(self, value: Any) -> bytes:
        fd = descriptor(value)
        if fd is None:
            raise TypeError(f"{value!r} has no descriptor to put into {self.name}")
        return self.value.pack(fd)


class Unreadable(Holder):
    """What is in it can't be read back from user space, nor which indexes are in use: only written."""

    __slots__ = ()

    def failed(self, error: OSError, doing: str) -> MapError:
        if error.errno in MISSING_FEATURE and doing == "read":
            return self._untold()
        return super().failed(error, doing)

    def _untold(self) -> MapError:
        return MapError(f"the kernel does not tell user space what is in {self._called()}", errno=ENOTSUPP)

    def __iter__(self) -> NoReturn:
        raise self._untold()

    def __len__(self) -> NoReturn:
        raise self._untold()


class ProgArray(Holder):
    """BPF_MAP_TYPE_PROG_ARRAY: programs to tail-call, by index; only the indexes in use are there."""

    __slots__ = ()

    def program(self, index: int) -> Program:
        """The program at an index, opened; close it. Raises KeyError, and PermissionDenied without
        CAP_SYS_ADMIN."""
        from ..errors import AttachError
        from .program import Program

        id: int = self[index]
        try:
            return Program.open(id=id)
        except AttachError:
            raise KeyError(index) from None  # it is gone since


class CgroupArray(Unreadable):
    """BPF_MAP_TYPE_CGROUP_ARRAY (Linux 4.8): cgroups for `bpf_current_task_under_cgroup` and the like.

    Assign the path of a cgroup's folder or its descriptor. The kernel does not tell what is in it.
    """

    __slots__ = ()

    def put(self, key: Any, value: Any, flags: int = 0) -> None:
        if not isinstance(value, (str, os.PathLike)):
            return super().put(key, value, flags)
        try:
            fd = os.open(value, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as e:
            raise MapError(f"can't open {os.fspath(value)!r}: {e.strerror}", errno=e.errno or 0) from None
        try:
            return super().put(key, fd, flags)
        finally:
            os.close(fd)

    def failed(self, error: OSError, doing: str) -> MapError:
        if error.errno == errno.EBADF and not self.closed:
            return MapError(
                f"that is no cgroup, as {self._called()} takes: give a folder of a cgroup2 file system",
                errno=errno.EBADF,
            )
        return super().failed(error, doing)
