"""Declared types: integers, text, arrays, structs, and how their values lie in memory.

They work in CPython too: integers wrap, structs hold values.
"""

from __future__ import annotations

import struct
import sys

from .refuse import refuse, user_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias

    from .. import types

    DeclType: TypeAlias = "ScalarType | CharType | ArrayType | StructType"


class ScalarType(type):
    """The class of `u8` … `i64`, fixed-width integers: `u32(x)` wraps, `u32[4]` is an array type."""

    bits: int = 0
    signed: bool = False
    size: int = 0
    code: str = ""

    def __call__(cls, value: Any = 0) -> int:
        value = int(value) & ((1 << cls.bits) - 1)
        if cls.signed and value >> (cls.bits - 1):
            value -= 1 << cls.bits
        return value if cls.bits > 1 else bool(value)

    def __getitem__(cls, n: int) -> ArrayType:
        return ArrayType(cls, n)

    def __repr__(cls) -> str:
        return cls.__name__


class u8(metaclass=ScalarType):
    """Unsigned integer of 8 bits."""

    bits, signed, size, code = 8, False, 1, "B"


class u16(metaclass=ScalarType):
    """Unsigned integer of 16 bits."""

    bits, signed, size, code = 16, False, 2, "H"


class u32(metaclass=ScalarType):
    """Unsigned integer of 32 bits."""

    bits, signed, size, code = 32, False, 4, "I"


class u64(metaclass=ScalarType):
    """Unsigned integer of 64 bits."""

    bits, signed, size, code = 64, False, 8, "Q"


class i8(metaclass=ScalarType):
    """Signed integer of 8 bits."""

    bits, signed, size, code = 8, True, 1, "b"


class i16(metaclass=ScalarType):
    """Signed integer of 16 bits."""

    bits, signed, size, code = 16, True, 2, "h"


class i32(metaclass=ScalarType):
    """Signed integer of 32 bits."""

    bits, signed, size, code = 32, True, 4, "i"


class i64(metaclass=ScalarType):
    """Signed integer of 64 bits: what a literal or `int` is."""

    bits, signed, size, code = 64, True, 8, "q"


class bool_(metaclass=ScalarType):
    """One byte that is 0 or 1: what `bool` is in a field."""

    bits, signed, size, code = 1, False, 1, "?"

    def __init_subclass__(cls) -> None:
        raise TypeError("bool_ can't be subclassed")


class CharType:
    """`Char[n]`: text of at most `n` bytes of UTF-8, ended by NUL or by the end of the field.

    Calling it gives the text as the field would hold it: cut at a NUL and at `n` bytes.
    """

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, value: str | bytes = "") -> str:
        return self.encode(value).split(b"\0", 1)[0].decode("utf-8", "replace")

    def encode(self, value: str | bytes) -> bytes:
        """The bytes of the field, NULs at the end."""
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
        return data.split(b"\0", 1)[0][: self.size].ljust(self.size, b"\0")

    def __getitem__(self, n: int) -> ArrayType:
        return ArrayType(self, n)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharType) and self.size == other.size

    def __hash__(self) -> int:
        return hash(("Char", self.size))

    def __repr__(self) -> str:
        return f"Char[{self.size}]"


class _CharMeta(type):
    def __getitem__(cls, n: int) -> CharType:
        if not isinstance(n, int) or isinstance(n, bool) or not 0 < n <= 1 << 20:
            raise refuse(f"Char[{n!r}]: the length is a number of bytes", "write for example Char[16]")
        return CharType(n)

    def __call__(cls, *args: object, **kwargs: object) -> CharType:
        raise refuse("Char needs a length", "write for example Char[16]")


class Char(metaclass=_CharMeta):
    """Text of a fixed number of bytes: `comm: Char[16]`."""


class ArrayType:
    """`u32[4]`: a fixed number of elements of one type. Calling it gives a zeroed list of that length."""

    __slots__ = ("elem", "n", "size")

    def __init__(self, elem: DeclType, n: int) -> None:
        if not isinstance(n, int) or isinstance(n, bool) or not 0 < n <= 1 << 20:
            raise refuse(f"{elem!r}[{n!r}]: the length is a positive integer", "write for example u32[4]")
        self.elem = elem
        self.n = n
        self.size: int = size_of(elem) * n

    def __call__(self, values: Iterable[Any] = ()) -> FixedList:
        return FixedList(self, values)

    def __getitem__(self, n: int) -> ArrayType:
        return ArrayType(self, n)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayType) and (self.elem, self.n) == (other.elem, other.n)

    def __hash__(self) -> int:
        return hash(("Array", self.elem, self.n))

    def __repr__(self) -> str:
        return f"{self.elem!r}[{self.n}]"


class FixedList(list):  # type: ignore[type-arg]
    """An array field's value in CPython: a list that keeps its length and wraps its elements."""

    __slots__ = ("_type",)

    def __init__(self, type: ArrayType, values: Iterable[Any] = ()) -> None:
        values = [coerce(type.elem, v) for v in values]
        if len(values) > type.n:
            raise ValueError(f"{type!r} takes {type.n} elements, not {len(values)}")
        super().__init__(values + [default(type.elem) for _ in range(type.n - len(values))])
        self._type = type

    def __setitem__(self, i: Any, value: Any) -> None:
        if isinstance(i, slice):
            new = list(value)
            if len(range(*i.indices(len(self)))) != len(new):
                raise ValueError(f"{self._type!r} keeps its length")
            super().__setitem__(i, [coerce(self._type.elem, v) for v in new])
        else:
            super().__setitem__(i, coerce(self._type.elem, value))

    def _fixed(self, *args: object, **kwargs: object) -> Any:
        raise TypeError(f"{self._type!r} keeps its length")

    append = extend = insert = pop = remove = clear = __iadd__ = __imul__ = __delitem__ = _fixed


class Field:
    """A field of a struct: `name`, `type`, `offset` and `size` in bytes. `Exec.pid` gives it."""

    __slots__ = ("name", "offset", "size", "type")

    def __init__(self, name: str, type: DeclType, offset: int) -> None:
        self.name = name
        self.type = type
        self.offset = offset
        self.size = size_of(type)

    def __get__(self, obj: Struct | None, owner: object = None) -> Any:
        if obj is None:
            return self
        return obj.__dict__[self.name]

    def __set__(self, obj: Struct, value: Any) -> None:
        obj.__dict__[self.name] = coerce(self.type, value)

    def __repr__(self) -> str:
        return f"<field {self.name}: {self.type!r} at {self.offset}>"


_RESERVED = frozenset(("_fields_", "_size_", "_align_", "_asdict"))


class StructType(type):
    """The class of `Struct`: turns annotations into fields with C's layout."""

    _fields_: tuple[Field, ...]
    _size_: int
    _align_: int

    def __new__(mcs, name: str, bases: tuple[type, ...], space: dict[str, Any], **kwargs: Any) -> StructType:
        cls = super().__new__(mcs, name, bases, space, **kwargs)
        if "_fields_" in space:  # a subclass that keeps the layout: how records are made
            return cls
        fields: list[Field] = []
        for base in bases:
            if isinstance(base, StructType):
                fields += base._fields_
        names = {f.name for f in fields}
        offset = fields[-1].offset + fields[-1].size if fields else 0
        align = max((align_of(f.type) for f in fields), default=1)
        for field, written in _annotations(cls, space).items():
            if field in _RESERVED or (field.startswith("__") and field.endswith("__")):
                raise refuse(f"{name}.{field}: this name is taken", "choose another field name")
            if not field.isascii():
                raise refuse(f"{name}.{field}: a field's name is ASCII in the kernel", "spell it in ASCII")
            if field in space:
                raise refuse(f"{name}.{field}: fields start as 0, with no other default", "drop the value")
            if field in names:
                raise refuse(f"{name}.{field}: the base struct already has this field", "rename one of them")
            type_ = normalise(written, f"{name}.{field}")
            a = align_of(type_)
            offset = (offset + a - 1) // a * a
            fields.append(f := Field(field, type_, offset))
            type.__setattr__(cls, field, f)
            offset += f.size
            align = max(align, a)
        cls._fields_ = tuple(fields)
        cls._align_ = align
        cls._size_ = (offset + align - 1) // align * align
        return cls

    def __getitem__(cls, n: int) -> ArrayType:
        return ArrayType(cls, n)

    def __repr__(cls) -> str:
        return cls.__name__


def _annotations(cls: type, space: dict[str, Any]) -> dict[str, Any]:
    """The class's own annotations, evaluated where they stand as strings."""
    if sys.version_info >= (3, 14):
        found = dict(cls.__annotations__)
    else:
        found = space.get("__annotations__", {})
    out = {}
    for name, value in found.items():
        if isinstance(value, str):
            frame = user_frame()
            try:
                value = eval(value, frame.f_globals, {**frame.f_locals, **space})
            except Exception as e:
                raise refuse(
                    f"{cls.__name__}.{name}: can't evaluate the type {value!r}: {e}",
                    "declare or import the type before the struct",
                ) from None
        out[name] = value
    return out


class Struct(metaclass=StructType):
    """Base of the user's structs: annotated fields, laid out as C does.

    In CPython an instance is a plain object: `Exec(pid=1)`, fields not given are 0 or "", `==` compares
    fields, assigned integers wrap to the field's width. It hashes by value: don't change one that is a key.
    """

    _fields_ = ()
    _size_ = 0
    _align_ = 1

    def __init__(self, **values: Any) -> None:
        for f in type(self)._fields_:
            self.__dict__[f.name] = (
                coerce(f.type, values.pop(f.name)) if f.name in values else default(f.type)
            )
        if values:
            names = ", ".join(f.name for f in type(self)._fields_)
            raise TypeError(f"{type(self).__name__} has no field {next(iter(values))!r}; it has {names}")

    def _asdict(self) -> dict[str, Any]:
        """Field names and values; nested structs as dicts."""
        out = {}
        for f in type(self)._fields_:
            value = getattr(self, f.name)
            out[f.name] = value._asdict() if isinstance(value, Struct) else value
        return out

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Struct) or type(self)._fields_ != type(other)._fields_:
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in type(self)._fields_)

    def __hash__(self) -> int:
        return hash(tuple(_hashable(getattr(self, f.name)) for f in type(self)._fields_))

    def __repr__(self) -> str:
        fields = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in type(self)._fields_)
        return f"{type(self).__name__}({fields})"


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


def normalise(written: Any, where: str) -> DeclType:
    """The declared type for what the user wrote: `int` is `i64`, `bool` one byte.

    Raises CompileError, naming `where`, for anything the language has no layout for.
    """
    if isinstance(written, (ScalarType, CharType, ArrayType)):
        return written
    if isinstance(written, StructType):
        if not written._fields_:
            raise refuse(f"{where}: struct {written.__name__} has no fields")
        return written
    if written is int:
        return i64
    if written is bool:
        return bool_
    advice = "use u8 … u64, i8 … i64, bool, Char[n], a Struct, or an array such as u32[4]"
    if written is Char or written is str or written is bytes:
        advice = "text has a fixed size here: write for example Char[16]"
    elif written is float:
        advice = "the kernel has no floating point: keep a scaled integer, for example microseconds in u64"
    shown = written.__name__ if isinstance(written, type) else repr(written)
    raise refuse(f"{where}: {shown} is not a type that programs have", advice)


def size_of(t: DeclType) -> int:
    """Size in bytes, as C's sizeof."""
    return t._size_ if isinstance(t, StructType) else t.size


def align_of(t: DeclType) -> int:
    """Alignment in bytes on 64-bit machines."""
    if isinstance(t, StructType):
        return t._align_
    if isinstance(t, ArrayType):
        return align_of(t.elem)
    return t.size if isinstance(t, ScalarType) else 1


def default(t: DeclType) -> Any:
    """The zero value of a type: 0, False, "", a zeroed struct or list."""
    if isinstance(t, ScalarType):
        return t(0)
    return "" if isinstance(t, CharType) else t()


def coerce(t: DeclType, value: Any) -> Any:
    """`value` as a field of type `t` keeps it: integers wrap, text is cut, structs and lists are copied."""
    if isinstance(t, StructType):
        if not isinstance(value, Struct) or type(value)._fields_ != t._fields_:
            raise TypeError(f"expected {t.__name__}, got {value!r}")
        return t(**{f.name: getattr(value, f.name) for f in t._fields_})
    return t(value)


def pack(t: DeclType, value: Any) -> bytes:
    """The value as little-endian memory of `size_of(t)` bytes."""
    value = coerce(t, value)
    if isinstance(t, ScalarType):
        return struct.pack("<" + t.code, value)
    if isinstance(t, CharType):
        return t.encode(value)
    if isinstance(t, ArrayType):
        return b"".join(pack(t.elem, v) for v in value)
    out = bytearray(t._size_)
    for f in t._fields_:
        out[f.offset : f.offset + f.size] = pack(f.type, getattr(value, f.name))
    return bytes(out)


def ir_type(t: DeclType) -> types.Type:
    """The IR type of a declared type. One struct class always gives the same object."""
    from .. import types

    if isinstance(t, ScalarType):
        return types.Int(t.bits, t.signed)
    if isinstance(t, CharType):
        return types.Chars(t.size)
    if isinstance(t, ArrayType):
        return types.Array(ir_type(t.elem), t.n)
    known: types.Struct | None = t.__dict__.get("_ir_")
    if known is None:
        members = tuple(types.Member(f.name, ir_type(f.type), f.offset * 8) for f in t._fields_)
        known = types.Struct(t.__name__, t._size_, members)
        type.__setattr__(t, "_ir_", known)
    return known
