"""`print(f"…")`: a line for the kernel's trace pipe, as bpf_trace_printk and bpf_trace_vprintk format it.

The kernel knows `%d %u %x %c %s` with flags and a width, no precision (kernel/bpf/helpers.c,
bpf_bprintf_prepare).
"""

from __future__ import annotations

import ast

from . import ir, text
from .convert import arena, far, number, refuse_maybe, resolve
from .items import Item, Num, Pointer, Py, Ref, TextCall
from .kinds import output
from .types import U64, Array, Chars, Int, Ptr, Space

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .scope import Fn

_ADVICE = "the kernel's format has: a width, `<` `>` for the side, `0`, `+`, and d, x, X, c, s, sym, ip"


class Line:
    """The format and the arguments so far; `room` is the most bytes that they can take."""

    def __init__(self, f: Fn) -> None:
        self.f = f
        self.format = ""
        self.room = 0
        self.args: list[ir.Value] = []

    def literal(self, value: str, node: ast.AST) -> None:
        if not all(32 <= ord(c) < 127 or c in "\t\n" for c in value):
            self.f.fail(node, "the kernel prints ASCII only", "leave other characters to Python")
        self.format += value.replace("%", "%%")
        self.room += len(value)

    def value(self, item: Item, spec: str, node: ast.expr) -> None:
        f = self.f
        item = resolve(f, item, node)
        refuse_maybe(f, item, node)
        if isinstance(item, Py) and isinstance(item.obj, str):
            try:
                self.literal(format(item.obj, spec), node)
            except ValueError as e:
                f.fail(node, str(e), _ADVICE)
            return
        if text.is_text(item):
            self._text(item, spec, node)
            return
        if spec in ("sym", "ip"):
            self._special(item, spec, node)
            return
        if isinstance(item, Pointer):
            item, spec = Num(f.b.recast(item.v, U64)), spec or "#x"
        if isinstance(item, Py) and isinstance(item.obj, int) and not isinstance(item.obj, bool):
            try:
                self.literal(format(int(item.obj), spec), node)
            except ValueError as e:
                f.fail(node, str(e), _ADVICE)
            return
        self._number(Num(number(f, item, node)), spec, node)

    def _number(self, item: Num, spec: str, node: ast.expr) -> None:
        flags, width, kind, prefix = self._parse(spec, node, "<>", "dxXc")
        value = self.f.b.widen(item.v)
        assert isinstance(value.type, Int)
        if kind == "c":
            self.format += f"%{flags}{width}c"
        else:
            letter = kind if kind in ("x", "X") else "d" if value.type.signed else "u"
            if prefix and width:
                self.f.fail(
                    node, "`#` with a width is not in the kernel's format", "write 0x before the brace"
                )
            self.format += f"{prefix}%{flags}{width}ll{letter}"
        self.args.append(value)
        digits = 16 if kind in ("x", "X") else 1 if kind == "c" else 20
        self.room += max(digits + len(prefix), int(width or 0)) + 1

    def _special(self, item: Item, spec: str, node: ast.expr) -> None:
        """`{address:sym}`, the kernel's function there; `{field:ip}`, an address of 4 or 16 bytes."""
        f = self.f
        if spec == "sym":
            address = item.v if isinstance(item, Pointer) else number(f, item, node)
            self.format += "%pS"
            self.args.append(f.b.recast(address, U64))
            self.room += 80
            return
        size = item.type.size if isinstance(item, Ref) else 0
        if not isinstance(item, Ref) or size not in (4, 16) or far(item.ptr.type):
            f.fail(node, "`ip` takes a field of 4 or 16 bytes, such as u8[4]", _ADVICE)
        f.escape(item)
        self.format += "%pI4" if size == 4 else "%pI6"
        self.args.append(item.ptr)
        self.room += 15 if size == 4 else 39

    def _text(self, item: Item, spec: str, node: ast.expr) -> None:
        flags, width, _, _ = self._parse(spec, node, "<>", "s")
        if width and ">" not in spec:
            flags = "-" + flags.replace("-", "")
        if isinstance(item, Pointer):
            ptr = item.v
        else:
            ptr = self._ended(item, node)
        assert isinstance(ptr.type, Ptr)
        self.room += max(ptr.type.to.size if ptr.type.to.size > 1 else text.LONGEST, int(width or 0))
        self.format += f"%{flags}{width}{'pus' if ptr.type.space is Space.USER else 's'}"
        self.args.append(ptr)

    def _ended(self, item: Item, node: ast.expr) -> ir.Value:
        """The address of the text with a NUL behind it, which a field that is full does not have."""
        f = self.f
        if isinstance(item, Ref) and far(item.ptr.type) and not arena(item.ptr):
            f.escape(item)
            return item.ptr
        size = item.size if isinstance(item, TextCall) else item.type.size if isinstance(item, Ref) else 0
        if not size or (isinstance(item, TextCall) and item.name == "comm()"):
            return text.direct(f, item, node, f"printed {len(self.args)}").ptr
        slot = f.b.local("printed", Chars(size + 1))
        text.store(f, slot, item, node)
        return slot

    def _parse(self, spec: str, node: ast.expr, aligns: str, kinds: str) -> tuple[str, str, str, str]:
        """Flags, width, type letter and prefix of a format spec."""
        rest, flags, prefix = spec, "", ""
        if len(rest) > 1 and rest[0] == " " and rest[1] in "<>^=":
            rest = rest[1:]
        if rest[:1] and rest[0] in aligns:
            flags += "-" if rest[0] == "<" else ""
            rest = rest[1:]
        if rest[:1] in ("+", " ") and rest:
            flags += rest[0]
            rest = rest[1:]
        elif rest[:1] == "-":
            rest = rest[1:]
        if rest[:1] == "#":
            prefix, rest = "0x", rest[1:]
        if rest[:1] == "0":
            flags += "0"
            rest = rest[1:]
        width = ""
        while rest[:1].isdigit():
            width += rest[0]
            rest = rest[1:]
        if len(rest) > 1 or (rest and rest not in kinds) or (prefix and rest not in ("x", "X")):
            self.f.fail(node, f"the format {spec!r} can't be printed by the kernel", _ADVICE)
        return flags, width, rest, prefix


def call(f: Fn, node: ast.Call, name: str) -> Item:
    """`print(…)`, `bp.printf(…)`."""
    line = Line(f)
    separator, end = " ", "\n"
    for kw in node.keywords:
        value = f.expr(kw.value)
        if kw.arg == "sep" and isinstance(value, Py) and isinstance(value.obj, str):
            separator = value.obj
        elif (
            kw.arg == "end" and output.is_iterator(f) and isinstance(value, Py) and isinstance(value.obj, str)
        ):
            end = value.obj
        elif kw.arg in ("sep", "end"):
            f.fail(kw.value, f"{name}: {kw.arg} can't be set to this", "every print is a line of its own")
        else:
            f.fail(kw.value, f"{name} has no {kw.arg} in a program", "it writes to the kernel's trace pipe")
    if name == "printf" and len(node.args) > 1:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and "%" in first.value:
            f.fail(
                first,
                "bp.printf has no % formats",
                'write the values into an f-string: bp.printf(f"{x} {y:x}")',
            )
    for i, arg in enumerate(node.args):
        if i:
            line.literal(separator, arg)
        if isinstance(arg, ast.JoinedStr):
            _f_string(f, line, arg)
        elif isinstance(arg, ast.Starred):
            f.fail(arg, "`*` can't unpack here", "write the values one by one")
        else:
            line.value(f.expr(arg), "", arg)
    _emit(f, line, node, end)
    return Py(None)


def line(f: Fn, node: ast.JoinedStr) -> Line:
    """An f-string as the kernel's format and arguments."""
    out = Line(f)
    _f_string(f, out, node)
    return out


def _f_string(f: Fn, line: Line, node: ast.JoinedStr) -> None:
    for part in node.values:
        if isinstance(part, ast.Constant):
            line.literal(str(part.value), node)
            continue
        assert isinstance(part, ast.FormattedValue)
        conversion = chr(part.conversion) if part.conversion != -1 else ""
        spec = ""
        if isinstance(part.format_spec, ast.JoinedStr):
            for piece in part.format_spec.values:
                if isinstance(piece, ast.Constant):
                    spec += str(piece.value)
                else:
                    item = f.expr(piece.value) if isinstance(piece, ast.FormattedValue) else None
                    if not isinstance(item, Py) or not isinstance(item.obj, (int, str)):
                        f.fail(part.value, "a format must be known at compile time", _ADVICE)
                    spec += str(item.obj)
        item = f.expr(part.value)
        if conversion and (conversion != "s") and (conversion != "r" or text.is_text(item)):
            f.fail(part.value, f"`!{conversion}` is not in the kernel's format", _ADVICE)
        line.value(item, spec, part.value)


def _emit(f: Fn, line: Line, node: ast.Call, end: str = "\n") -> None:
    if output.is_iterator(f):
        output.emit(f, line.format + end, line.args, node)
        return
    b = f.b
    data = line.format.encode()
    where = b.string(data)
    size = b.const(len(data) + 1)
    if len(line.args) <= 3:
        b.helper("trace_printk", where, size, *line.args)
        return
    if len(line.args) > 12:
        f.fail(node, f"{len(line.args)} values: the kernel prints at most 12 in a line", "print two lines")
    values = f.temp("printed", Array(U64, len(line.args)))
    for i, arg in enumerate(line.args):
        b.write(b.index(values, i), arg if isinstance(arg.type, Int) else b.recast(arg, U64))
    b.helper("trace_vprintk", where, size, values, b.const(8 * len(line.args)))
