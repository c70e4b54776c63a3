"""Codecs between memory laid out by a BTF type and Python values, and the NumPy dtypes of the same memory.

| BTF type | Python value | NumPy dtype |
|---|---|---|
| int, enum, enum64, pointer | int | integer of the same width |
| _Bool | bool | bool |
| float, double | float | float32, float64 |
| array of `char` | str: up to the first NUL, UTF-8, undecodable bytes as U+FFFD | bytes, `S<n>` |
| array of unsigned bytes | bytes | uint8, shape (n,) |
| other arrays | tuple | subarray |
| struct, union | record, see `records` | structured |

A codec is made once for a type and then used for any number of values. Packing checks: an integer that does
not fit raises OverflowError, text that is too long ValueError, a value of another kind TypeError. Unpacking
from too few bytes raises ObjectError, as does making a codec from BTF that contradicts itself.
"""

from __future__ import annotations

from _operator import index, itemgetter
from struct import Struct
from struct import error as struct_error

from ..errors import ObjectError
from .kinds import ARRAY, COMPOSITES, ENUMS, FLOAT, INT, INT_BOOL, INT_SIGNED, PTR, VAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    import numpy as np
    from typing_extensions import Buffer

    from . import Btf

_MAX_DEPTH = 32  # nesting of values; the kernel's BTF resolver stops at 32 as well
_MAX_STREAMS = 64

_UNSIGNED_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SIGNED_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
_first = itemgetter(0)


class Codec:
    """Converts between `size` bytes of memory and one Python value.

    In memory a value is one item of a `struct` format, its **slot**: `code` is the format of it, `load` turns
    the unpacked item into the value and `dump` the value into the item. `plain` says that both leave it as it
    is.
    """

    __slots__ = ("_streams", "_struct", "code", "name", "order", "plain", "size")

    def __init__(self, name: str, size: int, order: str, code: str, *, plain: bool = False) -> None:
        self.name = name
        self.size = size
        self.order = order  # "<" or ">", as `struct` and NumPy write it
        self.code = code
        self.plain = plain
        self._struct = Struct(order + code)
        self._streams: dict[tuple[int, int], Struct] = {}

    def load(self, slot: Any) -> Any:
        """The value of an unpacked slot."""
        return slot

    def dump(self, value: Any) -> Any:
        """The slot to pack for a value."""
        return value

    def unpack(self, buffer: Buffer, offset: int = 0) -> Any:
        """The value at `offset` bytes into `buffer`. Raises ObjectError if the buffer ends before it."""
        try:
            return self.load(self._struct.unpack_from(buffer, offset)[0])
        except struct_error:
            raise self._short(buffer, offset) from None

    def pack(self, value: Any) -> bytes:
        """The memory of a value, `size` bytes."""
        try:
            return self._struct.pack(self.dump(value))
        except struct_error:
            raise TypeError(f"{value!r} is not a value of type {self.name}") from None

    def stream(self, buffer: Buffer, lead: int = 0, tail: int = 0) -> Iterator[Any]:
        """The values of a buffer full of items of `lead` bytes to skip, a value, and `tail` bytes to skip.

        Raises ObjectError if the buffer is not a whole number of items.
        """
        try:
            items = self._stream(lead, tail).iter_unpack(buffer)
        except struct_error:
            item = lead + self.size + tail
            size = memoryview(buffer).nbytes
            raise ObjectError(f"{size} bytes are no whole number of {self.name} of {item} bytes") from None
        return self._values(items)

    def unpack_many(self, buffer: Buffer, count: int, offset: int = 0, stride: int = 0) -> list[Any]:
        """`count` values, each `stride` bytes after the one before (0: `size`), the first at `offset`."""
        stride = stride or self.size
        if not stride:
            return [self.load(self._struct.unpack(b"")[0]) for _ in range(count)]
        view = memoryview(buffer).cast("B")
        if offset < 0 or stride < self.size or count < 0 or offset + count * stride > view.nbytes:
            raise ObjectError(f"{view.nbytes} bytes do not hold {count} values of type {self.name}")
        return list(self.stream(view[offset : offset + count * stride], 0, stride - self.size))

    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the same memory. Raises ObjectError for a type that NumPy can't hold."""
        import numpy as np

        try:
            dtype: np.dtype[Any] = self._dtype(np)
            return dtype
        except (ValueError, TypeError, OverflowError, MemoryError) as e:
            raise ObjectError(f"{self.name} has no NumPy dtype: {e}") from e

    def _dtype(self, np: Any) -> Any:
        return np.dtype(self.order + self._kind() + str(self.size))

    def _kind(self) -> str:
        raise NotImplementedError

    def _format(self) -> str:
        return self.code

    def _values(self, items: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
        slots = map(_first, items)
        return slots if self.plain else map(self.load, slots)

    def _stream(self, lead: int, tail: int) -> Struct:
        found = self._streams.get((lead, tail))
        if found is None:
            if len(self._streams) >= _MAX_STREAMS:  # records of ever new lengths
                self._streams.clear()
            found = Struct(f"{self.order}{lead}x{self._format()}{tail}x")
            self._streams[lead, tail] = found
        return found

    def _short(self, buffer: Buffer, offset: int) -> ObjectError:
        size = memoryview(buffer).nbytes
        return ObjectError(f"{self.name} takes {self.size} bytes at offset {offset}, the buffer has {size}")

    def __repr__(self) -> str:
        return f"<codec of {self.name}, {self.size} bytes>"


class IntCodec(Codec):
    """Integers of 1, 2, 4 or 8 bytes, enums and pointers."""

    __slots__ = ("signed",)

    def __init__(self, name: str, size: int, order: str, signed: bool) -> None:
        super().__init__(name, size, order, (_SIGNED_CODES if signed else _UNSIGNED_CODES)[size], plain=True)
        self.signed = signed

    def pack(self, value: Any) -> bytes:
        try:
            return self._struct.pack(value)
        except struct_error:
            self.dump(value)
            raise

    def dump(self, value: Any) -> int:
        return checked(value, self.name, self.size * 8, self.signed)

    def _kind(self) -> str:
        return "i" if self.signed else "u"


class WideCodec(Codec):
    """Integers of any other size, such as __int128. NumPy sees their bytes."""

    __slots__ = ("signed",)

    def __init__(self, name: str, size: int, order: str, signed: bool) -> None:
        super().__init__(name, size, order, f"{size}s")
        self.signed = signed

    def load(self, slot: bytes) -> int:
        return int.from_bytes(slot, byteorder(self.order), signed=self.signed)

    def dump(self, value: Any) -> bytes:
        number = checked(value, self.name, self.size * 8, self.signed)
        return number.to_bytes(self.size, byteorder(self.order), signed=self.signed)

    def _dtype(self, np: Any) -> Any:
        return np.dtype(f"V{self.size}")


class BoolCodec(Codec):
    __slots__ = ()

    def __init__(self, name: str, order: str) -> None:
        super().__init__(name, 1, order, "?", plain=True)

    def dump(self, value: Any) -> bool:
        if value is True or value is False:
            return value
        if checked(value, self.name, 64, True) not in (0, 1):
            raise OverflowError(f"{value} does not fit {self.name} (False or True)")
        return bool(value)

    def _dtype(self, np: Any) -> Any:
        return np.dtype("?")


class FloatCodec(Codec):
    __slots__ = ()

    def __init__(self, name: str, size: int, order: str) -> None:
        super().__init__(name, size, order, {2: "e", 4: "f", 8: "d"}[size], plain=True)

    def pack(self, value: Any) -> bytes:
        try:
            return self._struct.pack(value)
        except struct_error:
            raise TypeError(f"{value!r} is not a value of type {self.name}") from None

    def dump(self, value: Any) -> float:
        try:
            self._struct.pack(value)
        except struct_error:
            raise TypeError(f"{value!r} is not a value of type {self.name}") from None
        number: float = value
        return number

    def _kind(self) -> str:
        return "f"


def text(slot: bytes) -> str:
    """What a `char` array says: up to the first NUL, as UTF-8."""
    raw = slot.partition(b"\0")[0]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace")


class TextCodec(Codec):
    """`char` arrays. Packing takes str, encoded as file names are (UTF-8, surrogateescape), or bytes."""

    __slots__ = ()

    def __init__(self, name: str, size: int, order: str) -> None:
        super().__init__(name, size, order, f"{size}s")

    def load(self, slot: bytes) -> str:
        return text(slot)

    def dump(self, value: Any) -> bytes:
        return sized(value, self.name, self.size)

    def _values(self, items: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
        return map(text, map(_first, items))

    def _dtype(self, np: Any) -> Any:
        return np.dtype(f"S{self.size}")


class BytesCodec(Codec):
    """Arrays of unsigned bytes. Packing takes bytes or numbers, and fills up with zeros."""

    __slots__ = ()

    def __init__(self, name: str, size: int, order: str) -> None:
        super().__init__(name, size, order, f"{size}s", plain=True)

    def dump(self, value: Any) -> bytes:
        if isinstance(value, (list, tuple)):
            value = bytes([checked(v, "unsigned char", 8, False) for v in value])
        return sized(value, self.name, self.size)

    def _dtype(self, np: Any) -> Any:
        return np.dtype((np.uint8, (self.size,)))


class ArrayCodec(Codec):
    """Arrays of anything else. Packing takes any iterable of at most `n` values and fills up with zeros."""

    __slots__ = ("elem", "n")

    def __init__(self, elem: Codec, n: int) -> None:
        super().__init__(f"{elem.name}[{n}]", elem.size * n, elem.order, f"{elem.size * n}s")
        self.elem = elem
        self.n = n

    def load(self, slot: bytes) -> tuple[Any, ...]:
        return tuple(self.elem.stream(slot)) if self.elem.size else ()

    def dump(self, value: Any) -> bytes:
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            raise TypeError(f"{value!r} is not a value of type {self.name}")
        values = list(value)
        if len(values) > self.n:
            raise ValueError(f"{self.name} takes {self.n} values, not {len(values)}")
        return b"".join(map(self.elem.pack, values))

    def _dtype(self, np: Any) -> Any:
        return np.dtype((self.elem._dtype(np), (self.n,)))


def checked(value: Any, name: str, bits: int, signed: bool) -> int:
    """`value` as an int if it fits; raises TypeError or OverflowError."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{value!r} is not a value of type {name}") from None
    low, high = (-1 << bits - 1, (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= number <= high:
        raise OverflowError(f"{number} does not fit {name} ({low} to {high})")
    return number


def sized(value: Any, name: str, size: int) -> bytes:
    """`value`, str or bytes, as at most `size` bytes; raises TypeError or ValueError."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    elif not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{value!r} is not a value of type {name}")
    raw = bytes(value)
    if len(raw) > size:
        raise ValueError(f"{len(raw)} bytes do not fit {name}: {raw!r}")
    return raw


def byteorder(order: str) -> Any:
    """`"little"` or `"big"` for `"<"` or `">"`."""
    return "little" if order == "<" else "big"


class Codecs:
    """The codecs of one BTF: one for each type, so that a struct has one record class wherever it is met.

    `classes` gives Python classes by struct name; the record class of such a struct derives from it.
    """

    __slots__ = ("_depth", "_made", "btf", "classes")

    def __init__(self, btf: Btf, classes: Mapping[str, type] | None = None) -> None:
        self.btf = btf
        self.classes: Mapping[str, type] = classes or {}
        self._made: dict[int, Codec] = {}
        self._depth = 0

    def get(self, type_id: int) -> Codec:
        """The codec of a type. Raises ObjectError if it has no values (void, functions) or is broken."""
        try:
            type_id = self.btf.strip(type_id)
            found = self._made.get(type_id)
            if found is None:
                if self._depth >= _MAX_DEPTH:
                    raise ObjectError(f"BTF type {type_id} is nested more than {_MAX_DEPTH} deep")
                self._depth += 1
                try:
                    found = self._made[type_id] = self._make(type_id)
                finally:
                    self._depth -= 1
            return found
        except (struct_error, OverflowError, MemoryError) as e:  # sizes that no machine has
            raise ObjectError(f"BTF type {type_id} can't be laid out: {e}") from e

    def _make(self, type_id: int) -> Codec:
        btf = self.btf
        order = "<" if btf.endian == "little" else ">"
        t = btf.type(type_id)
        kind, size = t.kind, t.size
        if kind == VAR:
            return self.get(t.type)
        if kind == INT:
            signed = bool(t.encoding & INT_SIGNED)
            if t.encoding & INT_BOOL and size == 1:
                return BoolCodec(t.name, order)
            return integer(t.name, size, order, signed)
        if kind == PTR:
            return IntCodec("pointer", btf.ptr_size, order, False)
        if kind in ENUMS:
            return integer(f"enum {t.name}".rstrip(), size, order, bool(t.kflag))
        if kind == FLOAT:
            if size not in (2, 4, 8):
                raise ObjectError(f"{t.name}: floating point of {size} bytes has no Python value")
            return FloatCodec(t.name, size, order)
        if kind == ARRAY:
            return self._array(*t.array[::2], order)
        if kind in COMPOSITES:
            from .records import struct_codec

            return struct_codec(self, t, order)
        raise ObjectError(f"BTF type {type_id} ({t.name or 'void'}) has no values")

    def _array(self, elem_id: int, n: int, order: str) -> Codec:
        elem = self.btf.type(self.btf.strip(elem_id))
        if elem.kind == INT and elem.size == 1:
            if elem.name == "char":
                return TextCodec(f"char[{n}]", n, order)
            if not elem.encoding & (INT_SIGNED | INT_BOOL):
                return BytesCodec(f"{elem.name}[{n}]", n, order)
        return ArrayCodec(self.get(elem_id), n)


def integer(name: str, size: int, order: str, signed: bool) -> Codec:
    """The codec of an integer of `size` bytes."""
    if size in _SIGNED_CODES:
        return IntCodec(name, size, order, signed)
    if not 0 < size <= 64:
        raise ObjectError(f"{name}: an integer of {size} bytes")
    return WideCodec(name, size, order, signed)


def codec(btf: Btf, type_id: int, classes: Mapping[str, type] | None = None) -> Codec:
    """The codec of one BTF type; see `Codecs` for what `classes` does and which errors there are."""
    return Codecs(btf, classes).get(type_id)
