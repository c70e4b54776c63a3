"""Files that probee keeps on disk: compiled objects and indexes of BTF, in folders of the user's own.

A file is trusted only if nobody else could have written it. Files are written aside and renamed, so a reader
never sees half of one.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def directory() -> str:
    """Where probee caches: $PROBEE_CACHE, or probee under $XDG_CACHE_HOME or ~/.cache.

    Root with another user's home (sudo keeps $HOME on some systems) uses /var/cache/probee, so as to leave no
    files of root's in that home, and to trust none of the user's.
    """
    chosen = os.environ.get("PROBEE_CACHE")
    if chosen:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.geteuid() == 0:
        try:
            if os.stat(os.path.dirname(base)).st_uid != 0:
                base = "/var/cache"
        except OSError:
            base = "/var/cache"
    return os.path.join(base, "probee")


def open_folder(root: str, name: str, *, create: bool) -> int | None:
    """A descriptor of the folder `name` in `root`; None if absent, or if others own or can write it."""
    path = os.path.join(root, name)
    try:
        if create:
            os.makedirs(root, 0o700, exist_ok=True)
        if not _ours(os.stat(root)):
            return None
        if create and not os.path.isdir(path):
            os.mkdir(path, 0o700)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    if not _ours(os.fstat(fd)):
        os.close(fd)
        return None
    return fd


def open_file(folder: int, name: str, most: int) -> tuple[int, int] | None:
    """Descriptor and size of a file that can be trusted and has 1 to `most` bytes; None if there is none."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or not _ours(status) or not 0 < status.st_size <= most:
        os.close(fd)
        return None
    return fd, status.st_size


def write(folder: int, name: str, data: bytes) -> bool:
    """Put a file into the folder. False if that can't be done."""
    aside = f"{name}.{os.getpid()}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(aside, flags, 0o600, dir_fd=folder)
        try:
            with open(fd, "wb") as file:
                file.write(data)
            os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(aside, dir_fd=folder)
            raise
        return True
    except OSError:
        return False


def prune(folder: int, most: int, most_bytes: int) -> None:
    """Delete the files that are oldest by time of change while there are too many, or too much in them."""
    total = 0
    for n, (_, size, name) in enumerate(sorted(_entries(folder), reverse=True)):
        total += size
        if n >= most or (total > most_bytes and n):
            try:  # noqa: SIM105 (contextlib takes longer to import than all of this)
                os.unlink(name, dir_fd=folder)
            except OSError:
                pass


def _ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def _entries(folder: int) -> Iterator[tuple[int, int, str]]:
    for name in os.listdir(folder):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:  # another process pruned, too
            continue
        yield status.st_mtime_ns, status.st_size, name
