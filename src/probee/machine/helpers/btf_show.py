"""Values of kernel types as text, in the layout of bpf_snprintf_btf and bpf_seq_printf_btf.

Source: the kernel's `Documentation/bpf` on BTF_F_… and what Linux 6.18 prints. Where the kernel hashes a
pointer, the machine shows it.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from ...btf.kinds import ARRAY, CONST, ENUM, ENUMS, INT, INT_SIGNED, PTR, STRUCT, TYPEDEF, UNION
from .printing import sequence
from .reading import fetch
from .table import helper

if TYPE_CHECKING:
    from ...btf import Btf
    from ...btf.parser import BtfMember, BtfType
    from ..cpus import MachineCpu

COMPACT, NONAME, PTR_RAW, ZERO = 1, 2, 4, 8
_FLAGS = COMPACT | NONAME | PTR_RAW | ZERO
_BTF_PTR = struct.Struct("<QII")
_U32 = 0xFFFFFFFF
_NAME_SIZE = 80  # BTF_SHOW_NAME_SIZE
_MOST_STEPS = 10  # of a type's name: typedefs, pointers, arrays
_PREFIXES = {STRUCT: "struct", UNION: "union", ENUM: "enum"}
_QUALIFIERS = range(CONST - 1, CONST + 2)  # volatile, const, restrict
_TYPE_TAG = 18


class Shown:
    """One value being shown."""

    def __init__(self, btf: Btf, data: bytes, flags: int) -> None:
        self.btf = btf
        self.data = data
        self.compact = bool(flags & COMPACT)
        self.names = not flags & NONAME
        self.zero = bool(flags & ZERO)
        self.in_array = False

    def text(self, id: int) -> bytes:
        """The whole value's text."""
        shown = self._value(id, 0, 0, "", True)
        return (shown or b"") + (b"" if self.compact else b"\n")

    def _line(self, depth: int) -> bytes:
        return b"" if self.compact else b"\n" + b" " * depth

    def _plain(self, id: int) -> BtfType:
        """A type without its qualifiers; typedefs stay."""
        t = self.btf.type(id)
        while t.kind in _QUALIFIERS or t.kind == _TYPE_TAG:
            t = self.btf.type(t.type)
        return t

    def _name(self, id: int, member: str) -> bytes:
        """`.member = (type)` as far as names are wanted, and the bracket that a value opens with.

        Nothing within an element of an array, whose name has said what it is.
        """
        if self.in_array:
            return b""
        t: BtfType | None = self.btf.type(id)  # a qualifier in front hides the name, as in the kernel
        name, stars, arrays, bracket, kinds = "", "", "", "", set()
        for _ in range(_MOST_STEPS):
            if t is None or t.kind not in (TYPEDEF, ARRAY, PTR):
                break
            kinds.add(t.kind)
            if t.kind == TYPEDEF:
                name = name or t.name
                following = t.type
            elif t.kind == ARRAY:
                arrays, bracket = arrays + "[]", "["
                following = t.array[0]
            else:
                stars += "*"
                following = t.type
            t = self._plain(following) if following else None
        if t is not None:
            name = name or t.name
            if t.kind in (STRUCT, UNION) and not arrays:
                bracket = "{"
        if PTR in kinds:
            bracket = ""
        if not self.names:
            return bracket.encode()
        prefix = _PREFIXES.get(ENUM if t.kind in ENUMS else t.kind, "") if t is not None else ""
        if TYPEDEF in kinds:
            prefix = ""
        words = f"{prefix}{' ' if prefix and name else ''}{name}{' ' if stars else ''}{stars}{arrays}"
        return f"{f'.{member} = ' if member else ''}({words}){bracket}".encode()[: _NAME_SIZE - 1]

    def _value(self, id: int, at: int, depth: int, member: str, always: bool) -> bytes | None:
        """A value with its name; None if it is all zero and zeros are not shown."""
        t = self.btf.type(self.btf.strip(id))
        if t.kind == ARRAY or (t.kind in (STRUCT, UNION)):
            if depth and not self.zero and self._has_array(t):
                self.in_array = False  # the kernel looks first whether all is zero, and forgets where it is
            name = self._name(id, member)
            inside = self._members(t, at, depth) if t.kind != ARRAY else self._array(t, at, depth)
        else:
            name, inside = self._name(id, member), self._scalar(t, at, always)
        if inside is None and always:
            inside = self._line(depth) + (b"}" if t.kind != ARRAY else b"]")
        return None if inside is None else name + inside

    def _has_array(self, t: BtfType) -> bool:
        """Whether an array with elements is in a struct, or in those in it."""
        if t.kind == ARRAY:
            return t.array[2] > 0
        inside = (self.btf.type(self.btf.strip(m.type)) for m in t.members if not m.bit_size)
        return any(self._has_array(one) for one in inside if one.kind in (STRUCT, UNION, ARRAY))

    def _members(self, t: BtfType, at: int, depth: int) -> bytes | None:
        shown = []
        for member in t.members:
            if member.bit_size:
                found = self._bits(member, at)
            else:
                found = self._value(
                    member.type, at + member.bit_offset // 8, depth + 1, member.name, self.zero
                )
            if found is not None:
                shown.append(self._line(depth + 1) + found + b",")
        if not shown and not self.zero:
            return None
        return b"".join(shown) + self._line(depth) + b"}"

    def _bits(self, member: BtfMember, at: int) -> bytes | None:
        start = member.bit_offset
        first, last = at + start // 8, at + (start + member.bit_size + 7) // 8
        value = int.from_bytes(self.data[first:last], "little") >> start % 8 & (1 << member.bit_size) - 1
        if not value and not self.zero:
            return None
        return self._name(member.type, member.name) + f"{value:#x}".encode()

    def _array(self, t: BtfType, at: int, depth: int) -> bytes | None:
        elem, _, count = t.array
        kind = self.btf.type(self.btf.strip(elem))
        size = kind.size  # of pointers and arrays 0: the kernel shows the first element again and again
        shown = []
        for index in range(count):
            where = at + index * size
            self.in_array = True
            if kind.kind == INT and size == 1:
                byte = self.data[where]
                if not byte:
                    self.in_array = False
                    break
                found: bytes | None = b"'%c'" % byte if _printable(byte) else self._scalar(kind, where, True)
            else:
                found = self._value(elem, where, depth + 1, "", self.zero)
            self.in_array = False
            if found is not None:
                shown.append(self._line(depth + 1) + found + b",")
        if not shown and not self.zero:
            return None
        return b"".join(shown) + self._line(depth) + b"]"

    def _scalar(self, t: BtfType, at: int, always: bool) -> bytes | None:
        size = 8 if t.kind == PTR else 4 if t.kind == ENUM else t.size  # the kernel reads all enums as ints
        value = int.from_bytes(self.data[at : at + size], "little")
        if t.kind in ENUMS:
            signed = value - (1 << 8 * size) if t.kflag and value >> 8 * size - 1 else value
            name = next((name for name, number in t.enumerators if number == signed), None)
            if name:
                return name.encode()  # shown even for 0
            return str(signed).encode() if value or always else None
        if not value and not always:
            return None
        if t.kind == PTR:
            return f"{value:#018x}".encode()
        if t.kind != INT:
            return f"<unsupported kind:{t.kind}>".encode()
        if size > 8:
            return f"{value:#x}".encode()
        if t.encoding & INT_SIGNED and value >> 8 * size - 1:
            value -= 1 << 8 * size
        return str(value).encode()


def _printable(byte: int) -> bool:
    """The kernel's isprint(), which goes by Latin-1."""
    return 32 <= byte < 127 or byte >= 160


def _show(cpu: MachineCpu, pointer: int, size: int, flags: int) -> bytes | int:
    """The text of what a `struct btf_ptr` points at, or a negative errno."""
    machine = cpu.machine
    if size & _U32 != _BTF_PTR.size or flags & ~_FLAGS:
        return -errno.EINVAL
    address, id, _ = _BTF_PTR.unpack(cpu.memory.read(pointer, _BTF_PTR.size))
    btf = machine.btf
    if btf is None or not 0 < id < len(btf):
        return -errno.ENOENT
    data = fetch(cpu, address, btf.size_of(id), "any")
    return -errno.EFAULT if data is None else Shown(btf, data, flags).text(id)


@helper("snprintf_btf")
def snprintf_btf(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    text = _show(cpu, r3, r4, r5)
    if isinstance(text, int):
        return text
    size = r2 & _U32
    if size:
        cpu.memory.write(r1, text[: size - 1] + b"\0")
    return len(text)


@helper("seq_printf_btf")
def seq_printf_btf(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    text = _show(cpu, r2, r3, r4)
    return text if isinstance(text, int) else sequence(cpu, r1, text)
