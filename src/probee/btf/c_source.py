"""BTF as C declarations that compile, like `bpftool btf dump … format c`.

Everything is declared before it is used. Sizes and offsets are those of the BTF: where a compiler would
choose others, padding and attributes are added, and a type that C cannot express becomes an array of bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from probee.btf.c_layout import Layouts, bitfield
from probee.btf.kinds import (
    ARRAY,
    COMPOSITES,
    CONST,
    DECL_TAG,
    ENUM,
    ENUM64,
    ENUMS,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    INT,
    INT_BOOL,
    INT_SIGNED,
    LINK_STATIC,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    VOID,
    VOLATILE,
)
from probee.btf.parser import MAX_CHAIN, Btf, BtfMember, BtfType
from probee.errors import ObjectError

_QUALIFIERS = {CONST: "const", VOLATILE: "volatile", RESTRICT: "restrict"}
_TAG_WORDS = {STRUCT: "struct", UNION: "union", ENUM: "enum", ENUM64: "enum"}
_TYPE_WORDS = frozenset(
    ("signed", "unsigned", "char", "short", "int", "long", "_Bool", "__int128", "float", "double", "_Complex")
)
_KEYWORDS = frozenset(
    (
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typedef",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
        "_Bool",
        "asm",
        "typeof",
    )
)
# Compilers know this type, but not all as the one the BTF means.
_RENAMED = {"__builtin_va_list": "__kernel_va_list"}
_ENUM_MODES = {1: "QI", 2: "HI", 8: "DI"}
_GAP_MAX = 8192  # bits
_GAP_TYPES = ((64, "long"), (32, "int"), (16, "short"), (8, "char"))
_NESTING = 100  # types that need each other, and anonymous structs in each other


def _identifier(name: str) -> str:
    """A C identifier for a name that may come from another language."""
    if name.isascii() and name.isidentifier() and name not in _KEYWORDS:
        return name
    name = re.sub(r"[^0-9A-Za-z_]", "_", name)
    return f"_{name}" if name[:1].isdigit() else f"{name}_" if name in _KEYWORDS else name


class _Writer:
    def __init__(self, btf: Btf, *, brief: bool = False) -> None:
        self.btf = btf
        self._brief = brief
        self.lines: list[str] = []
        self._layouts = Layouts(btf)
        self._state: dict[int, bool] = {}  # False: being written, True: written
        self._declared: set[str] = set()
        self._met: set[tuple[int, bool]] = set()
        self._inner: set[int] = set()
        self._room = 4 * len(btf) + 4096  # types that may yet be written in place: see `_in_place`
        self._tags: dict[str, list[tuple[int, int]]] = {}  # tag -> (kind, id of the definition or 0) in order
        self._names: dict[int, str] = {}
        self._used: dict[str, int] = {}  # ordinary identifiers: how often
        self._decl_tags: dict[tuple[int, int], list[str]] = {}
        for t in () if brief else btf.own_types():
            if t.kind == DECL_TAG:
                tag = _string(t.name)
                text = t.name if t.kflag else f"btf_decl_tag({tag})"
                key = t.type, t.component_idx
                self._decl_tags.setdefault(key, []).append(f" __attribute__(({text}))")

    # Names: equal ones of different types get ___2, ___3…, which CO-RE takes for flavours.

    def _unique(self, name: str) -> str:
        name = _RENAMED.get(name) or _identifier(name)
        count = self._used[name] = self._used.get(name, 0) + 1
        return name if count == 1 else f"{name}___{count}"

    def _name(self, t: BtfType) -> str:
        found = self._names.get(t.id)
        if found is None:
            found = self._names[t.id] = self._tag(t) if t.kind != TYPEDEF else self._unique(t.name)
        return found

    def _tag(self, t: BtfType) -> str:
        """The tag of a struct, union, enum or forward declaration; they share one name space."""
        name = _identifier(t.name)
        owners = self._tags.setdefault(name, [])
        kind = (UNION if t.kflag else STRUCT) if t.kind == FWD else ENUM if t.kind == ENUM64 else t.kind
        id = 0 if t.kind == FWD else t.id
        for at, (k, owner) in enumerate(owners):
            if k == kind and (not id or not owner):
                owners[at] = k, id or owner
                break
        else:
            at = len(owners)
            owners.append((kind, id))
        return name if not at else f"{name}___{at + 1}"

    def _spelled(self, t: BtfType) -> str:
        """How a type with a name, or void, is called."""
        if t.kind == VOID:
            return "void"
        if t.kind == FWD:
            return f"{'union' if t.kflag else 'struct'} {self._name(t)}"
        if t.kind in _TAG_WORDS:
            return f"{_TAG_WORDS[t.kind]} {self._name(t)}"
        if t.kind == INT or t.kind == FLOAT:
            return t.name if _is_c_type(t.name) else _identifier(t.name)
        if t.kind == TYPEDEF:
            return self._name(t)
        raise ObjectError(f"broken BTF: type {t.id} is a {t.kind_name} where C has a type")

    # Order: `need` writes what must stand before a use.

    def need(self, id: int, *, whole: bool, depth: int = 0) -> None:
        """Write what a use of the type needs: its definition if `whole`, else a declaration."""
        if (id, whole) in self._met:
            return
        if depth > _NESTING:
            raise ObjectError(f"broken BTF: types nested too deep at type {id}")
        depth += 1
        t = self.btf.type(id)
        kind = t.kind
        if kind in _QUALIFIERS or kind == TYPE_TAG:
            self.need(t.type, whole=whole, depth=depth)
        elif kind == PTR:
            self.need(t.type, whole=False, depth=depth)
        elif kind == ARRAY:
            self.need(t.array[0], whole=True, depth=depth)
        elif kind == FUNC_PROTO:
            self.need(t.type, whole=False, depth=depth)
            for _, param in t.params:
                self.need(param, whole=False, depth=depth)
        elif kind == TYPEDEF:
            self._typedef(t, depth)
            if whole:
                self.need(t.type, whole=True, depth=depth)
        elif kind in COMPOSITES:
            if not t.name:
                self._members_need(t, depth)
            elif whole:
                self._composite(t, depth)
            else:
                self._declare(t)
        elif kind in ENUMS:
            if t.name and t.id not in self._state:
                self._state[t.id] = True
                self.lines.append(f"{self._spelled(t)}{self._enum_body(t, '')};\n")
        elif kind == FWD:
            self._declare(t)
        elif kind in (INT, FLOAT):
            self._base(t)
        self._met.add((id, whole))

    def _declare(self, t: BtfType) -> None:
        text = self._spelled(t)
        if text not in self._declared and t.id not in self._state:
            self._declared.add(text)
            self.lines.append(f"{text};\n")

    def _base(self, t: BtfType) -> None:
        """Integers of other languages' names: a typedef of C's."""
        if t.id in self._state or _is_c_type(t.name):
            return
        self._state[t.id] = True
        words = {1: "char", 2: "short", 4: "int", 8: "long long", 16: "__int128"}
        if t.kind == FLOAT:
            base = {2: "_Float16", 4: "float", 8: "double"}.get(t.size, "long double")
        elif t.encoding & INT_BOOL:
            base = "_Bool"
        else:
            base = f"{'signed' if t.encoding & INT_SIGNED else 'unsigned'} {words.get(t.size, 'int')}"
        self.lines.append(f"typedef {base} {_identifier(t.name)};\n")

    def _typedef(self, t: BtfType, depth: int) -> None:
        if t.id in self._state:
            if not self._state[t.id]:
                raise ObjectError(f"broken BTF: typedef {t.name!r} (type {t.id}) is defined by itself")
            return
        self._state[t.id] = False
        self.need(t.type, whole=False, depth=depth)
        tags = "".join(self._decl_tags.get((t.id, -1), ()))
        self.lines.append(f"typedef {self.declare(t.type, self._name(t))}{tags};\n")
        self._state[t.id] = True

    def _composite(self, t: BtfType, depth: int) -> None:
        if t.id in self._state:
            if not self._state[t.id]:
                raise ObjectError(f"broken BTF: {t.kind_name} {t.name!r} (type {t.id}) contains itself")
            return
        self._state[t.id] = False
        self._members_need(t, depth)
        text = self._spelled(t)
        self.lines.append(f"{text} {self._body(t, '')};\n")
        self._declared.add(text)
        self._state[t.id] = True

    def _members_need(self, t: BtfType, depth: int) -> None:
        if self._layouts.of(t).opaque:
            return
        for m in t.members:
            inner = self.btf.type(self.btf.strip(m.type))
            if not m.name and inner.kind in COMPOSITES:
                # Written in place even if it has a name of its own (-fms-extensions).
                if inner.id not in self._inner:
                    if depth > _NESTING:
                        raise ObjectError(f"broken BTF: types nested too deep at type {t.id}")
                    self._members_need(inner, depth + 1)
                    self._inner.add(inner.id)
            else:
                self.need(m.type, whole=True, depth=depth)

    # Text.

    def declare(self, id: int, inner: str, indent: str = "", depth: int = 0) -> str:
        """A declaration of `inner` (a name, or "" for a type alone) with this type."""
        btf = self.btf
        for _ in range(_NESTING):
            words = []
            t = btf.type(id)
            for _ in range(MAX_CHAIN):
                if t.kind in _QUALIFIERS:
                    words.append(_QUALIFIERS[t.kind])
                elif t.kind == TYPE_TAG:
                    attribute = t.name if t.kflag else f"btf_type_tag({_string(t.name)})"
                    words.append(f"__attribute__(({attribute}))")
                else:
                    break
                t = btf.type(t.type)
            if t.kind == PTR:
                inner = "*" + " ".join([*words, inner]) if words else f"*{inner}"
                target = btf.type(_skip_qualifiers(btf, t.type))
                if target.kind in (ARRAY, FUNC_PROTO):
                    inner = f"({inner})"
                id = t.type
                continue
            words = [w for w in words if w != "restrict"]
            if t.kind == ARRAY:
                id, _, nelems = t.array
                # Qualifiers of an array are those of its elements.
                inner = f"{inner}[{nelems}]"
                if words and btf.type(id).kind != ARRAY:
                    return self._joined([*words, self.declare(id, inner, indent, depth)])
                continue
            if t.kind == FUNC_PROTO:
                inner = f"{inner}({self._params(t, indent, depth)})"
                id = t.type
                continue
            if t.name or t.kind == VOID:
                words.append(self._spelled(t))
            elif self._brief and t.kind in _TAG_WORDS:
                words.append(f"{_TAG_WORDS[t.kind]} {{…}}")
            elif t.kind in COMPOSITES:
                words.append(f"{_TAG_WORDS[t.kind]} {self._body(t, indent, depth + 1)}")
            elif t.kind in ENUMS:
                words.append("enum" + self._enum_body(t, indent))
            else:
                words.append(self._spelled(t))
            return self._joined([*words, inner])
        raise ObjectError(f"broken BTF: types nested too deep at type {id}")

    @staticmethod
    def _joined(words: list[str]) -> str:
        return " ".join(w for w in words if w)

    def _in_place(self, t: BtfType, depth: int) -> None:
        """Count a type that is written where it is used. If each holds the next twice, they never end."""
        self._room -= 1
        if depth > _NESTING or self._room < 0:
            raise ObjectError(f"broken BTF: types without a name nested too deep at type {t.id}")

    def _params(self, t: BtfType, indent: str, depth: int) -> str:
        self._in_place(t, depth)
        params = t.params
        if not params:
            return "void"
        out = []
        for at, (name, id) in enumerate(params):
            if not id:
                if at or at + 1 < len(params):
                    out.append("...")
                continue
            out.append(self.declare(id, _identifier(name) if name else "", indent, depth + 1))
        return ", ".join(out)

    def _body(self, t: BtfType, indent: str, depth: int = 0) -> str:
        """What stands after `struct name`."""
        self._in_place(t, depth)
        layout = self._layouts.of(t)
        inside = indent + "\t"
        lines = ["{"]
        attributes = ""
        if layout.opaque:
            lines.append(f"{inside}char __opaque[{t.size}]; /* a layout that C cannot express */")
        else:
            for at, m in enumerate(t.members):
                if layout.gaps and layout.gaps[at]:
                    lines += _gap(inside, layout.starts[at], layout.gaps[at], layout.align)
                lines.append(inside + self._member(t, at, m, inside, depth))
            if layout.gaps and layout.gaps[-1]:
                lines += _gap(inside, layout.starts[-1], layout.gaps[-1], layout.align)
            if layout.packed:
                attributes += " __attribute__((packed))"
            if layout.aligned:
                attributes += f" __attribute__((aligned({layout.aligned})))"
        attributes += "".join(self._decl_tags.get((t.id, -1), ()))
        if len(lines) == 1:
            return "{}" + attributes
        return "\n".join(lines) + f"\n{indent}}}{attributes}"

    def _member(self, t: BtfType, index: int, m: BtfMember, indent: str, depth: int) -> str:
        _, width = bitfield(self.btf, m)
        tags = "".join(self._decl_tags.get((t.id, index), ()))
        if m.name:
            text = self.declare(m.type, _identifier(m.name), indent, depth)
            return f"{text}: {width}{tags};" if width else f"{text}{tags};"
        inner = self.btf.type(self.btf.strip(m.type))
        if inner.kind in COMPOSITES:
            return f"{_TAG_WORDS[inner.kind]} {self._body(inner, indent, depth + 1)}{tags};"
        if width:
            return f"{self.declare(m.type, '', indent, depth)}: {width};"
        return f"char __anonymous_{index}[{self.btf.size_of(m.type)}];"

    def _enum_body(self, t: BtfType, indent: str) -> str:
        """What stands after `enum name`: nothing for one that is only declared."""
        values = t.enumerators
        if not values:
            return ""
        lines = [" {"]
        for name, value in values:
            suffix = "ULL" if value > 0x7FFFFFFFFFFFFFFF else "LL" if not -(1 << 31) < value < 1 << 31 else ""
            text = f"(-{-value - 1}{suffix} - 1)" if value == -(1 << 63) else f"{value}{suffix}"
            lines.append(f"{indent}\t{self._unique(name)} = {text},")
        narrow = all(-(1 << 31) <= v < 1 << 32 for _, v in values)
        mode = _ENUM_MODES.get(t.size)
        if mode == "DI" and not narrow:
            mode = None  # so large by itself
        return "\n".join(lines) + f"\n{indent}}}" + (f" __attribute__((mode({mode})))" if mode else "")

    # The types to write.

    def write(self, t: BtfType) -> None:
        """Write a type and what it needs. Types without a name are written where they are used."""
        kind = t.kind
        if kind in COMPOSITES and t.name:
            self.need(t.id, whole=True)
        elif kind in ENUMS and not t.name:
            self.lines.append(f"enum{self._enum_body(t, '')};\n")
        elif kind == FUNC:
            self.need(t.type, whole=False)
            static = "static " if t.linkage == LINK_STATIC else "extern "
            tags = "".join(self._decl_tags.get((t.id, -1), ()))
            self.lines.append(f"{static}{self.declare(t.type, self._unique(t.name))}{tags};\n")
        elif kind == VAR:
            self.need(t.type, whole=True)
            static = "static " if t.linkage == LINK_STATIC else "extern "
            self.lines.append(f"{static}{self.declare(t.type, self._unique(t.name))};\n")
        elif kind in _TAG_WORDS or kind in (TYPEDEF, FWD, INT, FLOAT):
            self.need(t.id, whole=False)


def _gap(indent: str, start: int, bits: int, align: int) -> list[str]:
    """Unnamed bitfields of together `bits` bits at bit `start`, none larger than the struct's alignment.

    Whole bytes of a large gap are an array instead.
    """
    lines = []
    while bits:
        if bits > _GAP_MAX and start % 8 == 0:
            lines.append(f"{indent}char __pad_{start // 8}[{bits // 8}];")
            start += bits // 8 * 8
            bits %= 8
            continue
        unit, name = next((u, n) for u, n in _GAP_TYPES if u <= 8 * align or u == 8)
        size = min(bits, unit - start % unit)
        lines.append(f"{indent}{name}: {size};")
        start += size
        bits -= size
    return lines


def _skip_qualifiers(btf: Btf, id: int) -> int:
    for _ in range(MAX_CHAIN):
        t = btf.type(id)
        if t.kind not in _QUALIFIERS and t.kind != TYPE_TAG:
            return id
        id = t.type
    raise ObjectError(f"broken BTF: the chain of qualifiers at type {id} does not end")


def _string(text: str) -> str:
    """A string literal of an attribute; in those there are no escapes for control characters."""
    return '"' + re.sub(r'[\\"]', r"\\\g<0>", re.sub(r"[\x00-\x1f\x7f]", "?", text)) + '"'


def _is_c_type(name: str) -> bool:
    return bool(name) and _TYPE_WORDS.issuperset(name.split())


def _used_anonymous_enums(btf: Btf) -> set[int]:
    """Anonymous enums that are written at their use."""
    enums = {t.id for t in btf.own_types() if t.kind in ENUMS and not t.name}
    used: set[int] = set()
    for t in btf.own_types():
        if t.kind in COMPOSITES:
            used.update(m.type for m in t.members)
        elif t.kind == ARRAY:
            used.add(t.array[0])
        elif t.kind == FUNC_PROTO:
            used.add(t.type)
            used.update(id for _, id in t.params)
        elif t.type:
            used.add(t.type)
    return enums & used


def c_type(btf: Btf, id: int, name: str = "") -> str:
    """One declaration on one line, as a comment or message shows it; anonymous types are cut to `{…}`."""
    return _Writer(btf, brief=True).declare(id, name)


def render_c(btf: Btf, ids: Iterable[int] | None = None, *, header: bool = False) -> str:
    """C declarations of all types, or of those in `ids`, with all they need, in an order that compiles.

    With `header` they are wrapped as a header for BPF programs: an include guard, and the pragma that makes
    accesses relocatable (CO-RE). The dialect is GNU C11. Raises ObjectError if the BTF contradicts itself.
    """
    writer = _Writer(btf)
    if ids is None:
        used = _used_anonymous_enums(btf)
        for t in btf.own_types():
            if t.kind not in (FUNC, VAR) and t.id not in used:
                writer.write(t)
    else:
        for id in ids:
            writer.write(btf.type(id))
    text = "\n".join(writer.lines)
    if not header:
        return text
    return (
        "#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\n\n"
        "#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n"
        "#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)\n"
        "#endif\n\n" + text + "\n#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n"
        "#pragma clang attribute pop\n#endif\n\n#endif /* __VMLINUX_H__ */\n"
    )


__all__ = ["c_type", "render_c"]
