"""BTF as Python: structs as `probee.Struct` classes with the same size and offsets, enumerators as constants.

What a `Struct` cannot hold keeps its place as plain numbers, with the C declaration in a comment: unions,
bitfields (one number for a run of them), pointers, members that are not aligned.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from probee.btf.c_layout import bitfield
from probee.btf.c_source import c_type
from probee.btf.kinds import (
    ARRAY,
    COMPOSITES,
    ENUM,
    ENUM64,
    ENUMS,
    FLOAT,
    INT,
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
    PTR,
    STRUCT,
    TYPEDEF,
)
from probee.btf.parser import Btf, BtfMember, BtfType
from probee.errors import ObjectError

_IMPORTED = ("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "Char", "Struct")
_NESTING = 60
_LONGEST_ARRAY = 1 << 20  # elements; the most a `Struct` takes

# One line of a class: offset and size in bytes, alignment, name, type, comment.
_Line = tuple[int, int, int, str, str, str]


def _identifier(name: str, used: dict[str, int]) -> str:
    """A name for Python that is not in `used`; no two leading underscores, which a class would mangle.

    `used` counts how often each name was asked for, so that the next one is found at once.
    """
    name = re.sub(r"\W", "_", name)
    if name.startswith("__"):
        name = "_" + name.lstrip("_")
    if not name or name[0].isdigit():
        name = f"_{name}"
    if keyword.iskeyword(name):
        name += "_"
    base = name
    while name in used:
        used[base] += 1
        name = f"{base}_{used[base]}"
    used[name] = 1
    return name


def _words(size: int, align: int, offset: int) -> tuple[str, int]:
    """A type of unsigned numbers that fills `size` bytes at `offset`, and its alignment (at most `align`)."""
    unit = next(u for u in (8, 4, 2, 1) if u <= align and size % u == 0 and offset % u == 0)
    name = f"u{8 * unit}"
    return name if size == unit else f"{name}[{size // unit}]", unit


class _Writer:
    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.parts: list[str] = []
        self.needs: set[str] = set()
        self._used = dict.fromkeys(_IMPORTED, 1)
        self._classes: dict[int, tuple[str, int]] = {}  # struct -> name of its class, alignment
        self._open: set[int] = set()
        self._room = 4 * len(btf) + 4096  # anonymous structs that may yet be taken apart

    def _use(self, text: str) -> str:
        self.needs.update(name for name in re.findall(r"\w+", text) if name in _IMPORTED)
        return text

    def _scalar(self, t: BtfType) -> str:
        if t.kind == INT and t.encoding & INT_BOOL and t.size == 1:
            return "bool"
        signed = t.kflag if t.kind in ENUMS else t.kind == INT and t.encoding & INT_SIGNED
        return f"{'i' if signed else 'u'}{8 * t.size}"

    def _field(self, id: int, offset: int, owner: str, member: str, depth: int) -> tuple[str, int]:
        """(Python's type, its alignment) for a member's type."""
        btf = self.btf
        t = btf.type(btf.strip(id))
        if t.kind == PTR:
            return f"u{8 * btf.ptr_size}", btf.ptr_size
        if t.kind in (INT, ENUM, ENUM64) and t.size in (1, 2, 4, 8):
            return self._scalar(t), t.size
        if t.kind == STRUCT and t.size:
            return self.struct(t, self._class_name(id, owner, member), depth + 1)
        if t.kind == ARRAY:
            elem, _, nelems = t.array
            inner = btf.type(btf.strip(elem))
            if inner.kind == INT and inner.size == 1 and (inner.name == "char" or inner.encoding & INT_CHAR):
                return f"Char[{nelems}]", 1
            text, align = self._field(elem, offset, owner, member, depth)
            return f"{'u8' if text == 'bool' else text}[{nelems}]", align
        size = btf.size_of(id)
        return _words(size, 8 if t.kind != FLOAT else t.size, offset)

    def _class_name(self, id: int, owner: str, member: str) -> str:
        """The struct's tag; for one without, the typedef it is known by, or a name after the member."""
        t = self.btf.type(id)
        while t.kind not in COMPOSITES:
            if t.kind == TYPEDEF and not self.btf.type(self.btf.strip(id)).name:
                return t.name
            t = self.btf.type(t.type)
        return t.name or f"{owner}_{member}"

    def struct(self, t: BtfType, name: str, depth: int = 0) -> tuple[str, int]:
        """Write the class of a struct. Returns its name and alignment."""
        done = self._classes.get(t.id)
        if done is not None:
            return done
        if t.id in self._open or depth > _NESTING:
            raise ObjectError(f"broken BTF: struct {name!r} (type {t.id}) contains itself")
        self._open.add(t.id)
        name = _identifier(name, self._used)
        lines: list[_Line] = []
        self._lines(t, 0, name, lines, {}, depth)
        comment = f"struct {t.name}" if t.name else "An anonymous struct"
        out = [f"class {name}({self._use('Struct')}):", f'    """{comment}, {t.size} bytes."""', ""]
        pos = 0
        align = 1
        # All offsets and the size must suit the alignments, or else everything is bytes.
        loose = any(at % a or t.size % a for at, _, a, _, _, _ in lines)
        used = {line[3]: 1 for line in lines}
        for at, size, own, field, text, remark in lines:
            if at < pos or at + size > t.size:
                raise ObjectError(f"broken BTF: members of struct {name!r} (type {t.id}) overlap")
            if loose and own > 1:
                text, own = f"u8[{size}]", 1
            gap = at - (pos + own - 1) // own * own
            if gap > 0:
                out.append(f"    {_identifier(f'pad_{pos}', used)}: {self._use(f'u8[{at - pos}]')}")
            out.append(f"    {field}: {self._use(text)}" + (f"  # {remark}" if remark else ""))
            pos = at + size
            align = max(align, own)
        if t.size - pos >= align or (t.size and not lines):
            out.append(f"    {_identifier(f'pad_{pos}', used)}: {self._use(f'u8[{t.size - pos}]')}")
        if len(out) == 3:
            out.append("    pass")
        self.parts.append("\n".join(out) + "\n")
        self._open.discard(t.id)
        self._classes[t.id] = name, align
        return name, align

    def _lines(
        self, t: BtfType, base: int, owner: str, lines: list[_Line], used: dict[str, int], depth: int
    ) -> None:
        """The fields of a struct at byte `base` of the class; anonymous structs are part of it."""
        self._room -= 1
        if depth > _NESTING or self._room < 0:
            raise ObjectError(f"broken BTF: struct {owner!r} (type {t.id}) contains itself")
        btf = self.btf
        run: list[tuple[BtfMember, int, int]] = []
        for m in t.members:
            at, width = bitfield(btf, m)
            if width:
                run.append((m, 8 * base + at, width))
                continue
            self._flush(run, lines, used)
            inner = btf.type(btf.strip(m.type))
            offset = base + at // 8
            if not m.name and inner.kind == STRUCT:
                self._lines(inner, offset, owner, lines, used, depth + 1)
                continue
            size = btf.size_of(m.type)
            if not size or size > 8 * _LONGEST_ARRAY:
                continue  # a flexible array: no bytes of the struct
            if not m.name:
                text, own = _words(size, 8, offset)
                names = ", ".join(f.name or "…" for f in inner.members)
                field = _identifier(f"{inner.kind_name}_{offset}", used)
                lines.append((offset, size, own, field, text, f"{inner.kind_name} of {names}"))
                continue
            text, own = self._field(m.type, offset, owner, m.name, depth)
            field = _identifier(m.name, used)
            plain = inner.kind in (INT, STRUCT) and field == m.name
            remark = "" if plain else c_type(btf, m.type, m.name)
            lines.append((offset, size, own, field, text, remark))
        self._flush(run, lines, used)

    @staticmethod
    def _flush(run: list[tuple[BtfMember, int, int]], lines: list[_Line], used: dict[str, int]) -> None:
        """One field for a run of bitfields."""
        if not run:
            return
        first = run[0][1] // 8
        size = (max(at + width for _, at, width in run) + 7) // 8 - first
        text, own = _words(size, 8, first)
        remark = ", ".join(f"{m.name or '_'}:{width}" for m, _, width in run)
        lines.append((first, size, own, _identifier(f"bits_{first}", used), text, remark))
        run.clear()

    def enum(self, t: BtfType) -> None:
        """Write the enumerators as constants; one that exists already under its name is left out."""
        lines = [f"# enum {t.name or '(anonymous)'}"]
        for name, value in t.enumerators:
            name = re.sub(r"\W", "_", name)
            if name not in self._used and not keyword.iskeyword(name) and name.isidentifier():
                self._used[name] = 1
                lines.append(f"{name} = {value}")
        if len(lines) > 1:
            self.parts.append("\n".join(lines) + "\n")

    def typedef(self, t: BtfType) -> None:
        """Another name for a number or struct; others have no use here."""
        inner = self.btf.type(self.btf.strip(t.id))
        if inner.kind == STRUCT and inner.size:
            target = self.struct(inner, inner.name or t.name)[0]
        elif inner.kind in (INT, ENUM, ENUM64) and inner.size in (1, 2, 4, 8):
            target = self._scalar(inner)
        else:
            return
        if re.sub(r"\W", "_", t.name) in self._used:
            return
        self.parts.append(f"{_identifier(t.name, self._used)} = {self._use(target)}\n")


def render_python(btf: Btf, ids: Iterable[int] | None = None) -> str:
    """A Python module with the structs, enumerators and typedefs of a BTF, or `ids` and what they need.

    Raises ObjectError if the BTF contradicts itself.
    """
    writer = _Writer(btf)
    for t in btf.own_types() if ids is None else map(btf.type, ids):
        if t.kind == STRUCT and t.name and t.size:
            writer.struct(t, t.name)
        elif t.kind in ENUMS:
            writer.enum(t)
        elif t.kind == TYPEDEF:
            writer.typedef(t)
    names = ", ".join(sorted(writer.needs, key=lambda n: (n[0].isupper(), n[0], len(n), n)))
    head = f"from probee import {names}\n\n" if names else ""
    return head + "\n".join(writer.parts)


__all__ = ["render_python"]
