"""How a command line names BPF objects, `id N`, `name N`, `tag T`, `pinned PATH`, and how to open them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from .. import sys as kernel_calls
from ..btf import Btf, kernel_btf
from ..errors import ProbeeError
from ..sys import bpf, caps
from ..sys.details import MapDetails, ProgDetails, btf_details, map_details, prog_details
from .grammar import Words, Wrong

READ_ONLY = 8  # BPF_F_RDONLY


class Kind:
    """A kind of object that has ids: its name for people, and the commands to enumerate and open it."""

    __slots__ = ("file", "get", "name", "next")

    def __init__(self, name: str, next: int, get: int, file: str) -> None:
        self.name = name
        self.next = next
        self.get = get
        self.file = file  # what /proc/PID/fd shows


PROGRAM = Kind("program", bpf.PROG_GET_NEXT_ID, bpf.PROG_GET_FD_BY_ID, "bpf-prog")
MAP = Kind("map", bpf.MAP_GET_NEXT_ID, bpf.MAP_GET_FD_BY_ID, "bpf-map")
LINK = Kind("link", bpf.LINK_GET_NEXT_ID, bpf.LINK_GET_FD_BY_ID, "bpf_link")
BTF = Kind("BTF object", bpf.BTF_GET_NEXT_ID, bpf.BTF_GET_FD_BY_ID, "btf")
KINDS = (PROGRAM, MAP, LINK, BTF)
# What /proc/PID/fd shows of descriptors; the second spelling is that of kernels before 5.8.
FILES = {f"anon_inode:{text}": kind for kind in KINDS for text in (kind.file, kind.file.replace("_", "-"))}


class Handle:
    """An open object; closes with its `with` block."""

    __slots__ = ("fd", "kind")

    def __init__(self, fd: int, kind: Kind) -> None:
        self.fd = fd
        self.kind = kind

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            kernel_calls.kernel().close(fd)

    def program(self, *wanted: str) -> ProgDetails:
        """What the kernel knows of the program, with these arrays (see `ProgDetails`)."""
        return prog_details(kernel_calls.kernel(), self.fd, *wanted)

    def map(self) -> MapDetails:
        return map_details(kernel_calls.kernel(), self.fd)


def ids(kind: Kind) -> list[int]:
    """The ids of all objects of a kind, in order."""
    kernel = kernel_calls.kernel()
    found: list[int] = []
    last: int | None = 0
    try:
        while (last := kernel.next_id(kind.next, last or 0)) is not None:
            found.append(last)
    except OSError as error:
        if error.errno == errno.EINVAL:  # a kernel without such objects
            return []
        raise _refused(error, f"listing {kind.name}s", caps.CAP_SYS_ADMIN) from error
    return found


def open_id(kind: Kind, id: int, flags: int = 0) -> Handle:
    """The object with an id. Raises ProbeeError."""
    try:
        return Handle(kernel_calls.kernel().fd_by_id(kind.get, id, flags), kind)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise ProbeeError(f"there is no {kind.name} with id {id}") from None
        raise _refused(error, f"opening {kind.name} {id}", caps.CAP_SYS_ADMIN) from error


def each(kind: Kind) -> Iterator[tuple[int, Handle]]:
    """All objects of a kind, one open at a time; those that vanish meanwhile are left out."""
    kernel = kernel_calls.kernel()
    for id in ids(kind):
        try:
            handle = Handle(kernel.fd_by_id(kind.get, id, READ_ONLY if kind is MAP else 0), kind)
        except OSError as error:
            if error.errno == errno.ENOENT:
                continue
            raise _refused(error, f"opening {kind.name} {id}", caps.CAP_SYS_ADMIN) from error
        with handle:
            yield id, handle


def open_pin(path: str, *kinds: Kind) -> Handle:
    """The object pinned at a path, which has to be of one of the kinds."""
    try:
        fd = kernel_calls.kernel().obj_get(path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise ProbeeError(f"nothing is pinned at {path}") from None
        if error.errno == errno.EACCES and os.access(path, os.F_OK) and not os.access(path, os.R_OK):
            raise ProbeeError(f"{path} may be read by others only (its file mode)") from None
        if error.errno in (errno.EINVAL, errno.EACCES, errno.ENOTDIR, errno.ELOOP, errno.ENODEV):
            raise ProbeeError(f"{path} is no pinned BPF object") from None
        raise _refused(error, f"opening {path}", caps.CAP_BPF) from error
    kind = kind_of(fd)
    if kind is None or (kinds and kind not in kinds):
        kernel_calls.kernel().close(fd)
        is_a = f"a {kind.name}" if kind else "something else"
        wanted = " or ".join(k.name for k in kinds)
        raise ProbeeError(f"{path} pins {is_a}, not a {wanted}")
    return Handle(fd, kind)


def kind_of(fd: int) -> Kind | None:
    """What kind of object a descriptor of this process is of."""
    return FILES.get(os.readlink(f"/proc/self/fd/{fd}"))


def _refused(error: OSError, what: str, *needed: int) -> ProbeeError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return caps.denied(what, *needed)
    return ProbeeError(f"{what} failed: {os.strerror(error.errno or 0)}")


# ---- names


def prog_name(handle: Handle, info: ProgDetails) -> str:
    """A program's name; if the kernel's 15 bytes are too few, the one in its BTF."""
    if len(info.name) < 15 or not info.btf_id:
        return info.name
    try:
        funcs = info.func_info or handle.program("func_info").func_info
        if not funcs:
            return info.name
        name = btf_by_id(info.btf_id).type(funcs[0][1]).name
    except (OSError, ProbeeError):
        return info.name
    return name if name.startswith(info.name) else info.name


_btfs: dict[int, Btf] = {}


def btf_by_id(id: int) -> Btf:
    """The BTF object with an id, parsed; kept, since many programs and maps may share it."""
    if id not in _btfs:
        with open_id(BTF, id) as handle:
            kernel = kernel_calls.kernel()
            details = btf_details(kernel, handle.fd)
            if details.kernel and details.name == "vmlinux":
                _btfs[id] = kernel_btf()
            else:
                data = btf_details(kernel, handle.fd, data=True).data
                _btfs[id] = Btf.parse(data, kernel_btf() if details.kernel else None)
    return _btfs[id]


# ---- PROG, MAP, LINK of the grammar

PROG_WORDS = ("id", "pinned", "tag", "name")
MAP_WORDS = ("id", "pinned", "name")


def programs(words: Words) -> list[Handle]:
    """The programs that `id N`, `pinned PATH`, `tag T` or `name N` stand for: at least one."""
    how = words.one_of(*PROG_WORDS)
    if how == "id":
        return [open_id(PROGRAM, words.number("ID"))]
    if how == "pinned":
        return [open_pin(words.next("PATH"), PROGRAM)]
    wanted = words.next("TAG" if how == "tag" else "NAME")
    if how == "tag":
        wanted = _tag(wanted)

    def fits(handle: Handle) -> bool:
        info = handle.program()
        if how == "tag":
            return info.tag == wanted
        return info.name == wanted or (wanted.startswith(info.name) and prog_name(handle, info) == wanted)

    return _matching(PROGRAM, fits, f"{how} {wanted}")


def program(words: Words) -> Handle:
    """One program."""
    return _one(programs(words))


def maps(words: Words, flags: int = 0) -> list[Handle]:
    """The maps that `id N`, `pinned PATH` or `name N` stand for: at least one."""
    how = words.one_of(*MAP_WORDS)
    if how == "id":
        return [open_id(MAP, words.number("ID"), flags)]
    if how == "pinned":
        return [open_pin(words.next("PATH"), MAP)]
    wanted = words.next("NAME")
    names = {wanted, bpf.object_name(wanted).decode()}
    return _matching(MAP, lambda handle: handle.map().name in names, f"name {wanted}", flags)


def map_(words: Words, flags: int = 0) -> Handle:
    """One map."""
    return _one(maps(words, flags))


def link(words: Words) -> Handle:
    """The link that `id N` or `pinned PATH` stands for."""
    if words.one_of("id", "pinned") == "id":
        return open_id(LINK, words.number("ID"))
    return open_pin(words.next("PATH"), LINK)


def _matching(kind: Kind, fits: Callable[[Handle], bool], what: str, flags: int = 0) -> list[Handle]:
    wanted = [id for id, handle in each(kind) if fits(handle)]
    if not wanted:
        raise ProbeeError(f"there is no {kind.name} with {what}")
    found: list[Handle] = []
    try:
        for id in wanted:
            found.append(open_id(kind, id, flags))
    except BaseException:
        for handle in found:
            handle.close()
        raise
    return found


def _one(found: list[Handle]) -> Handle:
    if len(found) == 1:
        return found[0]
    kernel = kernel_calls.kernel()
    seen = []
    for handle in found:
        info = kernel.prog_info(handle.fd) if handle.kind is PROGRAM else kernel.map_info(handle.fd)
        seen.append(str(info.id))
        handle.close()
    kind = found[0].kind.name
    raise ProbeeError(f"{len(seen)} {kind}s match; choose one of them by id: {', '.join(seen)}")


def _tag(word: str) -> str:
    tag = word.lower().removeprefix("0x")
    if len(tag) != 16 or any(c not in "0123456789abcdef" for c in tag):
        raise Wrong(f"a tag has 16 hexadecimal digits; {word!r} has not")
    return tag
