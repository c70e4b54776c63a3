"""What the nouns print on: tables as wide as the terminal for people, bpftool's JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ..tools._common import visible
from .style import bold, dim

_LEAST = 8  # columns; a column is cut, not made narrower than this
_DECENT = 16  # what a column should get before others, which can be spared, are shown


class Output:
    """The options that every noun has, and how to print."""

    def __init__(self) -> None:
        self.json = False
        self.pretty = False
        self.bpffs = False
        self.lenient = False
        self.nomount = False
        self.debug = False
        self.legacy = False
        self.help = False
        self.all = False
        self.btf = ""
        self.base_btf = ""

    def emit(self, value: Any) -> None:
        """Print JSON: on one line without spaces, or indented with --pretty."""
        if self.pretty:
            print(json.dumps(value, indent=4, ensure_ascii=False))
        else:
            print(json.dumps(value, separators=(",", ":"), ensure_ascii=False))

    def done(self, text: str = "") -> None:
        """A command that only does something has done it."""
        if self.json:
            self.emit(None)
        elif text:
            print(text)

    def note(self, text: str) -> None:
        """Say something that is no result."""
        sys.stdout.flush()
        print(f"probee: {text}", file=sys.stderr)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "") -> None:
        """Print rows under their heads. A head that starts with `>` is of numbers; columns without anything
        in them are left out. On a terminal columns whose heads start with `?` are only there if they
        fit, and the widest columns are cut.
        """
        cells = [["" if cell is None else visible(str(cell)) for cell in row] for row in rows]
        if not cells:
            if empty:
                self.note(empty)
            return
        for line in layout(heads, cells, width() if sys.stdout.isatty() else 0):
            print(line)

    def facts(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Print names and values, one pair a line; pairs without a value are left out."""
        known = [(name, visible(str(value))) for name, value in pairs if value not in (None, "")]
        longest = max((len(name) for name, _ in known), default=0)
        for name, value in known:
            print(f"  {dim(name.ljust(longest))}  {value}")


def width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size().columns


def layout(heads: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[str]:
    """The lines of a table. `room` is how wide it may be, 0 for any."""
    names = [head.lstrip("?>") for head in heads]
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    wide = {i: max(len(names[i]), *(len(row[i]) for row in rows)) for i in kept}
    if room:
        taken = sum(min(wide[i], _DECENT) + 2 for i in kept if not heads[i].startswith("?")) - 2
        for i in [i for i in kept if heads[i].startswith("?")]:
            taken += min(wide[i], _DECENT) + 2
            if taken > room:
                kept.remove(i)
                taken -= min(wide[i], _DECENT) + 2
    right = [">" in heads[i] for i in kept]
    names = [names[i] for i in kept]
    widths = [wide[i] for i in kept]
    if room:
        _narrow(widths, [len(name) for name in names], room - 2 * (len(widths) - 1))
    lines = [bold(_line(names, widths, right))]
    lines += [_line([row[i] for i in kept], widths, right) for row in rows]
    return lines


def _narrow(widths: list[int], least: list[int], room: int) -> None:
    """Take from the widest columns until the sum fits."""
    while sum(widths) > room:
        able = [i for i, w in enumerate(widths) if w > max(_LEAST, least[i])]
        if not able:
            return
        widths[max(able, key=lambda i: widths[i])] -= 1


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    out = []
    for cell, size, numeric in zip(cells, widths, right, strict=True):
        if len(cell) > size:
            cell = cell[: size - 1] + "…"
        out.append(cell.rjust(size) if numeric else cell.ljust(size))
    return "  ".join(out).rstrip()


def hex_text(data: bytes) -> str:
    """Bytes as bpftool and hexdump show them: `01 00 00 00`."""
    return data.hex(" ")


def hex_list(data: bytes) -> list[str]:
    """Bytes as bpftool's JSON has them: `["0x01", "0x00"]`."""
    return [f"0x{byte:02x}" for byte in data]


def size_text(size: int) -> str:
    """`4096` as `4.0K`."""
    if size < 1024:
        return str(size)
    for unit in "KMGT":
        size_in = size / 1024
        if size_in < 1024 or unit == "T":
            return f"{size_in:.1f}{unit}" if size_in < 10 else f"{size_in:.0f}{unit}"
        size = int(size_in)
    return str(size)


def duration_text(ns: float) -> str:
    """Nanoseconds for people: `1.2 ms`."""
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= factor:
            return f"{ns / factor:.3g} {unit}"
    return f"{ns:.0f} ns"
