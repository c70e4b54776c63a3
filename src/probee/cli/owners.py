"""Which processes hold which BPF objects, and where objects are pinned."""

from __future__ import annotations

import os

from .. import sys as kernel_calls
from ..sys.details import btf_details, prog_details
from . import seek

_ID_LINES = {seek.PROGRAM: "prog_id", seek.MAP: "map_id", seek.LINK: "link_id", seek.BTF: "btf_id"}

Owner = tuple[int, str]  # pid, comm


class Owners:
    """Processes by (kind, id) of the objects they have open: a walk through /proc/PID/fdinfo, made once.

    Processes that this one may not look into are not seen.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], dict[int, str]] | None = None

    def of(self, kind: seek.Kind, id: int) -> list[Owner]:
        """The processes that hold an object, by process id."""
        if self._found is None:
            self._found = _walk()
        return sorted(self._found.get((kind.name, id), {}).items())

    def json(self, kind: seek.Kind, id: int) -> list[dict[str, object]]:
        """The same as bpftool's JSON has it."""
        return [{"pid": pid, "comm": comm} for pid, comm in self.of(kind, id)]

    def text(self, kind: seek.Kind, id: int) -> str:
        """The same for people: `bash(12), python(7)`."""
        return ", ".join(f"{comm}({pid})" for pid, comm in self.of(kind, id))


def _walk() -> dict[tuple[str, int], dict[int, str]]:
    found: dict[tuple[str, int], dict[int, str]] = {}
    me = os.getpid()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == me:
            continue
        try:
            fds = os.listdir(f"/proc/{name}/fd")
        except OSError:
            continue
        process = ""
        for fd in fds:
            try:
                target = os.readlink(f"/proc/{name}/fd/{fd}")
            except OSError:
                continue
            kind = seek.FILES.get(target)
            if kind is None:
                continue
            id = fdinfo(f"/proc/{name}/fdinfo/{fd}").get(_ID_LINES[kind], "")
            if id.isdigit():
                process = process or comm(name)
                found.setdefault((kind.name, int(id)), {})[int(name)] = process
    return found


def fdinfo(path: str) -> dict[str, str]:
    """The lines of an fdinfo file, by the word before the colon; empty if it is gone."""
    try:
        with open(path, errors="replace") as file:
            pairs = [line.partition(":") for line in file]
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in pairs}


def comm(pid: int | str) -> str:
    """The name of a process, "?" if it is gone."""
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return "?"


class Pins:
    """Paths by (kind, id): a walk through all mounted bpffs, made once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], list[str]] | None = None

    def of(self, kind: seek.Kind, id: int) -> list[str]:
        if self._found is None:
            self._found = {}
            for root in mounts():
                for folder, _, files in os.walk(root):
                    for name in sorted(files):
                        self._look(os.path.join(folder, name))
        return self._found.get((kind.name, id), [])

    def _look(self, path: str) -> None:
        assert self._found is not None
        kernel = kernel_calls.kernel()
        try:
            fd = kernel.obj_get(path)
        except OSError:
            return  # maps.debug and progs.debug are plain files
        try:
            kind = seek.kind_of(fd)
            if kind is not None:
                self._found.setdefault((kind.name, id_of(fd, kind)), []).append(path)
        finally:
            kernel.close(fd)


def id_of(fd: int, kind: seek.Kind) -> int:
    """The id of the object behind a descriptor."""
    kernel = kernel_calls.kernel()
    if kind is seek.PROGRAM:
        return int(prog_details(kernel, fd).id)
    if kind is seek.MAP:
        return int(kernel.map_info(fd).id)
    return int(kernel.link_info(fd).id) if kind is seek.LINK else int(btf_details(kernel, fd).id)


def mounts(fstype: str = "bpf") -> list[str]:
    """Where file systems of a type are mounted."""
    found = []
    try:
        with open("/proc/self/mounts", errors="surrogateescape") as file:
            for line in file:
                words = line.split()
                if len(words) > 2 and words[2] == fstype:
                    path = words[1].encode().decode("unicode_escape")
                    if path not in found:
                        found.append(path)
    except OSError:
        pass
    return found
