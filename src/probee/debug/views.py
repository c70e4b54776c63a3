"""What variables hold, as Python objects: numbers, text, and views of structs, arrays and pointers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from ..errors import ProbeeError
from ..obj.dwarf import Field, Place, Type

_MOST = 64  # elements of an array that are shown
_LONGEST = 4096  # characters of text behind a pointer
_FEW = 16  # members of a struct that is shown with all of them


class Gone(ProbeeError):
    """The compiler kept this variable nowhere at this place."""


class Reader:
    """Where views read: `read` gives bytes of memory or raises a ProbeeError; `whole` finds the kernel's own
    type for one of which only a part is known. `plain`: the program is Python, and has references instead of
    pointers.
    """

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        whole: Callable[[int, Type], Type],
        *,
        plain: bool,
    ) -> None:
        self.read = read
        self.whole = whole
        self.plain = plain


class Enum(int):
    """A number with a name."""

    name: str

    def __new__(cls, value: int, name: str) -> Enum:
        made = super().__new__(cls, value)
        made.name = name
        return made

    def __repr__(self) -> str:
        return f"{self.name} ({int(self)})" if self.name else str(int(self))


class View:
    """Something in memory: `int()` is its address."""

    def __init__(self, reader: Reader, address: int, type: Type) -> None:
        self._v_reader = reader
        self._v_address = address
        self._v_type = type

    def __index__(self) -> int:
        return self._v_address

    __int__ = __index__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (View, int)):
            return self._v_address == int(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._v_address)


class Struct(View):
    """A struct or union; its members are attributes."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_v_") or (name.startswith("__") and name.endswith("__")):
            return super().__getattribute__(name)
        found = self._v_type.field(name)
        if found is None:
            known = list(_names(self._v_type))
            if len(known) > _FEW:
                known = get_close_matches(name, known, 8, 0.3) or [n for n in known if name in n][:8]
            raise ProbeeError(
                f"{self._v_type} has no member {name!r}; it has {', '.join(known) or 'none like it'}"
            )
        return self._v_member(found)

    def _v_member(self, field: Field) -> Any:
        """The value of a member."""
        if not field.bits:
            return load(self._v_reader, self._v_address + field.offset // 8, field.type)
        first, last = field.offset // 8, (field.offset + field.bits + 7) // 8
        data = self._v_reader.read(self._v_address + first, last - first)
        shift, order = field.offset % 8, "little"
        if field.type.big:  # bits count from the highest
            shift, order = 8 * last - field.offset - field.bits, "big"
        value = int.from_bytes(data, order) >> shift & ((1 << field.bits) - 1)  # type: ignore[arg-type]
        if field.type.signed and value >> (field.bits - 1):
            value -= 1 << field.bits
        return bool(value) if field.type.kind == "bool" else value

    def __dir__(self) -> list[str]:
        return list(_names(self._v_type))

    def _v_members(self) -> Iterator[tuple[str, Any]]:
        """Names and values, those of anonymous members among them."""
        for field in self._v_type.fields:
            if field.name:
                yield field.name, self._v_member(field)
            elif field.type.kind in ("struct", "union"):
                yield from Struct(
                    self._v_reader, self._v_address + field.offset // 8, field.type
                )._v_members()

    def __repr__(self) -> str:
        return _braces(self, 3)


class Array(View, Sequence[Any]):
    """An array; a part of it is a list."""

    def __len__(self) -> int:
        return self._v_type.count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise ProbeeError(f"element {index} of {len(self)}")
        return load(self._v_reader, self._v_address + at * self._v_type.to.size, self._v_type.to)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (list, tuple)):
            return list(self) == list(other)
        return super().__eq__(other)

    __hash__ = View.__hash__

    def __repr__(self) -> str:
        return _braces(self, 3)


class Pointer(int):
    """An address; `p[0]` is what is there, `p.member` a member of the struct that is."""

    _v_reader: Reader
    _v_type: Type

    def __new__(cls, reader: Reader, address: int, type: Type) -> Pointer:
        made = super().__new__(cls, address)
        made._v_reader = reader
        made._v_type = type
        return made

    def __getitem__(self, index: int) -> Any:
        to = self._v_reader.whole(int(self), self._v_type.to)
        if not to.size:
            raise ProbeeError(f"a {self._v_type} doesn't say what it points to; `x ADDRESS` shows bytes")
        return load(self._v_reader, int(self) + index * to.size, to)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_v_") or (name.startswith("__") and name.endswith("__")):
            return super().__getattribute__(name)
        if self._v_type.to.kind not in ("struct", "union"):
            raise ProbeeError(f"a {self._v_type} has no members")
        if not self:
            raise ProbeeError(f"this {self._v_type} is NULL")
        return getattr(self[0], name)

    def __dir__(self) -> list[str]:
        return list(_names(self._v_type.to))

    def __repr__(self) -> str:
        if not self:
            return f"({self._v_type}) NULL"
        text = ""
        if self._v_type.to.kind == "char":
            try:
                text = f" {self._v_text()!r}"
            except ProbeeError:
                text = ""
        return f"({self._v_type}) {int(self):#x}{text}"

    def _v_text(self) -> str:
        """The text behind a `char *`."""
        out = bytearray()
        while len(out) < _LONGEST:
            byte = self._v_reader.read(int(self) + len(out), 1)
            if byte == b"\0":
                break
            out += byte
        return out.decode("utf-8", "replace")


def _names(type: Type) -> Iterator[str]:
    for field in type.fields:
        if field.name:
            yield field.name
        else:
            yield from _names(field.type)


def load(reader: Reader, address: int, type: Type) -> Any:
    """What is at an address."""
    if type.kind in ("struct", "union"):
        return Struct(reader, address, reader.whole(address, type))
    if type.kind == "array" and type.to.kind != "char":
        return Array(reader, address, type)
    if not type.size:
        return Pointer(reader, address, _pointer_to(type))
    return decode(reader, reader.read(address, type.size), type)


def decode(reader: Reader, data: bytes, type: Type) -> Any:
    """What bytes mean."""
    if type.kind == "array" and type.to.kind == "char":
        return data.split(b"\0")[0].decode("utf-8", "replace")
    value = int.from_bytes(data[: type.size], "big" if type.big else "little")
    if type.kind == "pointer":
        return _pointer(reader, value, type)
    if type.kind == "bool":
        return bool(value)
    if type.kind == "enum":
        name = type.names.get(value, "")
        return Enum(
            value - (1 << 8 * type.size)
            if type.signed and not name and value >> 8 * type.size - 1
            else value,
            name,
        )
    if type.signed and type.size and value >> (8 * type.size - 1):
        value -= 1 << 8 * type.size
    return value


def _pointer(reader: Reader, value: int, type: Type) -> Any:
    if reader.plain and type.to.kind in ("struct", "union", "array"):
        return load(reader, value, type.to) if value else None
    return Pointer(reader, value, type)


def _pointer_to(type: Type) -> Type:
    made = Type("pointer", "", 8)
    made._to = type
    return made


def value(reader: Reader, places: list[Place], type: Type, register: Callable[[int], int]) -> Any:
    """What a variable holds. Raises Gone if it is, or a part of it is, nowhere."""
    if len(places) == 1 and not places[0].size and places[0].kind == "memory":
        return load(reader, places[0].value, type)
    data = b"".join(_bytes(reader, place, type, register) for place in places)
    if len(data) < type.size:
        raise Gone("optimised out")
    if type.kind in ("struct", "union", "array") and type.kind != "array":
        held = Reader(lambda address, size: data[address : address + size], reader.whole, plain=reader.plain)
        return Struct(held, 0, type)
    return decode(reader, data, type)


def _bytes(reader: Reader, place: Place, type: Type, register: Callable[[int], int]) -> bytes:
    size = place.size or max(type.size, 1)
    if place.kind == "memory":
        return reader.read(place.value, size)
    if place.kind == "register":
        return register(place.value).to_bytes(8, "little")[:size]
    if place.kind == "value":
        return place.value.to_bytes(8, "little")[:size].ljust(size, b"\0")
    if place.kind == "bytes":
        return place.data[:size]
    raise Gone("optimised out")


# ---- for people


def _braces(view: Struct | Array, depth: int) -> str:
    """In one line; what lies `depth` levels inside is left out."""
    if isinstance(view, Array):
        if not depth:
            return "[…]"
        items = [_one(item, depth - 1) for item in view[:_MOST]]
        more = ["…"] if len(view) > _MOST else []
        return f"[{', '.join(items + more)}]"
    name = view._v_type.name
    if not depth or not view._v_type.fields or len(view._v_type.fields) > _FEW:
        return f"<{view._v_type} at {int(view):#x}{_marks(view)}>"
    parts = []
    try:
        for member, value in view._v_members():
            parts.append(f"{member}={_one(value, depth - 1)}")
    except ProbeeError as error:
        parts.append(f"… {error}")
    return f"{name}({', '.join(parts)})"


_MARKS = ("pid", "comm", "name", "i_ino", "portid")


def _marks(view: Struct) -> str:
    """What tells one of a large kind of struct from another."""
    found = []
    for name in _MARKS:
        field = view._v_type.field(name)
        if field is not None and field.type.kind in ("int", "array"):
            try:
                value = view._v_member(field)
            except ProbeeError:
                continue
            if isinstance(value, (int, str)) and value:
                found.append(f"{name}={value!r}")
    return ": " + ", ".join(found) if found else ""


def _one(value: Any, depth: int) -> str:
    if isinstance(value, (Struct, Array)):
        return _braces(value, depth)
    return repr(value)


def _zero(value: Any) -> bool:
    if value is None or isinstance(value, (int, str)):
        return not value
    if isinstance(value, Array):
        return all(_zero(item) for item in value[:_MOST])
    return isinstance(value, Struct) and all(_zero(item) for _, item in value._v_members())


def lines(view: Struct) -> Iterator[str]:
    """A struct with a member a line; of one with many members, those that are not zero."""
    many, left = len(view._v_type.fields) > _FEW, 0
    yield f"{view._v_type} at {int(view):#x}"
    for member, value in view._v_members():
        if many and _zero(value):
            left += 1
            continue
        shown = _one(value, 2)
        yield f"  {member} = {shown if len(shown) <= 200 else shown[:197] + '…'}"
    if left:
        yield f"  and {left} that are zero"
