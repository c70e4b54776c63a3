"""Records: structs and unions as Python values.

A record is a tuple in memory: one item for each field, as `struct` unpacked it, made at the speed of
`map(cls, Struct.iter_unpack(…))`. Integers are there as they are; text, arrays and nested structs stay bytes
until somebody reads the attribute. To the outside it is a named tuple of the decoded values: attributes,
`len`, indexes, unpacking, `==` and `hash` by value, `_fields`, `_asdict()`, `_replace(…)`. It can't be
changed.

Fields that share bytes (unions, bitfields) share one item, and each decodes its part. The members of
anonymous structs and unions are fields of the outer one, as in C.
"""

from __future__ import annotations

from ..errors import ObjectError
from .kinds import COMPOSITES, INT, UNION
from .values import Codec, TextCodec, checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, ClassVar, Self

    from typing_extensions import Buffer

    from . import BtfType
    from .values import Codecs

try:
    from _collections import _tuplegetter  # type: ignore[import-not-found]  # what namedtuple reads fields with
except ImportError:  # another Python implementation

    def _tuplegetter(slot: int, doc: str) -> property:
        return property(lambda record: _item(record, slot), doc=doc)


_MAX_FIELDS = 65_535  # BTF_MAX_VLEN
_item = tuple.__getitem__
_everything = slice(None)
_FOREIGN = ("probee.lang.decl.structs",)  # where Struct lives: its methods give way to those of Record
_KEPT = frozenset(
    ("__new__", "__init__", "__doc__", "__module__", "__qualname__", "__dict__", "__weakref__", "__slots__")
)


class Record(tuple):  # type: ignore[type-arg]
    """Base of all record classes."""

    __slots__ = ()
    _codec: ClassVar[StructCodec]
    _fields: ClassVar[tuple[str, ...]] = ()

    __init__ = object.__init__  # not that of the user's class: there is nothing left to do

    @property
    def _raw(self) -> bytes:
        """The memory of the record."""
        return self._codec._struct.pack(*_item(self, _everything))

    def _astuple(self) -> tuple[Any, ...]:
        """The values, decoded."""
        return tuple([get(self) for get in self._codec.getters])

    def _asdict(self) -> dict[str, Any]:
        """Field names and values; nested structs as dicts."""
        return dict(zip(self._fields, map(_plain, self._astuple()), strict=True))

    def _replace(self, **changes: Any) -> Self:
        """The same record with some fields changed."""
        codec = self._codec
        new: Self = type(self)(codec._struct.unpack(codec.pack(changes, self._raw)))
        return new

    def __iter__(self) -> Iterator[Any]:
        return iter(self._astuple())

    def __getitem__(self, i: Any) -> Any:
        return self._astuple()[i]

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, value: object) -> bool:
        return value in self._astuple()

    def __hash__(self) -> int:
        return hash(self._astuple())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, tuple):
            return self._astuple() == tuple(other)
        if other is None or not hasattr(other, "_fields_"):
            return NotImplemented
        names = getattr(other, "_names_", ()) or tuple([f.name for f in other._fields_])
        return names == self._fields and all(
            _same(mine, getattr(other, name)) for name, mine in zip(names, self._astuple(), strict=True)
        )

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __lt__(self, other: Any) -> bool:
        return self._astuple() < tuple(other) if isinstance(other, tuple) else NotImplemented

    def __le__(self, other: Any) -> bool:
        return self._astuple() <= tuple(other) if isinstance(other, tuple) else NotImplemented

    def __gt__(self, other: Any) -> bool:
        return self._astuple() > tuple(other) if isinstance(other, tuple) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        return self._astuple() >= tuple(other) if isinstance(other, tuple) else NotImplemented

    def __repr__(self) -> str:
        fields = ", ".join(
            [f"{name}={value!r}" for name, value in zip(self._fields, self._astuple(), strict=True)]
        )
        return f"{type(self).__name__}({fields})"

    @property
    def count(self) -> Any:  # tuple's methods: a struct without such a field has no such attribute
        raise AttributeError(f"{type(self).__name__} has no field 'count'")

    @property
    def index(self) -> Any:
        raise AttributeError(f"{type(self).__name__} has no field 'index'")


_RESERVED = frozenset(("_asdict", "_astuple", "_codec", "_fields", "_raw", "_replace"))


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value._asdict()
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(theirs, list):
        theirs = tuple(theirs)
    return bool(mine == theirs)


def _text(record: Any) -> str:
    raw: bytes = record._slot.partition(b"\0")[0]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace")


def _reading(attribute: str) -> Callable[[Any], str]:
    """`_text` with another attribute for `_slot`: the fastest way to a tuple's item from Python code."""
    code = _text.__code__
    names = tuple([attribute if name == "_slot" else name for name in code.co_names])
    function_type: Any = type(_text)
    function: Callable[[Any], str] = function_type(code.replace(co_names=names), globals())
    return function


class Field:
    """A field of a record: `codec` reads the bytes `start` to `end` of the struct.

    For a bitfield, `bits` is its width and `shift` how far its value is from the low end of these bytes.
    `slot` is the tuple's item that holds it, -1 for a field without bytes; `shared` if others use it too,
    and then `inside` is the field's offset in the item.
    """

    __slots__ = ("bits", "codec", "end", "inside", "name", "shared", "shift", "signed", "slot", "start")

    def __init__(self, name: str, start: int, end: int, codec: Codec) -> None:
        self.name = name
        self.start = start
        self.end = end
        self.codec = codec
        self.bits = self.shift = 0
        self.signed = False
        self.slot = -1
        self.shared = False
        self.inside = 0

    def getter(self, raw: str) -> Callable[[Any], Any]:
        """A function from the record to the field's value. `raw` + slot is the attribute with an item."""
        slot, codec, inside = self.slot, self.codec, self.inside
        if slot < 0:
            nothing = codec.unpack(b"")
            return lambda record: nothing
        if self.bits:
            return lambda record: self.bitfield(_item(record, slot))
        if self.shared:
            return lambda record: codec.unpack(_item(record, slot), inside)
        if codec.plain:
            return lambda record: _item(record, slot)
        if isinstance(codec, TextCodec):
            return _reading(f"{raw}{slot}")
        load = codec.load
        return lambda record: load(_item(record, slot))

    def bitfield(self, item: bytes) -> Any:
        """The value of a bitfield in the shared bytes."""
        raw = item[self.inside : self.inside + self.end - self.start]
        value = int.from_bytes(raw, "little" if self.codec.order == "<" else "big") >> self.shift
        value &= (1 << self.bits) - 1
        if self.signed and value >> self.bits - 1:
            value -= 1 << self.bits
        return bool(value) if self.codec.code == "?" else value

    def write(self, memory: bytearray, value: Any) -> None:
        """Put the field's value into the memory of the struct."""
        if not self.bits:
            memory[self.start : self.end] = self.codec.pack(value)
            return
        number = checked(value, f"{self.name}:{self.bits}", self.bits, self.signed)
        order: Any = "little" if self.codec.order == "<" else "big"
        mask = (1 << self.bits) - 1 << self.shift
        old = int.from_bytes(memory[self.start : self.end], order)
        new = old & ~mask | number << self.shift & mask
        memory[self.start : self.end] = new.to_bytes(self.end - self.start, order)


class StructCodec(Codec):
    """Structs and unions. Packing takes a record, an object with such fields, a tuple, a dict, or bytes."""

    __slots__ = ("_items", "fields", "getters", "names", "record")

    def __init__(self, name: str, size: int, order: str, fields: list[Field], base: type | None) -> None:
        super().__init__(name, size, order, f"{size}s")
        self.fields = {f.name: f for f in fields}
        if len(self.fields) != len(fields):
            twice = next(f.name for f in fields if self.fields[f.name] is not f)
            raise ObjectError(f"{name} has two fields named {twice!r}")
        self.names = tuple(self.fields)
        self._items = _arrange(fields, size)
        self._struct = self._stream(0, 0)
        raw = "_slot"
        while any(name.startswith(raw) for name in self.names):
            raw += "_"
        self.getters = [f.getter(raw) for f in fields]
        self.record: type[Record] = _record_class(self, base, raw)

    def load(self, slot: bytes) -> Record:
        record: Record = self.record(self._struct.unpack(slot))
        return record

    def unpack(self, buffer: Buffer, offset: int = 0) -> Record:
        from struct import error

        try:
            record: Record = self.record(self._struct.unpack_from(buffer, offset))
        except error:
            raise self._short(buffer, offset) from None
        return record

    def dump(self, value: Any) -> bytes:
        return self.pack(value)

    def pack(self, value: Any, start: bytes = b"") -> bytes:
        """The memory of a value. Fields that a dict leaves out keep what is in `start`, else they are 0."""
        if value.__class__ is self.record:
            return self._struct.pack(*_item(value, _everything))
        memory = bytearray(start or self.size)
        if isinstance(value, dict):
            for name, v in value.items():
                field = self.fields.get(name)
                if field is None:
                    raise TypeError(f"{self.name} has no field {name!r}; it has {', '.join(self.names)}")
                field.write(memory, v)
        elif isinstance(value, (bytes, bytearray, memoryview)):
            raw = bytes(value)
            if len(raw) != self.size:
                raise ValueError(f"{self.name} has {self.size} bytes, not {len(raw)}")
            return raw
        elif isinstance(value, (tuple, list)) and not isinstance(value, Record):
            if len(value) != len(self.names):
                raise ValueError(f"{self.name} takes {len(self.names)} values ({', '.join(self.names)})")
            for field, v in zip(self.fields.values(), value, strict=True):
                field.write(memory, v)
        elif value is None and self.name.startswith("struct bpf_"):
            pass  # a lock, a timer…: what only the kernel uses reads as None, and None leaves it alone
        else:
            for field in self.fields.values():
                try:
                    v = getattr(value, field.name)
                except AttributeError:
                    raise TypeError(f"{value!r} is not a {self.name}: it has no {field.name}") from None
                field.write(memory, v)
        return bytes(memory)

    def _format(self) -> str:
        return self._items

    def _values(self, items: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
        return map(self.record, items)

    def _dtype(self, np: Any) -> Any:
        names: list[str] = []
        formats: list[Any] = []
        offsets: list[int] = []
        for f in self.fields.values():
            if f.bits:
                continue
            if f.codec.size:
                names.append(f.name)
                formats.append(f.codec._dtype(np))
                offsets.append(f.start)
        for start, end in self.bit_runs():
            kind = f"{self.order}u" if end - start in (1, 2, 4, 8) else "V"
            names.append(f"_bits_{start}")
            formats.append(f"{kind}{end - start}")
            offsets.append(start)
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": self.size})

    def bit_runs(self) -> list[tuple[int, int]]:
        """The runs of bytes that hold bitfields: what NumPy gets as one integer, `_bits_<offset>`."""
        runs: list[tuple[int, int]] = []
        for f in sorted((f for f in self.fields.values() if f.bits), key=lambda f: f.start):
            if runs and f.start <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(runs[-1][1], f.end))
            else:
                runs.append((f.start, f.end))
        return runs


def struct_codec(codecs: Codecs, t: BtfType, order: str) -> StructCodec:
    """The codec of a struct or union. Raises ObjectError if its members do not fit it."""
    keyword = "union" if t.kind == UNION else "struct"
    fields: list[Field] = []
    _collect(codecs, t, 0, t.size * 8, order, [_MAX_FIELDS], fields)
    base = codecs.classes.get(t.name) if t.name else None
    return StructCodec(f"{keyword} {t.name}".rstrip(), t.size, order, fields, base)


def _collect(
    codecs: Codecs, t: BtfType, at: int, bits: int, order: str, left: list[int], out: list[Field]
) -> None:
    """The fields of a struct that lies `at` bits into one of `bits` bits, through anonymous members."""
    for m in t.members:
        left[0] -= 1
        if left[0] < 0:
            raise ObjectError(f"{t.name or 'a struct'} has more than {_MAX_FIELDS} members")
        start = at + m.bit_offset
        if start > bits:
            raise ObjectError(f"{t.name}.{m.name} starts outside of its struct")
        inner = codecs.btf.type(codecs.btf.strip(m.type))
        if m.name:
            out.append(_field(codecs, inner, m.name, m.type, start, m.bit_size, bits, order))
        elif inner.kind in COMPOSITES:
            if inner.size * 8 > bits or inner.id == t.id:
                raise ObjectError(f"a member of {t.name or 'a struct'} is larger than all of it")
            _collect(codecs, inner, start, bits, order, left, out)


def _field(
    codecs: Codecs, inner: BtfType, name: str, type_id: int, start: int, width: int, bits: int, order: str
) -> Field:
    codec = codecs.get(type_id)
    legacy = inner.kind == INT and (inner.bits != inner.size * 8 or inner.offset)
    if legacy and not width:  # bitfields as compilers wrote them before BTF had a place for them
        start += inner.offset
        width = inner.bits
    if not width and start % 8:
        raise ObjectError(f"{name} starts inside of a byte but is no bitfield")
    stop = start + (width or codec.size * 8)
    if stop > bits:
        raise ObjectError(f"{name} ends outside of its struct")
    field = Field(name, start // 8, (stop + 7) // 8, codec)
    if width:
        if width > codec.size * 8:
            raise ObjectError(f"{name} is a bitfield of {width} bits in {codec.name}")
        field.bits = width
        field.shift = start % 8 if order == "<" else field.end * 8 - stop
        field.signed = bool(getattr(codec, "signed", False))
    return field


def _arrange(fields: list[Field], size: int) -> str:
    """Give each field its slot; returns the `struct` format of all. Fields that share bytes share a slot."""
    groups: list[list[Field]] = []
    end = 0
    for f in sorted((f for f in fields if f.end > f.start), key=lambda f: (f.start, -f.end)):
        if groups and f.start < end:
            groups[-1].append(f)
        else:
            groups.append([f])
        end = max(end, f.end)
    codes: list[str] = []
    at = 0
    for slot, group in enumerate(groups):
        start, stop = group[0].start, max(f.end for f in group)
        alone = len(group) == 1 and not group[0].bits
        for f in group:
            f.slot, f.shared, f.inside = slot, not alone, f.start - start
        if start > at:
            codes.append(f"{start - at}x")
        codes.append(group[0].codec.code if alone else f"{stop - start}s")
        at = stop
    if size > at:
        codes.append(f"{size - at}x")
    return "".join(codes)


def _record_class(codec: StructCodec, base: type | None, raw: str) -> Any:
    """The class of a struct's records, deriving from the user's class if it has the same fields."""
    space: dict[str, Any] = {"__slots__": (), "_codec": codec, "_fields": codec.names}
    name = codec.name.rpartition(" ")[2]
    bases: tuple[type, ...] = (Record,)
    names = getattr(base, "_names_", ()) or tuple([f.name for f in getattr(base, "_fields_", ())])
    if base is not None and names == codec.names:
        name, bases = base.__name__, (Record, base)
        space["_fields_"] = base._fields_  # type: ignore[attr-defined]
        space["__module__"], space["__qualname__"] = base.__module__, base.__qualname__
        space["__doc__"] = base.__doc__
        for cls in reversed(base.__mro__):
            if cls is object or cls.__module__ in _FOREIGN:
                continue
            for word, value in vars(cls).items():  # what the user defined goes before what a tuple has
                if word not in _KEPT and (word in Record.__dict__ or word in tuple.__dict__):
                    space[word] = value
    for f, get in zip(codec.fields.values(), codec.getters, strict=True):
        word = f.name
        if word in _RESERVED or (word.startswith("__") and word.endswith("__")):
            continue  # reached through _asdict()
        alone = f.slot >= 0 and not f.shared and f.codec.plain
        if isinstance(f.codec, TextCodec) and f.slot >= 0 and not f.shared:
            space[f"{raw}{f.slot}"] = _tuplegetter(f.slot, "")
        space[word] = _tuplegetter(f.slot, f.codec.name) if alone else property(get, doc=f.codec.name)
    return type(bases[-1])(name if name.isidentifier() else "record", bases, space)
