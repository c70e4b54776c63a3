"""The fields of common tracepoints as probee ships them, for where no tracefs can be read.

One line for each event: `group:event`, then a tab and a field, as often as there are fields; a field is
`type|name|offset|size|signed`, with `L ` before it if its data are elsewhere in the record (`__data_loc`).
"""

from __future__ import annotations

import os

from probee.errors import ProbeeError, Unsupported
from probee.sys.tracefs import Field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tracepoints.txt.xz")

_lines: dict[str, str] = {}


def write(table: Iterable[tuple[str, list[Field]]]) -> bytes:
    """The table as text, from pairs of an event's name and its fields without the `common_` ones."""
    lines = []
    for name, fields in table:
        parts = [
            f"{'L ' if f.data_loc else ''}{f.type}|{f.name}|{f.offset}|{f.size}|{int(f.signed)}"
            for f in fields
        ]
        lines.append("\t".join([name, *parts]))
    return "\n".join(lines).encode()


def _table() -> dict[str, str]:
    if not _lines:
        from lzma import decompress

        with open(FILE, "rb") as file:
            text = decompress(file.read()).decode()
        for line in text.split("\n"):
            name, _, rest = line.partition("\t")
            _lines[name] = rest
    return _lines


def shipped_events() -> list[str]:
    """The tracepoints in the table, as `group:event`."""
    return list(_table())


def shipped_fields(group: str, event: str) -> list[Field]:
    """The fields of a tracepoint, without the `common_` ones. Raises Unsupported if it is unknown."""
    rest = _table().get(f"{group}:{event}")
    if rest is None:
        from probee.sys.tracefs import nearest

        near = nearest(f"{group}:{event}", _table())
        raise Unsupported(
            f"probee's table has no tracepoint {group}:{event}"
            + (f"; did you mean {' or '.join(near)}?" if near else ""),
            feature=f"tracepoint {group}:{event}",
        )
    out = []
    for part in rest.split("\t") if rest else ():
        type, name, offset, size, signed = part.split("|")
        data_loc = type.startswith("L ")
        out.append(
            Field(name, type[2:] if data_loc else type, int(offset), int(size), signed == "1", data_loc)
        )
    return out


def known_fields(group: str, event: str) -> list[Field]:
    """The fields of a tracepoint of the running kernel; of the table where there is no tracefs to read."""
    from probee.sys import tracefs

    try:
        return tracefs.fields(group, event)
    except (ProbeeError, OSError):
        return shipped_fields(group, event)


def known_events() -> list[str]:
    """The tracepoints of the running kernel; of the table where there is no tracefs to read."""
    from probee.sys import tracefs

    try:
        return tracefs.events()
    except (ProbeeError, OSError):
        return shipped_events()
