"""Maps that outlive the process: pinned by name, found again, and taken over from others.

A map that says `pinning: LIBBPF_PIN_BY_NAME` is pinned under a folder of a BPF file system when it is
created; who loads the object again uses the map that is there. The conventions are libbpf's.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from probee import sys as kernel_calls
from probee.errors import AttachError, LoadError
from probee.kernel.maps import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from probee.btf.values import Codecs
    from probee.obj.spec import MapSpec
    from probee.sys.bpf import MapInfo

ROOT = "/sys/fs/bpf"
_DEVMAPS = (14, 25)
_RDONLY_PROG = 1 << 7


def path_of(spec: MapSpec, root: str) -> str:
    """Where a map that is pinned by name has its pin. A BPF file system takes no dots in names."""
    return os.path.join(root or ROOT, spec.name.replace(".", "_"))


def pin_name(name: str) -> str:
    """The name of a pin for something called `name`."""
    return name.replace(".", "_")


def differences(spec: MapSpec, info: MapInfo, max_entries: int = 0) -> list[str]:
    """In which facts a map that exists is not what `spec` describes, in words.

    `max_entries` is what the map would have been created with, where that is not the spec's.
    """
    flags = info.flags
    if spec.map_type in _DEVMAPS:  # the kernel sets it itself
        flags &= ~_RDONLY_PROG
    pairs = (
        ("type", info.type, spec.map_type),
        ("key size", info.key_size, spec.key_size),
        ("value size", info.value_size, spec.value_size),
        ("max_entries", info.max_entries, max_entries or spec.max_entries),
        ("flags", flags, spec.flags),
        ("map_extra", info.extra, spec.map_extra),
    )
    return [f"its {what} is {there}, not {wanted}" for what, there, wanted in pairs if there != wanted]


def find(spec: MapSpec, path: str, codecs: Codecs | None, max_entries: int = 0) -> Any:
    """The map pinned at `path`, or None if nothing is there.

    Raises LoadError if it is not such a map as `spec` describes, with what differs.
    """
    kernel = kernel_calls.kernel()
    try:
        fd = kernel.obj_get(path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise LoadError(
            f"can't open map {spec.name} pinned at {path}: {os.strerror(error.errno or 0)}",
            errno=error.errno or 0,
        ) from None
    try:
        wrong = differences(spec, kernel.map_info(fd), max_entries)
        if wrong:
            raise LoadError(
                f"the map pinned at {path} is not {spec.name}: {', '.join(wrong)}; remove it (rm {path}) or"
                " use another pin_root",
                errno=errno.EINVAL,
            )
        return Map.open(fd, spec, codecs)
    except BaseException:
        kernel.close(fd)
        raise


def take_over(spec: MapSpec, given: object, codecs: Codecs | None) -> Any:
    """A map that the caller has: a live map, its descriptor (both duplicated), or a path where it is pinned.

    Raises LoadError if type or sizes are not those of `spec`. Number of entries and flags may differ.
    """
    kernel = kernel_calls.kernel()
    try:
        if isinstance(given, (str, os.PathLike)):
            fd = kernel.obj_get(os.fspath(given))
        else:
            fd = kernel.dup(given if isinstance(given, int) else given.fd)  # type: ignore[attr-defined]
    except OSError as error:
        raise LoadError(
            f"can't use {given!r} as map {spec.name}: {os.strerror(error.errno or 0)}", errno=error.errno or 0
        ) from None
    try:
        info = kernel.map_info(fd)
        wrong = differences(spec, info, info.max_entries)
        wrong = [text for text in wrong if not text.startswith(("its flags", "its map_extra"))]
        if wrong:
            raise LoadError(f"{given!r} can't be map {spec.name}: {', '.join(wrong)}", errno=errno.EINVAL)
        return Map.open(fd, spec, codecs)
    except BaseException:
        kernel.close(fd)
        raise


def keep(live: Any, path: str) -> bool:
    """Pin a new map at `path`. False if another has just taken the name; LoadError if it can't be pinned."""
    from probee.kernel.pinning import pin

    try:
        pin(live.fd, path, f"map {live.name}")
    except AttachError as error:
        if error.errno == errno.EEXIST:
            return False
        raise LoadError(str(error), errno=error.errno) from None
    return True


def forget(paths: list[str]) -> None:
    """Remove pins that are there."""
    for path in paths:
        with suppress(OSError):
            os.unlink(path)
