"""A running process's files and mappings, as `/proc` tells them (proc(5)).

A process may see other files under a name than we do (its mount namespace, chroot), and may run a file that
has been deleted or replaced since. What it runs is reached by `/proc/PID/root` and `/proc/PID/map_files`.
"""

from __future__ import annotations

import errno
import os

from probee.errors import AttachError, ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.errors import PermissionDenied

_DELETED = " (deleted)"
_MOST = 64 << 20  # bytes of a maps file


class Mapping:
    """A part of a process's memory that shows a file. `offset` is bytes into the file.

    `path` is the process's own name for it; `deleted` says that the file has no such name any more.
    """

    __slots__ = ("deleted", "end", "inode", "offset", "path", "permissions", "start")

    def __init__(
        self, start: int, end: int, permissions: str, offset: int, inode: int, path: str, deleted: bool
    ) -> None:
        self.start = start
        self.end = end
        self.permissions = permissions
        self.offset = offset
        self.inode = inode
        self.path = path
        self.deleted = deleted

    def __repr__(self) -> str:
        return f"Mapping({self.start:#x}-{self.end:#x} {self.permissions} {self.path})"

    @property
    def executable(self) -> bool:
        return "x" in self.permissions


def parse_maps(text: bytes) -> list[Mapping]:
    """The mappings of files in a `/proc/PID/maps`, in order. Raises `ObjectError` for other text."""
    found = []
    for line in text.splitlines():
        parts = line.split(None, 5)
        try:
            start, _, end = parts[0].partition(b"-")
            first, last, offset = int(start, 16), int(end, 16), int(parts[2], 16)
            inode = int(parts[4])
            permissions = parts[1].decode("ascii")
        except (IndexError, ValueError):
            raise ObjectError(f"not a line of /proc/PID/maps: {line[:80]!r}") from None
        if len(parts) < 6 or not parts[5].startswith(b"/"):
            continue
        path = os.fsdecode(parts[5].replace(b"\\012", b"\n"))
        deleted = path.endswith(_DELETED)
        found.append(Mapping(first, last, permissions, offset, inode, path.removesuffix(_DELETED), deleted))
    return found


def mappings(pid: int) -> list[Mapping]:
    """What process `pid` has mapped. Raises `AttachError` if there is none, or `PermissionDenied`."""
    try:
        fd = os.open(f"/proc/{pid}/maps", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise gone(pid, error) from None
    try:
        chunks = []
        size = 0
        while chunk := os.read(fd, 1 << 16):
            chunks.append(chunk)
            size += len(chunk)
            if size > _MOST:
                raise ObjectError(f"/proc/{pid}/maps is over {_MOST} bytes")
    except OSError as error:  # it ended while we read
        raise gone(pid, error) from None
    finally:
        os.close(fd)
    return parse_maps(b"".join(chunks))


def gone(pid: int, error: OSError) -> AttachError | PermissionDenied:
    """The error for a process whose `/proc` files can't be read."""
    if error.errno in (errno.EPERM, errno.EACCES):
        from probee.sys import caps

        return caps.denied(f"reading what process {pid} has mapped", caps.CAP_SYS_PTRACE, error=error.errno)
    return AttachError(f"no process {pid}", hook=f"process {pid}", errno=errno.ESRCH)


def view(pid: int, path: str) -> str:
    """A name by which we reach the file that process `pid` calls `path` (absolute).

    That is `path` itself if the process sees the same files as we do.
    """
    try:
        own, other = os.stat("/"), os.stat(f"/proc/{pid}/root/.")
        same = (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)
        if same and os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{pid}/ns/mnt"):
            return path
    except FileNotFoundError as error:
        raise gone(pid, error) from None
    except OSError:
        return path  # not ours to look at
    return f"/proc/{pid}/root{path}"


def file_of(pid: int, mapping: Mapping) -> str:
    """A name by which we reach the file of a mapping, also if it was deleted or replaced since.

    Raises `AttachError` if it is gone and we may not look through `/proc/PID/map_files`.
    """
    path = view(pid, mapping.path)
    if not mapping.deleted:
        try:
            if os.stat(path).st_ino == mapping.inode:
                return path
        except OSError:
            pass
    direct = f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}"
    try:
        os.stat(direct)
    except OSError as error:
        if not mapping.deleted:
            return path  # some file systems show other inodes to mappings than to stat(2)
        raise AttachError(
            f"process {pid} runs a {mapping.path} that was deleted or replaced, and {direct} can't be read: "
            f"{error.strerror} (it needs CAP_CHECKPOINT_RESTORE)",
            hook=mapping.path,
            errno=error.errno or 0,
        ) from None
    return direct


def mapped(pid: int, path: str) -> Mapping | None:
    """The process's mapping of code from the file that it calls `path`; of data if there is no other."""
    found = [mapping for mapping in mappings(pid) if mapping.path == path]
    return next((mapping for mapping in found if mapping.executable), found[0] if found else None)


def binaries(pid: int) -> list[str]:
    """The files that process `pid` runs code from, by names that we reach them by."""
    found: dict[str, str] = {}
    for mapping in mappings(pid):
        if mapping.executable and mapping.path not in found:
            found[mapping.path] = file_of(pid, mapping)
    return list(found.values())
