"""Where indexes lie on disk: the user's cache, else a private temporary folder, else nowhere.

A file is trusted only if nobody else could have written it. Files are written aside and renamed, so a reader
never sees half of one.
"""

from __future__ import annotations

import mmap
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

KEEP = 8  # indexes in a folder: of the last kernels that ran here, and of files
MAX_SIZE = 1 << 30
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def _roots() -> Iterator[str]:
    """Folders to try: $PROBEE_CACHE or the user's cache folder, then those for temporary files."""
    chosen = os.environ.get("PROBEE_CACHE")
    if chosen:
        yield chosen
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        if os.geteuid() == 0:
            # Root with another user's home (sudo keeps $HOME on some systems) leaves nothing there.
            try:
                if os.stat(os.path.dirname(base)).st_uid != 0:
                    base = "/var/cache"
            except OSError:
                base = "/var/cache"
        yield os.path.join(base, "probee")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield os.path.join(runtime, "probee")
    yield os.path.join(os.environ.get("TMPDIR") or "/tmp", f"probee-{os.geteuid()}")


def _ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def _folder(root: str, *, create: bool) -> int | None:
    """A descriptor of the folder `btf` in a root; None if it is absent or not only ours."""
    path = os.path.join(root, "btf")
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


def load(name: str) -> Iterator[mmap.mmap]:
    """The files of this name that can be trusted, mapped for reading, likeliest first."""
    for root in _roots():
        folder = _folder(root, create=False)
        if folder is None:
            continue
        try:
            found = _map(folder, name)
        finally:
            os.close(folder)
        if found is not None:
            yield found


def _map(folder: int, name: str) -> mmap.mmap | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not _ours(status) or not 0 < status.st_size <= MAX_SIZE:
            return None
        return mmap.mmap(fd, status.st_size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def save(name: str, data: bytes) -> bool:
    """Keep a file in the first folder that takes it. False if none does, which is no error."""
    return any(_save(root, name, data) for root in _roots())


def _save(root: str, name: str, data: bytes) -> bool:
    folder = _folder(root, create=True)
    if folder is None:
        return False
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
        _prune(folder)
        return True
    except OSError:
        return False
    finally:
        os.close(folder)


def _prune(folder: int) -> None:
    """Delete all but the newest files."""
    ages = []
    for name in os.listdir(folder):
        try:
            ages.append((os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns, name))
        except OSError:  # another process pruned too
            continue
    for _, name in sorted(ages, reverse=True)[KEEP:]:
        try:
            os.unlink(name, dir_fd=folder)
        except OSError:
            continue


__all__ = ["load", "save"]
