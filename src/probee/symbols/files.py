"""From a name to a file: libraries as the dynamic linker finds them, executables as the shell does."""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LD_SO_CACHE = "/etc/ld.so.cache"
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER, _ENTRY = 48, 24
_MOST_LINKS = 40
_DIRECTORIES = (
    "/lib64",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/usr/lib",
    f"/lib/{os.uname().machine}-linux-gnu",
    f"/usr/lib/{os.uname().machine}-linux-gnu",
)


def resolve(name: str, pid: int | None = None) -> str | None:
    """The file that `name` means: a path, a library ("c", "libc", "libc.so.6") or an executable on PATH.

    With `pid` it is a name as that process would use it: what it has mapped comes first, and paths are of its
    root directory and mount namespace; no name at all means its executable. `None` if there is no such file.
    Raises `AttachError` if there is no process `pid`.
    """
    if pid is not None:
        return _of_process(name, pid)
    if "/" in name:
        return os.path.realpath(name) if os.path.exists(name) else None
    if ".so" in name or name.startswith("lib"):
        return library(name) or executable(name)
    return executable(name) or library(name)


def _of_process(name: str, pid: int) -> str | None:
    from probee.symbols import process

    if not name:
        path = f"/proc/{pid}/exe"
        return path if os.path.exists(path) else None
    root = process.view(pid, "/").rstrip("/")
    paths = {name, inside(root, name).removeprefix(root)}
    for mapping in process.mappings(pid):
        fits = mapping.path in paths if "/" in name else matches(name, os.path.basename(mapping.path))
        if fits and mapping.executable:
            return process.file_of(pid, mapping)
    if not root:
        return resolve(name)
    if "/" in name:
        path = inside(root, name)
        return path if os.path.exists(path) else None
    return library(name, root) or executable(name, root)


def searched(name: str, pid: int | None = None) -> str:
    """In words, where `resolve` looked for `name` in vain."""
    whose = "" if pid is None else f"what process {pid} has mapped, "
    if "/" in name:
        return f"no such file{'' if pid is None else f' for process {pid}'}"
    path = os.environ.get("PATH", os.defpath)
    return (
        f"no library and no executable has that name (looked through {whose}LD_LIBRARY_PATH, {LD_SO_CACHE}, "
        f"{', '.join(_DIRECTORIES)}, and PATH: {path})"
    )


def inside(root: str, path: str) -> str:
    """`path` below `root`, its symbolic links followed as a process with that root directory would."""
    done = ""
    parts = [part for part in reversed(path.split("/")) if part]
    links = 0
    while parts:
        part = parts.pop()
        if part == ".":
            continue
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        try:
            target = os.readlink(f"{root}{done}/{part}")
        except OSError:
            done = f"{done}/{part}"
            continue
        links += 1
        if links > _MOST_LINKS:
            break
        if target.startswith("/"):
            done = ""
        parts += [piece for piece in reversed(target.split("/")) if piece]
    return root + done


def executable(name: str, root: str = "") -> str | None:
    """The program a shell would run for `name`; scripts (which have no symbols) are passed over."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory, name)
        found = inside(root, path) if root else os.path.realpath(path)
        if os.path.isfile(found) and os.access(found, os.X_OK) and _is_native(found):
            return found
    return None


def library(name: str, root: str = "") -> str | None:
    """The shared object for `name`: `c`, `libc`, `libc.so` or `libc.so.6`, of this machine's kind.

    `root` is a root directory to look in, of a process in another mount namespace.
    """
    for source in (_preloaded, _cached, _installed):  # the dynamic linker's order
        found = [(soname, path) for soname, path in source(root) if matches(name, soname)]
        found.sort(key=lambda pair: (pair[0] != name, [-number for number in _version(pair[0])]))
        for _, path in found:
            file = inside(root, path) if root else os.path.realpath(path)
            if _is_native(file):
                return file
    return None


def matches(name: str, soname: str) -> bool:
    """Whether the library file `soname` is what `name` asks for."""
    if soname == name:
        return True
    stem = name if name.startswith("lib") else "lib" + name
    if ".so" not in stem:
        stem += ".so"
    return soname == stem or soname.startswith(stem + ".")


def _version(soname: str) -> list[int]:
    parts = soname.partition(".so.")[2].split(".")
    return [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 10]


def _preloaded(root: str) -> Iterator[tuple[str, str]]:
    return _listed(root, [d for d in os.environ.get("LD_LIBRARY_PATH", "").split(":") if d])


def _cached(root: str) -> Iterator[tuple[str, str]]:
    try:
        with open(root + LD_SO_CACHE, "rb") as file:
            return parse_cache(file.read())
    except OSError:
        return iter(())


def _installed(root: str) -> Iterator[tuple[str, str]]:
    return _listed(root, _DIRECTORIES)


def _listed(root: str, directories: list[str] | tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for directory in directories:
        try:
            names = os.listdir(root + directory)
        except OSError:
            continue
        for name in names:
            if ".so" in name:
                yield name, f"{directory}/{name}"


def parse_cache(data: bytes) -> Iterator[tuple[str, str]]:
    """(soname, path) of each entry of an ld.so.cache (glibc's dl-cache.h); none if it is broken."""
    start = data.find(_MAGIC)
    if start < 0 or len(data) < start + _HEADER:
        return
    (count,) = struct.unpack_from("=I", data, start + 20)
    first = start + _HEADER
    count = min(count, (len(data) - first) // _ENTRY)
    for at in range(first, first + count * _ENTRY, _ENTRY):
        _, key, value = struct.unpack_from("=iII", data, at)
        texts = []
        for offset in (start + key, start + value):
            end = data.find(b"\0", offset)
            texts.append(os.fsdecode(data[offset:end]) if end >= 0 else "")
        if all(texts):
            yield texts[0], texts[1]


def _is_native(path: str) -> bool:
    """Whether `path` is an ELF file for the machine this Python runs on (not a linker script, not 32-bit)."""
    try:
        with open(path, "rb", buffering=0) as file, open("/proc/self/exe", "rb", buffering=0) as own:
            head, mine = file.read(20), own.read(20)
    except (OSError, ValueError):
        return False
    return len(head) == 20 and head[:6] == mine[:6] and head[18:20] == mine[18:20]
