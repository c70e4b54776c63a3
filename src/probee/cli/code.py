"""What `dump xlated` and `dump jited` share: functions, source lines and names in a loaded program."""

from __future__ import annotations

from typing import Any

from ..btf import Btf, BtfType
from ..btf.kinds import (
    ARRAY,
    CONST,
    ENUMS,
    FUNC,
    FUNC_PROTO,
    FWD,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    UNION,
    VAR,
    VOID,
    VOLATILE,
)
from ..errors import ProbeeError
from ..sys.details import ProgDetails
from ..tools._common import visible
from . import seek
from .style import dim

_DEPTH = 32
_WORDS = {STRUCT: "struct ", UNION: "union ", CONST: "const ", VOLATILE: "volatile ", RESTRICT: "restrict "}


class Source:
    """A line of the source that instructions come from."""

    __slots__ = ("column", "file", "line", "text")

    def __init__(self, file: str, line: int, column: int, text: str) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.text = text

    def same_line(self, other: Source | None) -> bool:
        return other is not None and (self.file, self.line) == (other.file, other.line)

    def json(self, linum: bool) -> dict[str, Any]:
        facts: dict[str, Any] = {"src": self.text}
        if linum:
            facts["file"] = self.file
            if self.line:
                facts["line_num"] = self.line
            if self.column:
                facts["line_col"] = self.column
        return facts

    def words(self, linum: bool) -> str:
        """`; text`, with the place if `linum`."""
        place = f" [{self.file}:{self.line}:{self.column}]" if linum else ""
        text = self.text or f"{self.file}:{self.line}"
        return dim(f"; {visible(text + place)}")


class Debug:
    """A program's debug information. Empty for programs without BTF."""

    def __init__(self, info: ProgDetails) -> None:
        self.btf: Btf | None = None
        self.lines: list[tuple[int, Source]] = []  # instruction, its line
        self.protos: dict[int, str] = {}  # instruction, the function that begins there
        if not info.btf_id:
            return
        try:
            btf = self.btf = seek.btf_by_id(info.btf_id)
            for at, file, text, place in info.line_info:
                line = Source(btf.string(file), place >> 10, place & 0x3FF, btf.string(text).lstrip())
                self.lines.append((at, line))
            for at, type_id in info.func_info:
                self.protos[at] = signature(btf, type_id)
        except (OSError, ProbeeError):
            return  # without the lines, then

    def at(self) -> dict[int, Source]:
        """The lines by instruction."""
        return dict(self.lines)


def signature(btf: Btf, type_id: int) -> str:
    """A type as bpftool spells it: `int on_enter(void * ctx)`."""
    return _spell(btf, type_id, 0).rstrip()


def _spell(btf: Btf, type_id: int, depth: int) -> str:
    t = btf.type(type_id)
    kind = t.kind
    if depth > _DEPTH:
        return "… "
    if kind == VOID:
        return "void "
    if kind in (STRUCT, UNION):
        return f"{_WORDS[kind]}{t.name} "
    if kind in ENUMS:
        return f"enum {t.name} "
    if kind == FWD:
        return f"{'union' if t.kflag else 'struct'} {t.name} "
    if kind in (CONST, VOLATILE, RESTRICT):
        return _WORDS[kind] + _spell(btf, t.type, depth + 1)
    if kind == PTR:
        return _spell(btf, t.type, depth + 1) + "* "
    if kind in (VAR, TYPE_TAG):
        return _spell(btf, t.type, depth + 1)
    if kind == ARRAY:
        return _spell(btf, t.array[0], depth + 1) + f"[{t.array[2]}]"
    if kind == FUNC:
        return _function(btf, btf.type(t.type), t.name, depth)
    if kind == FUNC_PROTO:
        return _function(btf, t, "", depth)
    return f"{t.name} "


def _function(btf: Btf, proto: BtfType, name: str, depth: int) -> str:
    params = [
        "..." if not type_id and not param else (_spell(btf, type_id, depth + 1) + param).rstrip()
        for param, type_id in proto.params
    ]
    return f"{_spell(btf, proto.type, depth + 1)}{name}({', '.join(params)})"
