"""Headers of protocols: structs as they are on the wire, packed and in network byte order.

    class Sample(bp.Header):
        version: bp.Bits[4]
        kind: bp.Bits[4]
        port: u16
        address: u32

In CPython a header is a value with `bytes(h)` and `Sample.parse(data)`: what tests make packets with.
"""

from __future__ import annotations

from ..decl.refuse import refuse
from ..decl.structs import Field, Struct, StructType, _annotations, bits_of, normalise
from ..decl.types import ArrayType, BitsType, ScalarType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from .. import types

    H = TypeVar("H", bound="Header")


class HeaderField(Field):
    """A field on the wire: it starts `start` bits into the header, `width` bits wide, highest bit first."""

    __slots__ = ("little", "start", "width")

    def __init__(self, name: str, type: Any, start: int, little: bool) -> None:
        super().__init__(name, type, start // 8, start % 8)
        self.start = start
        self.width: int = type.bits if isinstance(type, BitsType) else type._size_ * 8
        self.little = little

    def pack_into(self, out: bytearray, value: Any) -> None:
        if isinstance(self.type, BitsType):
            number, size = int.from_bytes(out, "big"), len(out)
            low = size * 8 - self.start - self.width
            mask = ((1 << self.width) - 1) << low
            number = number & ~mask | int(value) << low & mask
            out[:] = number.to_bytes(size, "big")
        else:
            out[self.offset : self.offset + self.size] = _swapped(
                self.type, self.type._pack_(value), self.little
            )

    def unpack_from(self, data: bytes) -> Any:
        if isinstance(self.type, BitsType):
            low = len(data) * 8 - self.start - self.width
            return self.type(int.from_bytes(data, "big") >> low)
        place = data[self.offset : self.offset + self.size]
        return self.type._unpack_(_swapped(self.type, place, self.little))


def _swapped(of: Any, data: bytes, little: bool) -> bytes:
    """Memory in the host's order as it is on the wire, or the other way round."""
    if little or isinstance(of, HeaderType):
        return data
    if isinstance(of, ArrayType):
        step = of.elem._size_
        return b"".join(_swapped(of.elem, data[i : i + step], little) for i in range(0, len(data), step))
    return data[::-1] if isinstance(of, ScalarType) else data


class HeaderType(StructType):
    """The class of `Header`: lays fields out as they are on the wire."""

    _fields_: tuple[HeaderField, ...]
    _length_: str
    _little_: bool

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        space: dict[str, Any],
        *,
        length: str = "",
        order: str = "big",
    ) -> HeaderType:
        if order not in ("big", "little"):
            raise refuse(f'{name}: the order is "big" or "little", not {order!r}')
        little = order == "little"
        cls: Any = type.__new__(mcs, name, bases, space)
        fields: list[HeaderField] = []
        at = 0
        for base in bases:
            if isinstance(base, HeaderType) and base._fields_:
                fields += base._fields_
                at = base._size_ * 8
        for field, written in _annotations(cls, space).items():
            where = f"{name}.{field}"
            if field in space:
                raise refuse(f"{where}: fields start as 0, with no other default", "drop the value")
            if any(f.name == field for f in fields) or field.startswith("_"):
                raise refuse(f"{where}: this name is taken", "choose another field name")
            kind: Any = bits_of(written) or normalise(written, where)
            if not isinstance(kind, BitsType) and at % 8:
                raise refuse(
                    f"{where} starts {at % 8} bits into a byte",
                    "fill the byte with a field of Bits[n] before it",
                )
            _check(kind, where, little)
            fields.append(f := HeaderField(field, kind, at, little))
            type.__setattr__(cls, field, f)
            at += f.width
        if at % 8:
            raise refuse(f"{name} has {at} bits, which are no whole bytes", "fill the last byte with Bits[n]")
        cls._fields_ = tuple(fields)
        cls._names_ = tuple(f.name for f in fields)
        type.__setattr__(cls, "__match_args__", cls._names_)
        cls._through_ = {}
        cls._size_ = at // 8
        cls._align_ = 1
        cls._union_ = cls._core_ = False
        cls._packed_ = True
        cls._little_ = little
        cls._length_ = length or next((b._length_ for b in bases if isinstance(b, HeaderType)), "")
        cls._key_ = f"{order} {cls._length_} {[(f.start, f.width) for f in fields]}"  # for the cache
        return cls  # type: ignore[no-any-return]

    def _ir_(cls) -> types.Type:
        from ..types import Member, NetInt
        from .wire import HeaderStruct

        known: types.Struct | None = cls.__dict__.get("_ir_type_")
        if known is None:
            members = []
            for f in cls._fields_:
                if isinstance(f.type, BitsType):
                    last = f.start + f.width
                    unit, at = _word(f.start // 8, (last - 1) // 8, cls._size_)
                    net = NetInt(f.width, unit * 8, -1, (at + unit) * 8 - last)
                    members.append(Member(f.name, net, at * 8))
                else:
                    members.append(Member(f.name, _wire_type(f.type._ir_(), cls._little_), f.offset * 8))
            known = HeaderStruct(cls, tuple(members))
            type.__setattr__(cls, "_ir_type_", known)
        return known


def _wire_type(t: types.Type, little: bool) -> types.Type:
    from ..types import Array, Int, NetInt

    if isinstance(t, Array):
        return Array(_wire_type(t.elem, little), t.n)
    if type(t) is Int and t.bits > 8 and not little:
        return NetInt(t.bits)
    return t


def _check(kind: Any, where: str, little: bool) -> None:
    """Refuse what has no meaning on the wire."""
    if isinstance(kind, BitsType):
        if little:
            raise refuse(f"{where}: bit fields are in big-endian headers only", "use u8 and shift")
        if kind.bits > 57:
            raise refuse(f"{where}: a bit field of a header has at most 57 bits", "use u64")
    elif isinstance(kind, ArrayType):
        _check(kind.elem, where, little)
    elif isinstance(kind, ScalarType):
        if kind.signed and kind.size > 1 and not little:
            raise refuse(f"{where}: numbers in network byte order are unsigned", f"write u{kind.bits}")
    elif isinstance(kind, StructType) and not isinstance(kind, HeaderType):
        raise refuse(
            f"{where}: a header holds headers, not the struct {kind.__name__}", "derive it from Header"
        )


def _word(first: int, last: int, size: int) -> tuple[int, int]:
    """The word that bytes `first` to `last` of a header lie in: its size and offset in bytes."""
    unit = 1
    while unit < last - first + 1:
        unit *= 2
    at = first // unit * unit
    if at + unit <= last:
        at = first
    return unit, max(0, min(at, size - unit))


class Header(Struct, metaclass=HeaderType):
    """Base of headers: annotated fields in the order of the wire, packed, in network byte order.

    `length="ihl * 4"` tells the whole length in bytes by the header's own fields, when it is not fixed;
    `order="little"` is for the few protocols that are. In CPython an instance is a plain object.
    """

    _fields_ = ()
    _size_ = 0
    _align_ = 1

    def __bytes__(self) -> bytes:
        return self._packed()

    @classmethod
    def parse(cls: type[H], data: bytes | bytearray | memoryview, offset: int = 0) -> H:
        """The header that is at `offset` of some bytes. ValueError: there are too few of them."""
        part = bytes(data[offset : offset + cls._size_])
        if len(part) < cls._size_:
            raise ValueError(f"{cls.__name__} has {cls._size_} bytes, and there are {len(part)}")
        new: H = cls._of(part)
        return new

    @property
    def header_length(self) -> int:
        """The whole length in bytes, with options."""
        kind = type(self)
        if not kind._length_:
            return kind._size_
        values = {f.name: getattr(self, f.name) for f in kind._fields_}
        return int(eval(kind._length_, {"__builtins__": {}}, values))
