"""Compiled objects on disk, so that a program that was compiled before attaches without loading LLVM.

An entry is trusted only if nobody else could have written it, and only if its checksum holds; otherwise
it is as good as absent.
"""

from __future__ import annotations

import os

from .storage import directory, open_file, open_folder, prune, write

MAGIC = b"probee\x00\x01"
MAX_BYTES = 64 << 20
MAX_ENTRIES = 1024


def load(key: str) -> bytes | None:
    """The object stored under `key`; None if there is none that can be trusted."""
    folder = open_folder(directory(), "objects", create=False)
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
    folder = open_folder(directory(), "objects", create=True)
    if folder is None:
        return False
    try:
        done = write(folder, key, MAGIC + _checksum(key, data) + data)
        prune(folder, MAX_ENTRIES, MAX_BYTES)
        return done
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


def _read(folder: int, key: str) -> bytes | None:
    found = open_file(folder, key, MAX_BYTES)
    if found is None:
        return None
    fd, size = found
    try:
        data = os.read(fd, size + 1)
        try:  # noqa: SIM105 (contextlib takes longer to import than all of this)
            os.utime(fd)  # the oldest entry that was not used goes first
        except OSError:
            pass
        return data
    except OSError:
        return None
    finally:
        os.close(fd)
