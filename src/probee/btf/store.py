"""Where indexes lie on disk: the user's cache, else a private temporary folder, else nowhere."""

from __future__ import annotations

import mmap
import os

from ..storage import directory, open_file, open_folder, prune, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

KEEP = 8  # indexes in a folder: of the last kernels that ran here, and of files
MAX_SIZE = 1 << 30


def _roots() -> Iterator[str]:
    """Folders to try: the user's cache folder, then those for temporary files."""
    yield directory()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield os.path.join(runtime, "probee")
    yield os.path.join(os.environ.get("TMPDIR") or "/tmp", f"probee-{os.geteuid()}")


def load(name: str) -> Iterator[mmap.mmap]:
    """The files of this name that can be trusted, mapped for reading, likeliest first."""
    for root in _roots():
        folder = open_folder(root, "btf", create=False)
        if folder is None:
            continue
        try:
            found = _map(folder, name)
        finally:
            os.close(folder)
        if found is not None:
            yield found


def _map(folder: int, name: str) -> mmap.mmap | None:
    found = open_file(folder, name, MAX_SIZE)
    if found is None:
        return None
    fd, size = found
    try:
        return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def save(name: str, data: bytes) -> bool:
    """Keep a file in the first folder that takes it. False if none does, which is no error."""
    return any(_save(root, name, data) for root in _roots())


def _save(root: str, name: str, data: bytes) -> bool:
    folder = open_folder(root, "btf", create=True)
    if folder is None:
        return False
    try:
        done = write(folder, name, data)
        prune(folder, KEEP, KEEP * MAX_SIZE)
        return done
    finally:
        os.close(folder)
