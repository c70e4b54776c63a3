"""Types of variables: as DWARF tells them, and as BTF does, in one form."""

from __future__ import annotations

from probee.btf import kinds as k
from probee.obj.dwarf import numbers as n

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.btf.parser import Btf
    from probee.obj.dwarf.units import Die, File

_DEEPEST = 64  # qualifiers and typedefs around each other


class Field:
    """A member: `offset` and `bits` are in bits, `bits` is 0 for what is no bit field."""

    __slots__ = ("bits", "name", "offset", "type")

    def __init__(self, name: str, type: Type, offset: int, bits: int = 0) -> None:
        self.name = name
        self.type = type
        self.offset = offset
        self.bits = bits


class Type:
    """`kind` is int, bool, char, enum, pointer, struct, union, array, function or void. `size` is in bytes.

    `to` is what a pointer leads to or an array consists of, `count` how many elements it has, `names` an
    enum's names by value. `declared` is a struct of which only the name is known.
    """

    __slots__ = ("_fields", "_to", "big", "count", "declared", "kind", "name", "names", "signed", "size")

    def __init__(self, kind: str, name: str = "", size: int = 0, *, signed: bool = False) -> None:
        self.kind = kind
        self.name = name
        self.size = size
        self.signed = signed
        self.count = 0
        self.big = False  # a number in network byte order
        self.declared = False
        self.names: dict[int, str] = {}
        self._to: Type | Callable[[], Type] | None = None
        self._fields: list[Field] | Callable[[], list[Field]] = []

    @property
    def to(self) -> Type:
        if self._to is None:
            self._to = VOID
        elif not isinstance(self._to, Type):
            self._to = self._to()
        return self._to

    @property
    def fields(self) -> list[Field]:
        """Members in order; those of anonymous structs in it are not taken apart."""
        if not isinstance(self._fields, list):
            self._fields = self._fields()
        return self._fields

    def field(self, name: str) -> Field | None:
        """A member by name, also of an anonymous struct or union inside."""
        return self._field(name, 0)

    def _field(self, name: str, depth: int) -> Field | None:
        for each in self.fields:
            if each.name == name:
                return each
            if not each.name and depth < _DEEPEST:
                inner = each.type._field(name, depth + 1)
                if inner is not None:
                    return Field(name, inner.type, each.offset + inner.offset, inner.bits)
        return None

    def __str__(self) -> str:
        return self._text(0)

    def _text(self, depth: int) -> str:
        if depth > _DEEPEST:
            return "…"
        if self.kind == "pointer":
            to = self.to._text(depth + 1)
            return f"{to}{'' if to.endswith('*') else ' '}*"
        if self.kind == "array":
            return f"{self.to._text(depth + 1)}[{self.count}]"
        if self.kind in ("struct", "union", "enum"):
            return f"{self.kind} {self.name}".rstrip()
        return self.name or self.kind


VOID = Type("void", "void")


class Types:
    """The types of a DWARF file, made when asked for."""

    def __init__(self, file: File) -> None:
        self.file = file
        self._known: dict[int, Type] = {}
        self._whole: dict[tuple[int, str], Die] | None = None

    def of(self, die: Die) -> Type:
        """The type of a variable, a member, an element."""
        return self.at(die.get(n.TYPE))

    def at(self, offset: object) -> Type:
        """The type at an offset of .debug_info; void for what isn't there."""
        for _ in range(_DEEPEST):
            if not isinstance(offset, int):
                return VOID
            known = self._known.get(offset)
            if known is not None:
                return known
            die = self.file.dies.get(offset)
            if die is None:
                return VOID
            if die.tag in (n.TYPEDEF, n.CONST_TYPE, n.VOLATILE_TYPE, n.RESTRICT_TYPE, n.ATOMIC_TYPE):
                offset = die.get(n.TYPE)
                continue
            found = self._known[offset] = self._make(die)
            return found
        return VOID

    def _make(self, die: Die) -> Type:
        size = die.number(n.BYTE_SIZE)
        if die.tag == n.BASE_TYPE:
            encoding = die.number(n.ENCODING)
            kind = {n.BOOLEAN: "bool"}.get(encoding, "int")
            if encoding in (n.SIGNED_CHAR, n.UNSIGNED_CHAR, n.UTF) and size == 1 and die.name == "char":
                kind = "char"
            made = Type(kind, die.name, min(size, 16), signed=encoding in (n.SIGNED, n.SIGNED_CHAR))
            made.big = die.number(n.ENDIANITY) == 1
            return made
        if die.tag == n.POINTER_TYPE:
            made = Type("pointer", "", size or 8)
            made._to = lambda: self.of(die)
            return made
        if die.tag in (n.STRUCTURE_TYPE, n.CLASS_TYPE, n.UNION_TYPE):
            kind = "union" if die.tag == n.UNION_TYPE else "struct"
            if die.get(n.DECLARATION):
                whole = self._definition(die)
                if whole is not None:
                    return self.at(whole.offset)
            made = Type(kind, die.name, size)
            made.declared = bool(die.get(n.DECLARATION))
            made._fields = lambda: self._members(die)
            return made
        if die.tag == n.ENUMERATION_TYPE:
            base = self.of(die)
            made = Type("enum", die.name, size or base.size or 4, signed=base.signed)
            for child in die.children:
                if child.tag == n.ENUMERATOR:
                    value = child.number(n.CONST_VALUE)
                    made.names.setdefault(value & ((1 << 8 * made.size) - 1), child.name)
            return made
        if die.tag == n.ARRAY_TYPE:
            return self._array(die)
        if die.tag == n.SUBROUTINE_TYPE:
            return Type("function", "function")
        return VOID

    def _definition(self, die: Die) -> Die | None:
        if self._whole is None:
            self._whole = {}
            for each in self.file.dies.values():
                if each.tag in (n.STRUCTURE_TYPE, n.UNION_TYPE) and each.name and not each.get(n.DECLARATION):
                    self._whole.setdefault((each.tag, each.name), each)
        return self._whole.get((die.tag, die.name))

    def _array(self, die: Die) -> Type:
        counts = []
        for child in die.children:
            if child.tag == n.SUBRANGE_TYPE:
                upper = child.get(n.UPPER_BOUND)
                default = upper + 1 if isinstance(upper, int) and upper < 1 << 32 else 0
                counts.append(child.number(n.COUNT, default))
        elem = self.of(die)
        for count in counts[::-1] or [0]:
            made = Type("array", "", elem.size * count)
            made.count = count
            made._to = elem
            elem = made
        return elem

    def _members(self, die: Die) -> list[Field]:
        out = []
        for child in die.children:
            if child.tag != n.MEMBER:
                continue
            type, bits = self.of(child), child.number(n.BIT_SIZE)
            offset = 8 * child.number(n.DATA_MEMBER_LOCATION)
            if n.DATA_BIT_OFFSET in child.attributes:
                offset = child.number(n.DATA_BIT_OFFSET)
            elif bits and n.BIT_OFFSET in child.attributes:  # DWARF 2: counted from the most significant bit
                size = 8 * child.number(n.BYTE_SIZE, type.size)
                first = child.number(n.BIT_OFFSET)
                offset += size - first - bits if self.file.endian == "little" else first
            out.append(Field(child.name, type, offset, bits))
        return out


class BtfTypes:
    """The types of BTF in the same form."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self._known: dict[int, Type] = {}

    def struct(self, name: str, kind: str = "struct") -> Type | None:
        """A struct or union by name."""
        id = self.btf.find(name, k.UNION if kind == "union" else k.STRUCT)
        return None if id is None else self.at(id)

    def at(self, id: int) -> Type:
        """The type with an id."""
        id = self.btf.strip(id) if id else 0
        found = self._known.get(id)
        if found is None:
            found = self._known[id] = self._make(id) if id else VOID
        return found

    def _make(self, id: int) -> Type:
        t = self.btf.type(id)
        if t.kind == k.INT:
            kind = "bool" if t.encoding & 4 else "char" if t.name == "char" else "int"
            return Type(kind, t.name, t.size, signed=bool(t.encoding & k.INT_SIGNED))
        if t.kind == k.PTR:
            made = Type("pointer", "", 8)
            made._to = lambda: self.at(t.type)
            return made
        if t.kind in (k.STRUCT, k.UNION):
            made = Type("union" if t.kind == k.UNION else "struct", t.name, t.size)
            made._fields = lambda: [
                Field(m.name, self.at(m.type), m.bit_offset, m.bit_size) for m in t.members
            ]
            return made
        if t.kind in k.ENUMS:
            made = Type("enum", t.name, t.size, signed=t.kflag)
            mask = (1 << 8 * t.size) - 1
            made.names = {value & mask: name for name, value in reversed(t.enumerators)}
            return made
        if t.kind == k.ARRAY:
            of, _, count = t.array
            elem = self.at(of)
            made = Type("array", "", elem.size * count)
            made.count = count
            made._to = elem
            return made
        if t.kind == k.FWD:
            made = Type("union" if t.kflag else "struct", t.name, 0)
            made.declared = True
            return made
        return Type("function", "function") if t.kind == k.FUNC_PROTO else VOID
