"""Maps that are in the kernel already: by id, pin, name or descriptor, with the types that the kernel has."""

from __future__ import annotations

import errno
import os

from ..btf.values import Codec, Codecs
from ..errors import MapError, ObjectError, Unsupported
from ..sys import kernel as current_kernel
from ..sys.bpf import BTF_GET_FD_BY_ID, MAP_GET_FD_BY_ID, MAP_GET_NEXT_ID
from .maps import Map, _class_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ..sys.bpf import Kernel, MapInfo


class MapFacts:
    """What the kernel says of a map. `memlock` is the kernel memory it takes, in bytes; `frozen` says that
    user space can't write any more; `owner_prog_type` is set for program arrays in use (else None).

    `memlock` and `frozen` are None where the kernel does not say.
    """

    __slots__ = (
        "btf_id",
        "extra",
        "flags",
        "frozen",
        "id",
        "ifindex",
        "key_size",
        "max_entries",
        "memlock",
        "name",
        "owner_prog_type",
        "type",
        "value_size",
    )

    def __init__(self, info: MapInfo, fdinfo: dict[str, int]) -> None:
        self.type: int = info.type
        self.id: int = info.id
        self.name = info.name
        self.key_size: int = info.key_size
        self.value_size: int = info.value_size
        self.max_entries: int = info.max_entries
        self.flags: int = info.flags
        self.extra: int = info.extra
        self.ifindex: int = info.ifindex
        self.btf_id: int = info.btf_id
        self.memlock = fdinfo.get("memlock")
        frozen = fdinfo.get("frozen")
        self.frozen = None if frozen is None else bool(frozen)
        self.owner_prog_type = fdinfo.get("owner_prog_type")

    def __repr__(self) -> str:
        return f"<map {self.id} {self.name!r}, type {self.type}, {self.max_entries} entries>"


def facts_of(m: Map) -> MapFacts:
    """`Map.info`."""
    try:
        return MapFacts(m._kernel.map_info(m.fd), _fdinfo(m.fd))
    except OSError as e:
        raise m.failed(e, "ask about") from e


def _fdinfo(fd: int) -> dict[str, int]:
    """The numbers of /proc/self/fdinfo."""
    found: dict[str, int] = {}
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                try:
                    found[name] = int(value, 0)
                except ValueError:
                    continue
    except OSError:
        pass
    return found


def open_map(
    path: str | os.PathLike[str] | None = None,
    *,
    id: int | None = None,
    name: str | None = None,
    fd: int | None = None,
    classes: Mapping[str, type] | None = None,
    typed: bool = True,
) -> Any:
    """A map of the running kernel: the one pinned at `path`, with this `id`, with this `name` (as the kernel
    has it, at most 15 bytes), or behind `fd`, which is duplicated.

    Keys and values are typed by the BTF that the map was created with, if there is any and `typed` is true;
    `classes` are record classes by struct name. Raises MapError if there is no such map, or more than one
    of that name; PermissionDenied (ids and names take CAP_SYS_ADMIN).
    """
    if [path, id, name, fd].count(None) != 3:
        raise TypeError("a map is opened by one of: the path of its pin, id=, name=, fd=")
    kernel = current_kernel()
    own, pin = -1, ""
    if path is not None:
        pin = os.fspath(path)
        own = _pinned(pin)
    elif id is not None:
        own = _by_id(kernel, id)
    elif name is not None:
        own = _by_name(kernel, name)
    elif fd is not None:
        own = _duplicate(fd)
    try:
        found = from_descriptor(own, classes, typed=typed)
    except OSError as e:
        kernel.close(own)
        raise MapError(f"that is no map ({os.strerror(e.errno or 0)})", errno=e.errno or 0) from None
    except BaseException:
        kernel.close(own)
        raise
    if pin:
        found._pins.append(pin)
    return found


def from_descriptor(fd: int, classes: Mapping[str, type] | None = None, *, typed: bool = True) -> Any:
    """The map behind a descriptor, which it then owns. Raises OSError if that is none."""
    kernel = current_kernel()
    if not _may_be_map(fd):
        raise OSError(errno.EINVAL, "no map")
    info = kernel.map_info(fd)
    facts: dict[str, Any] = {name: getattr(info, name) for name in _SHARED}
    if typed:
        facts.update(_types(kernel, info, classes))
    made = _class_for(info.type)(fd, kernel=kernel, **facts)
    made._id = info.id
    return made


def _may_be_map(fd: int) -> bool:
    """False for what is something else for certain. (The kernel tells facts of programs the same way.)"""
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return True
    return target == "anon_inode:bpf-map" or not target.startswith("anon_inode:")


_SHARED = ("type", "key_size", "value_size", "max_entries", "name", "flags")


def _types(kernel: Kernel, info: MapInfo, classes: Mapping[str, type] | None) -> dict[str, Any]:
    """Codecs for keys and values from the map's BTF, as far as there are some that fit."""
    found: dict[str, Any] = {}
    types = [("key", info.key_type_id, info.key_size), ("value", info.value_type_id, info.value_size)]
    if info.btf_vmlinux_value_type_id:  # struct_ops: the value's type is the kernel's own
        from ..btf import kernel_btf

        try:
            codecs = Codecs(kernel_btf(), classes)
        except (ObjectError, Unsupported):
            return found
        types[1] = ("value", info.btf_vmlinux_value_type_id, info.value_size)
    elif info.btf_id:
        try:
            codecs = Codecs(_btf(kernel, info.btf_id), classes)
        except (OSError, ObjectError):
            return found
    else:
        return found
    found["codecs"] = codecs
    for word, type_id, size in types:
        try:
            codec: Codec | None = codecs.get(type_id) if type_id and size else None
        except ObjectError:  # sections of variables, for instance
            continue
        if codec is not None and codec.size == size:
            found[word] = codec
    return found


def _btf(kernel: Kernel, id: int) -> Any:
    from ..btf import Btf

    fd = kernel.fd_by_id(BTF_GET_FD_BY_ID, id)
    try:
        return Btf.parse(kernel.btf_bytes(fd))
    finally:
        kernel.close(fd)


def _pinned(path: str) -> int:
    from ..errors import AttachError
    from .pinning import opened

    try:
        return opened(path, "map")
    except AttachError as e:
        raise MapError(str(e), errno=e.errno) from None


def _by_id(kernel: Kernel, id: int) -> int:
    try:
        return kernel.fd_by_id(MAP_GET_FD_BY_ID, id)
    except OSError as e:
        if e.errno == errno.ENOENT:
            raise MapError(f"there is no map {id}", errno=errno.ENOENT) from None
        raise _denied(e, f"opening map {id}") from None


def _denied(error: OSError, what: str) -> Exception:
    from ..sys import caps

    if error.errno in (errno.EPERM, errno.EACCES):
        return caps.denied(what, caps.CAP_SYS_ADMIN, error=error.errno)
    return MapError(f"{what} failed: {os.strerror(error.errno or 0)}", errno=error.errno or 0)


def _duplicate(fd: int) -> int:
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    try:
        return int(fcntl(fd, F_DUPFD_CLOEXEC, 0))
    except OSError as e:
        raise MapError(f"descriptor {fd} is not open", errno=e.errno or 0) from None


def descriptors(kernel: Kernel) -> Iterator[tuple[int, MapInfo]]:
    """Descriptor (the caller's to close) and facts of every map in the kernel, in the order of ids.

    One that vanishes meanwhile is left out.
    """
    id = 0
    while True:
        try:
            following = kernel.next_id(MAP_GET_NEXT_ID, id)
        except OSError as e:
            raise _denied(e, "listing maps") from None
        if following is None:
            return
        id = following
        try:
            fd = kernel.fd_by_id(MAP_GET_FD_BY_ID, id)
        except OSError as e:
            if e.errno == errno.ENOENT:
                continue
            raise _denied(e, f"opening map {id}") from None
        try:
            info = kernel.map_info(fd)
        except OSError:
            kernel.close(fd)
            continue
        yield fd, info


def _by_name(kernel: Kernel, name: str) -> int:
    found = -1
    ids: list[int] = []
    for fd, info in descriptors(kernel):
        if info.name != name[:15]:
            kernel.close(fd)
            continue
        ids.append(info.id)
        if found >= 0:
            kernel.close(fd)
        else:
            found = fd
    if found < 0:
        raise MapError(f"there is no map named {name!r}", errno=errno.ENOENT)
    if len(ids) > 1:
        kernel.close(found)
        listed = ", ".join(map(str, ids))
        raise MapError(f"{len(ids)} maps are named {name!r} (ids {listed}): open one by its id")
    return found


def list_maps() -> list[MapFacts]:
    """All maps in the kernel. Takes CAP_SYS_ADMIN, else PermissionDenied."""
    kernel = current_kernel()
    out: list[MapFacts] = []
    for fd, info in descriptors(kernel):
        try:
            out.append(MapFacts(info, _fdinfo(fd)))
        finally:
            kernel.close(fd)
    return out
