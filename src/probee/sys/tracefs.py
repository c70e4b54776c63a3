"""tracefs: where it is, which tracepoints there are, what their fields are."""

from __future__ import annotations

import errno
import os
import sys

from probee.errors import AttachError, ObjectError, PermissionDenied, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ROOTS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_found = ""


class Field:
    """A field of a tracepoint's record: `type` is C text, `offset` and `size` are bytes.

    `data_loc` marks text or data of varying length, reached through a u32 of offset and length.
    """

    __slots__ = ("data_loc", "name", "offset", "signed", "size", "type")

    def __init__(self, name: str, type: str, offset: int, size: int, signed: bool, data_loc: bool) -> None:
        self.name = name
        self.type = type
        self.offset = offset
        self.size = size
        self.signed = signed
        self.data_loc = data_loc

    def __repr__(self) -> str:
        return f"Field({self.type} {self.name}, offset={self.offset}, size={self.size})"


def root() -> str:
    """The tracefs directory. Mounts tracefs, and says so on stderr, if it is not mounted and we may.

    Raises `PermissionDenied` if we may not look, `Unsupported` if the kernel has none.
    """
    global _found
    if _found:
        return _found
    for path in ROOTS:
        try:
            os.stat(path + "/events")
        except PermissionError as error:
            raise _unreadable(error) from None
        except OSError:
            continue
        _found = path
        return path
    return _mount()


def _mount() -> str:
    global _found
    from probee.sys import native

    path = ROOTS[0]
    try:
        native.mount("tracefs", path, "tracefs")
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            from probee.sys import caps

            raise caps.denied("mounting tracefs", caps.CAP_SYS_ADMIN, error=error.errno) from None
        raise Unsupported(
            f"this kernel has no tracefs at {path} (it needs CONFIG_TRACING; in a container, mount "
            f"/sys/kernel/tracing into it): {error}",
            feature="tracefs",
            since="4.1",
        ) from None
    sys.stderr.write(f"probee: mounted tracefs at {path}\n")
    _found = path
    return path


def _unreadable(error: OSError) -> PermissionDenied:
    """tracefs is for root's eyes as files are: by their mode, not by a capability of tracing."""
    from probee.sys import caps

    return caps.denied("reading tracefs", caps.CAP_DAC_READ_SEARCH, error=error.errno or 0)


def _read(group: str, event: str, file: str) -> str:
    path = f"{root()}/events/{group}/{event}/{file}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise _unreadable(error) from None
    except (OSError, ValueError):
        raise unknown(group, event) from None
    try:
        chunks = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
        return b"".join(chunks).decode(errors="replace")
    finally:
        os.close(fd)


def event_id(group: str, event: str) -> int:
    """The number perf_event_open wants. An unknown name is an `AttachError` that offers the nearest ones."""
    return int(_read(group, event, "id"))


def unknown(group: str, event: str) -> AttachError:
    """The error for a tracepoint that does not exist, with the nearest names."""
    name = f"{group}:{event}"
    near = nearest(name, events())
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; see {root()}/available_events"
    return AttachError(
        f"no tracepoint {name} in this kernel{hint}", hook=f"tracepoint {name}", errno=errno.ENOENT
    )


def nearest(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of `names` that resemble `name`, best first."""
    import difflib

    names = list(names)
    found = difflib.get_close_matches(name, names, count, 0.6)
    if not found:  # the right event under a wrong group, or a part of a name
        last = name.rpartition(":")[2]
        found = [n for n in names if n.rpartition(":")[2] == last] or [n for n in names if last and last in n]
    return found[:count]


def events() -> list[str]:
    """Every tracepoint as `group:event`."""
    with open(root() + "/available_events", encoding="utf-8", errors="replace") as file:
        return file.read().split()


def fields(group: str, event: str) -> list[Field]:
    """The fields of a tracepoint's record, in order, the `common_` ones included."""
    return parse_format(_read(group, event, "format"))


def parse_format(text: str) -> list[Field]:
    """Parse a tracepoint's `format` file. Raises ObjectError if it is something else."""
    found = []
    for line in text.splitlines():
        line = line.strip()
        if not line.startswith("field:"):
            continue
        facts = {}
        for part in line.split(";"):
            key, colon, value = part.strip().partition(":")
            if colon:
                facts[key] = value
        declaration = facts["field"].strip()
        data_loc = declaration.startswith("__data_loc ")
        if data_loc:
            declaration = declaration[len("__data_loc ") :]
        head, bracket, dimension = declaration.partition("[")
        if bracket and dimension.startswith("]"):  # `char[] name`
            type, name = f"{head.strip()}[]", dimension[1:].strip()
        else:
            type, _, name = head.strip().rpartition(" ")
            while name.startswith("*"):
                type, name = type + " *", name[1:]
            if bracket:
                type += "[" + dimension
        try:
            offset, size = int(facts.get("offset", "0")), int(facts.get("size", "0"))
        except ValueError:
            raise ObjectError(f"not a field of a tracepoint's format: {line[:80]!r}") from None
        found.append(Field(name, type, offset, size, facts.get("signed", "0") == "1", data_loc))
    return found
