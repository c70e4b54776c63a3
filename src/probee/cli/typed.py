"""Values of BTF types as JSON has them, both ways; what bpftool prints of map values, so are its rules.

Numbers are numbers, bit-fields and 128-bit integers hexadecimal text, enums the enumerator's name, `char`
arrays text if they are printable and end in NUL, pointers numbers. A data section is
`{".bss": [{"hits": 0}, …]}`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..btf import Btf, BtfMember, BtfType
from ..btf.kinds import (
    ARRAY,
    COMPOSITES,
    DATASEC,
    ENUMS,
    FLOAT,
    INT,
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
    PTR,
    UNION,
    VAR,
)
from ..errors import ObjectError
from .grammar import Wrong

_ORDER: Any = sys.byteorder
_DEPTH = 64


Pointers = Callable[[BtfType, int], Any]


def to_json(
    btf: Btf, type_id: int, data: bytes | memoryview, *, depth: int = 0, pointers: Pointers | None = None
) -> Any:
    """The value of a type in `data`, in what JSON has. Raises ObjectError for types without values.

    `pointers` makes the values of pointers, from the type they point to and the number.
    """
    t = btf.type(btf.strip(type_id))
    kind = t.kind
    if depth > _DEPTH:
        raise ObjectError("the type is nested too deeply")
    if kind == INT:
        return _int_to_json(t, data)
    if kind == PTR:
        address = int.from_bytes(data[: btf.ptr_size], _ORDER)
        return pointers(btf.type(btf.strip(t.type)), address) if pointers else address
    if kind in ENUMS:
        number = int.from_bytes(data[: t.size], _ORDER, signed=True)
        names = {_signed(value, t.size): name for name, value in t.enumerators}
        return names.get(number, number)
    if kind == ARRAY:
        return _array_to_json(btf, t, data, depth, pointers)
    if kind in COMPOSITES:
        return {m.name: _member_to_json(btf, t, m, data, depth, pointers) for m in t.members}
    if kind == VAR:
        return {t.name: to_json(btf, t.type, data, depth=depth + 1)}
    if kind == DATASEC:
        values = [to_json(btf, var, data[offset:], depth=depth + 1) for var, offset, _ in t.vars]
        return {t.name: values}
    if kind == FLOAT:
        from struct import Struct

        (value,) = Struct({2: "=e", 4: "=f", 8: "=d"}[t.size]).unpack_from(data)
        return value
    raise ObjectError(f"{t.name or 'void'} has no values")


def _signed(value: int, size: int) -> int:
    half = 1 << size * 8 - 1
    return (value + half) % (2 * half) - half


def _hex(value: int) -> str:
    return f"0x{value:x}"


def _int_to_json(t: BtfType, data: bytes | memoryview) -> Any:
    bits = t.bits
    if t.offset or bits % 8:
        return _hex(int.from_bytes(data[: t.size], _ORDER) >> t.offset & (1 << bits) - 1)
    if bits == 128:
        return _hex(int.from_bytes(data[:16], _ORDER))
    if t.encoding & INT_BOOL:
        return bool(data[0])
    if t.encoding & INT_CHAR:
        return chr(data[0])
    return int.from_bytes(data[: t.size], _ORDER, signed=bool(t.encoding & INT_SIGNED))


def _is_char(btf: Btf, type_id: int) -> bool:
    """Whether an element makes text of an array: a `char`, not a typedef of one."""
    t = btf.type(btf.strip(type_id))
    return t.kind == INT and t.size == 1 and (t.name == "char" or bool(t.encoding & INT_CHAR))


def _array_to_json(
    btf: Btf, t: BtfType, data: bytes | memoryview, depth: int, pointers: Pointers | None
) -> Any:
    elem, _, count = t.array
    size = btf.size_of(elem)
    if count and _is_char(btf, elem):
        head, nul, _ = bytes(data[:count]).partition(b"\0")
        if nul and all(0x1F < byte < 0x7F for byte in head):
            return head.decode()
    parts = [data[i * size : (i + 1) * size] for i in range(count)]
    return [to_json(btf, elem, part, depth=depth + 1, pointers=pointers) for part in parts]


def _member_to_json(
    btf: Btf, t: BtfType, m: BtfMember, data: bytes | memoryview, depth: int, pointers: Pointers | None
) -> Any:
    start = m.bit_offset // 8
    if not m.bit_size:
        return to_json(btf, m.type, data[start:], depth=depth + 1, pointers=pointers)
    return _hex(_bits(m, int.from_bytes(data, _ORDER), len(data)))


def _bits(m: BtfMember, whole: int, size: int) -> int:
    """A bit-field's bits within a struct read as one number."""
    shift = m.bit_offset if _ORDER == "little" else size * 8 - m.bit_offset - m.bit_size
    return whole >> shift & (1 << m.bit_size) - 1


# ---- the other way


def from_json(btf: Btf, type_id: int, value: Any, *, where: str = "value", depth: int = 0) -> bytes:
    """The bytes of a value of a type; members that are not given are zero. Raises Wrong."""
    t = btf.type(btf.strip(type_id))
    kind = t.kind
    if depth > _DEPTH:
        raise ObjectError("the type is nested too deeply")
    if _is_char(btf, type_id) and isinstance(value, str) and len(value) == 1 and not value.isdigit():
        value = ord(value)
    if kind in ENUMS:
        value = _named(t, value)
        negative = isinstance(value, int) and value < 0
        return _number(value, t.size, negative, t.name, where)
    if kind in (INT, PTR):
        size = btf.ptr_size if kind == PTR else t.size
        return _number(value, size, bool(t.encoding & INT_SIGNED), t.name, where)
    if kind == ARRAY:
        return _array(btf, t, value, where, depth)
    if kind in COMPOSITES:
        return _composite(btf, t, value, where, depth)
    if kind == VAR:
        inside = value.get(t.name, value) if isinstance(value, dict) else value
        return from_json(btf, t.type, inside, where=t.name, depth=depth + 1)
    if kind == FLOAT and isinstance(value, (int, float)):
        from struct import Struct

        return Struct({2: "=e", 4: "=f", 8: "=d"}[t.size]).pack(value)
    raise Wrong(f"{where}: {value!r} is no {t.name or t.kind_name.lower()}")


def _named(t: BtfType, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    names = dict(t.enumerators)
    if value in names:
        return names[value]
    return value


def _number(value: Any, size: int, signed: bool, name: str, where: str) -> bytes:
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            raise Wrong(f"{where}: {value!r} is no {name or 'number'}") from None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int):
        raise Wrong(f"{where}: {value!r} is no {name or 'number'}")
    try:
        return int(value).to_bytes(size, _ORDER, signed=signed)
    except OverflowError:
        raise Wrong(f"{where}: {value} does not fit {name or 'a pointer'}, {size} bytes") from None


def _array(btf: Btf, t: BtfType, value: Any, where: str, depth: int) -> bytes:
    elem, _, count = t.array
    size = btf.size_of(elem)
    if isinstance(value, str) and size == 1:
        raw = value.encode()
        if not _is_char(btf, elem):
            try:
                raw = bytes.fromhex(value.removeprefix("0x"))
            except ValueError:
                raise Wrong(f"{where}: {value!r} is neither a list of bytes nor hexadecimal") from None
        if len(raw) > count:
            raise Wrong(f"{where}: {len(raw)} bytes do not fit {count}")
        return raw.ljust(count, b"\0")
    if not isinstance(value, list):
        raise Wrong(f"{where}: {value!r} is no list")
    if len(value) > count:
        raise Wrong(f"{where}: {len(value)} elements do not fit {count}")
    parts = [from_json(btf, elem, v, where=f"{where}[{i}]", depth=depth + 1) for i, v in enumerate(value)]
    return b"".join(parts).ljust(size * count, b"\0")


def _composite(btf: Btf, t: BtfType, value: Any, where: str, depth: int) -> bytes:
    what = f"{'union' if t.kind == UNION else 'struct'} {t.name}".rstrip()
    if not isinstance(value, dict):
        known = ", ".join(m.name or "…" for m in t.members[:4])
        raise Wrong(f"""{where}: {value!r} is no {what}; write {{"member": …}} with {known}""")
    out = bytearray(t.size)
    left = dict(value)
    for m in t.members:
        if m.name in left:
            inside = left.pop(m.name)
        elif not m.name:  # an anonymous struct: its members stand in the outer one
            names = _names_within(btf, m.type)
            inside = {name: left.pop(name) for name in names & left.keys()}
            if not inside:
                continue
        else:
            continue
        _put(btf, out, m, inside, f"{where}.{m.name}" if m.name else where, depth)
    if left:
        known = ", ".join(sorted(_names_within(btf, t.id)))
        raise Wrong(f"{where}: {what} has no member {next(iter(left))!r}; it has {known}")
    return bytes(out)


def _put(btf: Btf, out: bytearray, m: BtfMember, value: Any, where: str, depth: int) -> None:
    start = m.bit_offset // 8
    if not m.bit_size:
        raw = from_json(btf, m.type, value, where=where, depth=depth + 1)
        out[start : start + len(raw)] = raw
        return
    number = int.from_bytes(_number(value, 8, isinstance(value, int) and value < 0, "", where), _ORDER)
    if number >> m.bit_size not in (0, (1 << 64 - m.bit_size) - 1):
        raise Wrong(f"{where}: {value} does not fit {m.bit_size} bits")
    shift = m.bit_offset if _ORDER == "little" else len(out) * 8 - m.bit_offset - m.bit_size
    mask = (1 << m.bit_size) - 1
    whole = int.from_bytes(out, _ORDER) & ~(mask << shift) | (number & mask) << shift
    out[:] = whole.to_bytes(len(out), _ORDER)


def _names_within(btf: Btf, type_id: int, depth: int = 0) -> set[str]:
    """The names of a struct's members, those of anonymous structs included."""
    t = btf.type(btf.strip(type_id))
    names: set[str] = set()
    if t.kind not in COMPOSITES or depth > _DEPTH:
        return names
    for m in t.members:
        names |= {m.name} if m.name else _names_within(btf, m.type, depth + 1)
    return names


def text(value: Any) -> str:
    """JSON for people: `{packets: 3, comm: "bash"}`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {text(v)}" if k else text(v) for k, v in value.items()) + "}"
    if isinstance(value, list):
        if value and all(isinstance(v, int) for v in value) and len(value) > 16:
            return f"[{', '.join(map(str, value[:16]))}, … {len(value)}]"
        return f"[{', '.join(map(text, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) and not value.startswith("0x") else str(value)
