"""Compiled objects on disk, so that a program that was compiled before attaches without loading LLVM.

An entry is trusted only if nobody else could have written it, and only if its checksum holds; otherwise
it is as good as absent. Entries are written aside and renamed, so a reader never sees half of one.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"probee\x00\x01"
MAX_BYTES = 64 << 20
MAX_ENTRIES = 1024
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


def load(key: str) -> bytes | None:
    """The object stored under `key`; None if there is none that can be trusted."""
    folder = _open_folder(create=False)
    if folder is None:
        return None
    try:
        data = _read(folder, key)
    finally:
        os.close(folder)
    if data is None or data[: len(MAGIC)] != MAGIC:
        return None
    start = len(MAGIC) + 16
    body = data[start:]
    return body if _checksum(key, body) == data[len(MAGIC) : start] else None


def store(key: str, data: bytes) -> bool:
    """Keep `data` under `key`. A cache that can't be written is no error: False says so."""
    folder = _open_folder(create=True)
    if folder is None:
        return False
    aside = f"{key}.{os.getpid()}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(aside, flags, 0o600, dir_fd=folder)
        try:
            with open(fd, "wb") as file:
                file.write(MAGIC + _checksum(key, data) + data)
            os.rename(aside, key, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(aside, dir_fd=folder)
            raise
        _make_room(folder)
        return True
    except OSError:
        return False
    finally:
        os.close(folder)


def _checksum(key: str, data: bytes) -> bytes:
    """Covers the key too: an entry under another's name is a broken one."""
    try:
        from _blake2 import blake2b  # hashlib would load OpenSSL: slower than all the rest here
    except ImportError:
        from hashlib import blake2b
    digest: bytes = blake2b(key.encode() + b"\0" + data, digest_size=16).digest()
    return digest


def _ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def _open_folder(*, create: bool) -> int | None:
    """A descriptor of the folder of objects; None if it is absent, or someone else owns or can write it."""
    root = directory()
    path = os.path.join(root, "objects")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        if create:
            os.makedirs(root, 0o700, exist_ok=True)
        if not _ours(os.stat(root)):
            return None
        if create and not os.path.isdir(path):
            os.mkdir(path, 0o700)
        fd = os.open(path, flags | os.O_NOFOLLOW)
    except OSError:
        return None
    if not _ours(os.fstat(fd)):
        os.close(fd)
        return None
    return fd


def _read(folder: int, key: str) -> bytes | None:
    try:
        fd = os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not _ours(status) or status.st_size > MAX_BYTES:
            return None
        data = os.read(fd, status.st_size + 1)
        try:  # noqa: SIM105 (contextlib takes longer to import than all of this)
            os.utime(fd)  # the oldest entry that was not used goes first
        except OSError:
            pass
        return data
    except OSError:
        return None
    finally:
        os.close(fd)


def _make_room(folder: int) -> None:
    """Delete the entries used longest ago while there are too many, or too much in them."""
    entries = sorted(_entries(folder), reverse=True)
    total = 0
    for n, (_used, size, name) in enumerate(entries):
        total += size
        if n >= MAX_ENTRIES or (total > MAX_BYTES and n):
            try:  # noqa: SIM105
                os.unlink(name, dir_fd=folder)
            except OSError:
                pass


def _entries(folder: int) -> Iterator[tuple[int, int, str]]:
    for name in os.listdir(folder):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:  # another process made room too
            continue
        yield status.st_mtime_ns, status.st_size, name
