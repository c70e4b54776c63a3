"""Declared types: integers, text, arrays, enums, bit fields, pointers, and how their values lie in memory.

Each has `_size_` and `_align_` in bytes, `_zero_()` (the value that memory of zeroes holds),
`_coerce_(value)` (the value as a field keeps it), `_pack_(value)` and `_unpack_(bytes)`, and `_ir_()`, its
type in the compiler. Whatever has these can be a field.
"""

from __future__ import annotations

import struct

from .refuse import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias

    from .. import types
    from .structs import StructType

    DeclType: TypeAlias = "ScalarType | CharType | ArrayType | EnumType | PtrType | StructType"


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

    @property
    def _size_(cls) -> int:
        return cls.size

    _align_ = _size_

    def _zero_(cls) -> int:
        return cls(0)

    def _coerce_(cls, value: Any) -> int:
        return cls(value)

    def _pack_(cls, value: Any) -> bytes:
        return struct.pack("<" + cls.code, cls(value))

    def _unpack_(cls, data: bytes) -> Any:
        return struct.unpack("<" + cls.code, data)[0]

    def _ir_(cls) -> types.Type:
        from .. import types

        return types.Int(cls.bits, cls.signed)


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

    __slots__ = ("_size_", "size")
    _align_ = 1

    def __init__(self, size: int) -> None:
        self.size = self._size_ = size

    def __call__(self, value: str | bytes = "") -> str:
        return self._unpack_(self.encode(value))

    def _zero_(self) -> str:
        return ""

    _coerce_ = __call__

    def _pack_(self, value: str | bytes) -> bytes:
        return self.encode(value)

    def _unpack_(self, data: bytes) -> str:
        return data.split(b"\0", 1)[0].decode("utf-8", "replace")

    def _ir_(self) -> types.Type:
        from .. import types

        return types.Chars(self.size)

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

    if TYPE_CHECKING:  # what pyright and editors see: a field that is a str

        def __class_getitem__(cls, n: int) -> Any: ...
        def __get__(self, obj: object, owner: object = None) -> str: ...
        def __set__(self, obj: object, value: str | bytes) -> None: ...


class ArrayType:
    """`u32[4]`: a fixed number of elements of one type. Calling it gives a zeroed list of that length.

    `Annotated[list[u32], 4]` is the same to the compiler, and a list of integers to type checkers.
    """

    __slots__ = ("_align_", "_size_", "elem", "n", "size")
    _align_: int
    _size_: int
    size: int

    def __init__(self, elem: DeclType, n: int) -> None:
        if not isinstance(n, int) or isinstance(n, bool) or not 0 < n <= 1 << 20:
            raise refuse(f"{elem!r}[{n!r}]: the length is a positive integer", "write for example u32[4]")
        self.elem = elem
        self.n = n
        self.size = elem._size_ * n
        self._size_ = self.size
        self._align_ = elem._align_

    def __call__(self, *values: Any) -> FixedList:
        if len(values) == 1 and hasattr(values[0], "__iter__") and not isinstance(values[0], str):
            values = tuple(values[0])
        return FixedList(self, values)

    def _zero_(self) -> FixedList:
        return FixedList(self)

    def _coerce_(self, value: Iterable[Any]) -> FixedList:
        return FixedList(self, value)

    def _pack_(self, value: Iterable[Any]) -> bytes:
        return b"".join(map(self.elem._pack_, FixedList(self, value)))

    def _unpack_(self, data: bytes) -> FixedList:
        step = self.elem._size_
        return FixedList(self, [self.elem._unpack_(data[i * step : (i + 1) * step]) for i in range(self.n)])

    def _ir_(self) -> types.Type:
        from .. import types

        return types.Array(self.elem._ir_(), self.n)

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
        values = [type.elem._coerce_(v) for v in values]
        if len(values) > type.n:
            raise ValueError(f"{type!r} takes {type.n} elements, not {len(values)}")
        super().__init__(values + [type.elem._zero_() for _ in range(type.n - len(values))])
        self._type = type

    def __setitem__(self, i: Any, value: Any) -> None:
        if isinstance(i, slice):
            new = list(value)
            if len(range(*i.indices(len(self)))) != len(new):
                raise ValueError(f"{self._type!r} keeps its length")
            super().__setitem__(i, [self._type.elem._coerce_(v) for v in new])
        else:
            super().__setitem__(i, self._type.elem._coerce_(value))

    def _fixed(self, *args: object, **kwargs: object) -> Any:
        raise TypeError(f"{self._type!r} keeps its length")

    append = extend = insert = pop = remove = clear = __iadd__ = __imul__ = __delitem__ = _fixed


class EnumType:
    """A field whose values are members of an `IntEnum` or `IntFlag`: as wide as C makes it, 4 or 8 bytes.

    A number that is no member stays a number.
    """

    __slots__ = ("cls", "scalar")

    def __init__(self, cls: Any) -> None:
        values = [int(m) for m in cls.__members__.values()]
        low, high = min(values, default=0), max(values, default=0)
        if not -(1 << 63) <= low <= high < 1 << (63 if low < 0 else 64):
            raise refuse(f"{cls.__name__}: its members do not fit into 64 bits")
        wide = low < -(1 << 31) or high >= 1 << (31 if low < 0 else 32)
        self.cls = cls
        self.scalar: ScalarType = (i64 if low < 0 else u64) if wide else (i32 if low < 0 else u32)

    @property
    def _size_(self) -> int:
        return self.scalar.size

    _align_ = size = _size_

    def __call__(self, value: Any = 0) -> int:
        number = self.scalar(value)
        try:
            member: int = self.cls(number)
        except ValueError:
            return number
        return member

    def _zero_(self) -> int:
        return self(0)

    _coerce_ = __call__

    def _pack_(self, value: Any) -> bytes:
        return self.scalar._pack_(value)

    def _unpack_(self, data: bytes) -> int:
        return self(self.scalar._unpack_(data))

    def _ir_(self) -> types.Type:
        from .. import types

        members = tuple((name, int(m)) for name, m in self.cls.__members__.items())
        return types.EnumInt(self.cls.__name__, self.scalar.bits, self.scalar.signed, members)

    def __getitem__(self, n: int) -> ArrayType:
        return ArrayType(self, n)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EnumType) and self.cls is other.cls

    def __hash__(self) -> int:
        return hash(self.cls)

    def __repr__(self) -> str:
        name: str = self.cls.__name__
        return name


class PtrType:
    """`Ptr["task_struct"]`: an address, with the type of what is there: of the kernel, by name, or declared.

    In a program it is a pointer, read through the kernel's checks; in Python the address as a number.
    """

    __slots__ = ("to",)
    _size_ = _align_ = size = 8

    def __init__(self, to: Any) -> None:
        self.to = to

    def __call__(self, value: Any = 0) -> int:
        return int(value) & ((1 << 64) - 1)

    def _zero_(self) -> int:
        return 0

    _coerce_ = __call__

    def _pack_(self, value: Any) -> bytes:
        return u64._pack_(value)

    def _unpack_(self, data: bytes) -> Any:
        return u64._unpack_(data)

    def _ir_(self) -> types.Type:
        from .. import types

        if isinstance(self.to, str):
            union, _, name = self.to.rpartition(" ")
            to: types.Type = types.Struct(name, 0, (), union=union == "union", core=True)
        else:
            to = types.VOID if self.to is None else self.to._ir_()
        return types.Ptr(to, types.Space.KERNEL)

    def __getitem__(self, n: int) -> ArrayType:
        return ArrayType(self, n)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PtrType) and self.to == other.to

    def __hash__(self) -> int:
        return hash(("Ptr", self.to))

    def __repr__(self) -> str:
        return f"Ptr[{self.to!r}]"


class _PtrMeta(type):
    def __getitem__(cls, to: Any) -> PtrType:
        name = getattr(to, "kernel_name", None)
        if isinstance(name, str):
            return PtrType(name)
        if isinstance(to, str) or to is None:
            return PtrType(to)
        from .structs import normalise

        return PtrType(normalise(to, "Ptr"))

    def __call__(cls, *args: object, **kwargs: object) -> PtrType:
        raise refuse("Ptr needs what it points to", 'write for example Ptr["task_struct"]')


class Ptr(metaclass=_PtrMeta):
    """A pointer as a field: `task: Ptr["task_struct"]`."""

    if TYPE_CHECKING:  # what pyright and editors see

        def __class_getitem__(cls, to: Any) -> Any: ...
        def __get__(self, obj: object, owner: object = None) -> Any: ...
        def __set__(self, obj: object, value: object) -> None: ...


class BitsType:
    """`Bits[u32, 3]`: a bit field, some bits of an integer; neighbours share it as in C."""

    __slots__ = ("bits", "scalar")

    def __init__(self, scalar: ScalarType, bits: int) -> None:
        if not isinstance(bits, int) or isinstance(bits, bool) or not 0 < bits <= scalar.bits:
            raise refuse(
                f"Bits[{scalar!r}, {bits!r}]: the width is 1 to {scalar.bits} bits",
                "write for example Bits[u8, 4]",
            )
        self.scalar = scalar
        self.bits = bits

    def __call__(self, value: Any = 0) -> int:
        value = int(value) & ((1 << self.bits) - 1)
        if self.scalar.signed and value >> (self.bits - 1):
            value -= 1 << self.bits
        number: int = value
        return number

    def _zero_(self) -> int:
        return 0

    _coerce_ = __call__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BitsType) and (self.scalar, self.bits) == (other.scalar, other.bits)

    def __hash__(self) -> int:
        return hash(("Bits", self.scalar, self.bits))

    def __repr__(self) -> str:
        return f"Bits[{self.scalar!r}, {self.bits}]"


class _BitsMeta(type):
    def __getitem__(cls, of: Any) -> BitsType:
        example = "write for example Bits[u8, 4]"
        if isinstance(of, int) and not isinstance(of, bool) and 0 < of <= 64:
            of = (next(t for t in (u8, u16, u32, u64) if of <= t.bits), of)
        if not isinstance(of, tuple) or len(of) != 2:
            raise refuse("Bits takes an integer type and a number of bits", example)
        scalar = {int: i64, bool: u8}.get(of[0], of[0])
        if not isinstance(scalar, ScalarType) or scalar.bits < 8:
            raise refuse(f"Bits[{of[0]!r}, …]: bit fields are of integers", example)
        return BitsType(scalar, of[1])

    def __call__(cls, *args: object, **kwargs: object) -> BitsType:
        raise refuse("Bits needs a type and a width", "write for example Bits[u8, 4]")


class Bits(metaclass=_BitsMeta):
    """A bit field of a struct: `version: Bits[u8, 4]`. The first one takes the lowest bits.

    `Bits[4]` is of the narrowest unsigned type. In a `Header` the first one takes the highest bits.
    """

    if TYPE_CHECKING:  # what pyright and editors see: a field that is an int

        def __class_getitem__(cls, of: Any) -> Any: ...
        def __get__(self, obj: object, owner: object = None) -> int: ...
        def __set__(self, obj: object, value: int) -> None: ...


def size_of(t: DeclType) -> int:
    """Size in bytes, as C's sizeof."""
    return t._size_


def align_of(t: DeclType) -> int:
    """Alignment in bytes on 64-bit machines."""
    return t._align_


def default(t: DeclType) -> Any:
    """The zero value of a type: 0, False, "", a zeroed struct or list."""
    return t._zero_()


def coerce(t: DeclType, value: Any) -> Any:
    """`value` as a field of type `t` keeps it: integers wrap, text is cut, structs and lists are copied."""
    return t._coerce_(value)


def pack(t: DeclType, value: Any) -> bytes:
    """The value as little-endian memory of `size_of(t)` bytes."""
    return t._pack_(value)


def unpack(t: DeclType, data: bytes) -> Any:
    """The value that little-endian memory holds."""
    return t._unpack_(data)


def ir_type(t: DeclType) -> types.Type:
    """The IR type of a declared type. One struct class always gives the same object."""
    return t._ir_()
