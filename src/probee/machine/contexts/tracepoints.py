"""The record of a tracepoint, laid out by its format: fields by name, text and arrays behind the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ProbeeError
from ...sys.tracefs import Field
from .registers import number

_COMMON = 8  # bytes of the fields that all records begin with (struct trace_entry)


def record(
    name: str, fields: list[Field], values: Mapping[str, Any], *, pid: int = 0, text: Any = None
) -> bytes:
    """The bytes of a record. `values` are by field name; those that are missing are zero.

    A value may be a number, an object (for a pointer), text, bytes, or a sequence for an array. Text for a
    field that is a pointer goes through `text`, which gives its address. Raises ProbeeError for fields that
    do not exist and values that do not fit.
    """
    known = {f.name: f for f in fields if not f.name.startswith("common_")}
    for field in values:
        if field not in known:
            raise _unknown(name, field, known)
    size = max((f.offset + f.size for f in known.values()), default=_COMMON)
    out = bytearray(size)
    out[4:8] = (pid & 0xFFFFFFFF).to_bytes(4, "little")
    for field, f in known.items():
        dynamic = f.data_loc or f.type.startswith("__rel_loc ")
        if field not in values and not dynamic:
            continue
        value = values.get(field, b"")
        if dynamic:
            data = _array(
                value, _elem_size(f), f"{name}.{field}", text=f.type.partition("[")[0].endswith("char")
            )
            start = len(out) - (f.offset + 4 if not f.data_loc else 0)
            out[f.offset : f.offset + 4] = (start | len(data) << 16).to_bytes(4, "little")
            out += data
        elif "[" in f.type:
            data = _array(
                value, _elem_size(f), f"{name}.{field}", text=f.type.startswith(("char", "const char"))
            )
            if len(data) > f.size and data[f.size - 1 :] != b"\0":
                raise ProbeeError(f"{name}.{field} has room for {f.size} bytes, not {len(data)}")
            out[f.offset : f.offset + f.size] = data[: f.size].ljust(f.size, b"\0")
        else:
            if isinstance(value, (str, bytes)) and text is not None and f.type.rstrip().endswith("*"):
                value = text(value)
            elif isinstance(value, (bytes, bytearray)) and len(value) == f.size:
                value = int.from_bytes(value, "little")
            out[f.offset : f.offset + f.size] = _int(value, f, f"{name}.{field}")
    return bytes(out)


def _int(value: Any, f: Field, what: str) -> bytes:
    try:
        n = number(value)
    except TypeError as e:
        raise ProbeeError(f"{what}: {e}") from None
    bits = 8 * f.size
    if not -(1 << bits - 1) <= n < 1 << bits:
        raise ProbeeError(f"{what}: {n} does not fit {f.size} bytes")
    return (n & (1 << bits) - 1).to_bytes(f.size, "little")


def _elem_size(f: Field) -> int:
    head, _, dimension = f.type.removeprefix("__rel_loc ").partition("[")
    count = dimension.rstrip("]")
    if count.isdecimal() and int(count):
        return max(1, f.size // int(count))
    word = head.strip().removeprefix("const ").removeprefix("unsigned ")
    sizes = {"char": 1, "u8": 1, "__u8": 1, "u16": 2, "__u16": 2, "short": 2, "u32": 4, "__u32": 4, "int": 4}
    return sizes.get(word, 8)


def _array(value: Any, size: int, what: str, *, text: bool) -> bytes:
    if isinstance(value, str):
        return value.encode() + b"\0"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value) + (b"\0" if text and not bytes(value).endswith(b"\0") else b"")
    try:
        return b"".join((int(v) & (1 << 8 * size) - 1).to_bytes(size, "little") for v in value)
    except TypeError:
        raise ProbeeError(f"{what} is an array: give text, bytes or numbers, not {value!r}") from None


def _unknown(name: str, field: str, known: Mapping[str, Field]) -> ProbeeError:
    from difflib import get_close_matches

    near = get_close_matches(field, known, 2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known) or 'none'}"
    return ProbeeError(f"{name} has no field {field!r}; {hint}")
