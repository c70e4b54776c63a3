"""Types of keys, values and records as users write them, turned into BTF.

| written | is |
|---|---|
| `4` | 4 bytes: an unsigned integer for 1, 2, 4 and 8, else bytes |
| `"u32"`, `"i16"`, `"bool"`, `"f64"` | a number |
| `"char[16]"`, `"u8[6]"`, `"u32[4]"` | text, bytes, an array |
| `{"pid": "u32", "comm": "char[16]"}` | a struct, laid out as C does |
| `bp.u32`, `bp.Char[16]`, a `bp.Struct` | what it is in the language |
"""

from __future__ import annotations

from ..btf.build import BtfBuilder
from ..btf.kinds import COMPOSITES, ENUMS, INT_BOOL, INT_SIGNED, TYPEDEF
from ..btf.values import Codec, Codecs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHAR = "char"
_BOOL = "bool"
_FLOATS = {"f32": ("float", 4), "f64": ("double", 8)}
_MOST = 1 << 28  # bytes
_NAMES = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}


class Types:
    """BTF being made of descriptions. `classes` are the user's own struct classes met on the way."""

    __slots__ = ("_known", "builder", "classes")

    def __init__(self) -> None:
        import sys

        self.builder = BtfBuilder(endian=sys.byteorder)
        self.classes: dict[str, type] = {}
        self._known: dict[Any, tuple[int, int, int]] = {}

    def add(self, what: Any, name: str = "value") -> tuple[int, int, int]:
        """Type id, size and alignment in bytes. `name` is for a struct given as a dict."""
        if isinstance(what, dict):
            return self._struct(name, list(what.items()))
        fields = getattr(what, "_fields_", None)
        key = (type(what).__name__, id(what) if fields else repr(what))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._own(what) if fields else self._plain(what)
        return found

    def _own(self, what: Any) -> tuple[int, int, int]:
        """A `bp.Struct`, or something with such fields."""
        if not all(hasattr(f, "offset") and hasattr(f, "type") for f in what._fields_):
            raise TypeError(f"{what!r} is no type of a map: {_ADVICE}")
        self.classes[what.__name__] = what
        named = getattr(what, "_names_", None)
        members = [
            (f.name if named is None or f.name in named else "", self.add(f.type)[0], 8 * f.offset)
            for f in what._fields_
        ]
        return self.builder.struct(what.__name__, what._size_, members), what._size_, what._align_

    def _plain(self, what: Any) -> tuple[int, int, int]:
        if isinstance(what, bool):
            raise TypeError(f"{what!r} is no type of a map: {_ADVICE}")
        if isinstance(what, int):
            return self._sized(what)
        if isinstance(what, str):
            return self._named(what)
        if hasattr(what, "elem"):
            return self._array(self.add(what.elem), what.n)
        if hasattr(what, "bits"):
            return self._named("bool" if what.bits == 1 else f"{'i' if what.signed else 'u'}{what.bits}")
        if hasattr(what, "size"):
            return self._named(f"char[{what.size}]")
        raise TypeError(f"{what!r} is no type of a map: {_ADVICE}")

    def _sized(self, size: int) -> tuple[int, int, int]:
        if not 0 < size <= _MOST:
            raise ValueError(f"a size of {size} bytes: there are 1 to {_MOST}")
        if size in _NAMES:
            return self.add(_NAMES[size])
        return self._array(self.add("u8"), size)

    def _named(self, text: str) -> tuple[int, int, int]:
        word = text.strip()
        if word.endswith("]"):
            elem, _, count = word[:-1].rpartition("[")
            if not count.strip().isdecimal() or not 0 < int(count) <= _MOST:
                raise ValueError(f"{text!r} is no type of a map: {_ADVICE}")
            return self._array(self.add(elem.strip()), int(count))
        if word == _CHAR:
            return self.builder.int_("char", 1, INT_SIGNED), 1, 1
        if word == _BOOL:
            return self.builder.int_("_Bool", 1, INT_BOOL), 1, 1
        if word in _FLOATS:
            name, size = _FLOATS[word]
            return self.builder.float_(name, size), size, size
        if word[:1] in ("u", "i", "s") and word[1:] in ("8", "16", "32", "64"):
            size = int(word[1:]) // 8
            signed = word[0] != "u"
            name = f"{'i' if signed else 'u'}{word[1:]}"
            return self.builder.int_(name, size, INT_SIGNED if signed else 0), size, size
        raise ValueError(f"{text!r} is no type of a map: {_ADVICE}")

    def _array(self, elem: tuple[int, int, int], n: int) -> tuple[int, int, int]:
        id, size, align = elem
        index = self.add("u32")[0]
        return self.builder.array(id, n, index), size * n, align

    def _struct(self, name: str, fields: list[tuple[str, Any]]) -> tuple[int, int, int]:
        if not fields:
            raise ValueError("a struct has at least one field")
        members: list[tuple[str, int, int]] = []
        at, widest = 0, 1
        for field, what in fields:
            id, size, align = self.add(what, field)
            at = (at + align - 1) // align * align
            members.append((field, id, 8 * at))
            at += size
            widest = max(widest, align)
        at = (at + widest - 1) // widest * widest
        return self.builder.struct(name, at, members), at, widest


_ADVICE = (
    'write a size in bytes, "u8" to "i64", "bool", "f64", "char[16]", "u32[4]", a dict of fields, '
    "or a bp.Struct"
)


def record_codec(what: Any, codecs: Codecs | None) -> Codec:
    """The codec of what a user says that records are: a codec, the name of a type in `codecs`, or a
    description. Raises ValueError or TypeError."""
    if isinstance(what, Codec):
        return what
    if isinstance(what, str) and codecs is not None:
        word = what.removeprefix("struct ").removeprefix("union ").removeprefix("enum ").strip()
        id = codecs.btf.find(word, *COMPOSITES, TYPEDEF, *ENUMS)
        if id is not None:
            return codecs.get(id)
    types = Types()
    try:
        id = types.add(what)[0]
    except ValueError as e:
        if isinstance(what, str) and codecs is not None:
            raise ValueError(f"the object has no type {what!r}") from None
        raise e from None
    return Codecs(types.builder.btf(), types.classes).get(id)
