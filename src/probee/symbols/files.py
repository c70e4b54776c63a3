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

    With `pid`, libraries that process has mapped come first, seen through its root directory. `None` if there
    is no such file.
    """
    if "/" in name:
        return os.path.realpath(name) if os.path.exists(name) else None
    if pid is not None:
        mapped = _mapped(name, pid)
        if mapped:
            return mapped
    if ".so" in name or name.startswith("lib"):
        return library(name) or executable(name)
    return executable(name) or library(name)


def executable(name: str) -> str | None:
    """The program a shell would run for `name`; scripts (which have no symbols) are passed over."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory, name)
        if os.path.isfile(path) and os.access(path, os.X_OK) and _is_native(path):
            return os.path.realpath(path)
    return None


def library(name: str) -> str | None:
    """The shared object for `name`: `c`, `libc`, `libc.so` or `libc.so.6`, of this machine's kind."""
    for source in (_preloaded, _cached, _installed):  # the dynamic linker's order
        found = [(soname, path) for soname, path in source() if matches(name, soname)]
        found.sort(key=lambda pair: (pair[0] != name, [-number for number in _version(pair[0])]))
        for _, path in found:
            if _is_native(path):
                return os.path.realpath(path)
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
    return [int(part) for part in soname.partition(".so.")[2].split(".") if part.isdigit()]


def _preloaded() -> Iterator[tuple[str, str]]:
    return _listed([d for d in os.environ.get("LD_LIBRARY_PATH", "").split(":") if d])


def _cached() -> Iterator[tuple[str, str]]:
    try:
        with open(LD_SO_CACHE, "rb") as file:
            return parse_cache(file.read())
    except OSError:
        return iter(())


def _installed() -> Iterator[tuple[str, str]]:
    return _listed(_DIRECTORIES)


def _listed(directories: list[str] | tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for directory in directories:
        try:
            names = os.listdir(directory)
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
    except OSError:
        return False
    return len(head) == 20 and head[:6] == mine[:6] and head[18:20] == mine[18:20]


def _mapped(name: str, pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        path = line.partition("/")[2]
        if path and matches(name, os.path.basename(path)):
            return f"/proc/{pid}/root/{path}"
    return None
