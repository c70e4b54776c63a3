"""Declared structs and unions: annotated fields with the layout that C gives them."""

from __future__ import annotations

import sys

from .refuse import refuse, user_frame
from .types import ArrayType, BitsType, Char, EnumType, bool_, i64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .. import types
    from .types import DeclType


class Field:
    """A field of a struct: `name`, `type`, `offset` and `size` in bytes. `Exec.pid` gives it.

    For a bit field `bits` is its width, `shift` how far above `offset` it begins, in bits, and `size` the
    number of bytes that it touches.
    """

    __slots__ = ("bits", "name", "offset", "shift", "size", "type")

    def __init__(self, name: str, type: DeclType | BitsType, offset: int, shift: int = 0) -> None:
        self.name = name
        self.type = type
        self.offset = offset
        self.shift = shift
        self.bits = type.bits if isinstance(type, BitsType) else 0
        self.size: int = (shift + self.bits + 7) // 8 if isinstance(type, BitsType) else type._size_

    def __get__(self, obj: Struct | None, owner: object = None) -> Any:
        if obj is None:
            return self
        return obj.__dict__[self.name]

    def __set__(self, obj: Struct, value: Any) -> None:
        obj.__dict__[self.name] = self.type._coerce_(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Field) and (self.name, self.type, self.offset, self.shift) == (
            other.name,
            other.type,
            other.offset,
            other.shift,
        )

    def __hash__(self) -> int:
        return hash((self.name, self.offset, self.shift))

    def __repr__(self) -> str:
        return f"<field {self.name}: {self.type!r} at {self.offset}>"

    def pack_into(self, out: bytearray, value: Any) -> None:
        """Write the value to its place in the memory of a struct."""
        if isinstance(self.type, BitsType):
            number = int.from_bytes(out[self.offset : self.offset + self.size], "little")
            mask = (1 << self.bits) - 1
            number = number & ~(mask << self.shift) | (int(value) & mask) << self.shift
            out[self.offset : self.offset + self.size] = number.to_bytes(self.size, "little")
        else:
            out[self.offset : self.offset + self.size] = self.type._pack_(value)

    def unpack_from(self, data: bytes) -> Any:
        """The value in the memory of a struct."""
        place = data[self.offset : self.offset + self.size]
        if isinstance(self.type, BitsType):
            return self.type(int.from_bytes(place, "little") >> self.shift)
        return self.type._unpack_(place)


class Through:
    """A field of an anonymous member, seen from the struct that the member is in."""

    __slots__ = ("field", "outer")

    def __init__(self, outer: Field, field: Field) -> None:
        self.outer = outer
        self.field = field

    def __get__(self, obj: Struct | None, owner: object = None) -> Any:
        if obj is None:
            f = self.field
            return Field(f.name, f.type, self.outer.offset + f.offset, f.shift)
        return getattr(getattr(obj, self.outer.name), self.field.name)

    def __set__(self, obj: Struct, value: Any) -> None:
        setattr(getattr(obj, self.outer.name), self.field.name, value)


def anonymous(f: Field) -> bool:
    """Is the member without a name, its fields those of the struct it is in? It is written `_: Address`."""
    return isinstance(f.type, StructType) and f.name[:1] == "_" and not f.name.strip("_0123456789")


_RESERVED = frozenset(("_fields_", "_size_", "_align_", "_asdict", "_names_", "_through_"))


class StructType(type):
    """The class of `Struct`: turns annotations into fields with C's layout.

    Options of a class: `packed=True` leaves no padding, `align=16` starts it at a multiple of 16.
    """

    _fields_: tuple[Field, ...]
    _names_: tuple[str, ...]
    _through_: dict[str, Through]
    _size_: int
    _align_: int
    _union_: bool
    _core_: bool
    _packed_: bool

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        space: dict[str, Any],
        *,
        packed: bool = False,
        align: int = 0,
        union: bool | None = None,
        core: bool | None = None,
        **kwargs: Any,
    ) -> StructType:
        cls = super().__new__(mcs, name, bases, space, **kwargs)
        if "_fields_" in space:  # a subclass that keeps the layout: how records are made
            return cls
        if not isinstance(align, int) or align < 0 or align & (align - 1) or align > 4096:
            raise refuse(f"{name}: align is a power of two, not {align!r}", "write for example align=8")
        if union is not None:
            cls._union_ = union
        if core is not None:
            cls._core_ = core
        cls._packed_ = packed
        layout = _Layout(cls, bases, packed)
        for field, written in _annotations(cls, space).items():
            if field in _RESERVED or (field.startswith("__") and field.endswith("__")):
                raise refuse(f"{name}.{field}: this name is taken", "choose another field name")
            if not field.isascii():
                raise refuse(f"{name}.{field}: a field's name is ASCII in the kernel", "spell it in ASCII")
            if field in space:
                raise refuse(f"{name}.{field}: fields start as 0, with no other default", "drop the value")
            if written is cls:
                raise refuse(
                    f"{name}.{field}: a struct can't be a part of itself", "keep the key of the other one"
                )
            if any(f.name == field for f in layout.fields):
                raise refuse(f"{name}.{field}: the base struct already has this field", "rename one of them")
            where = f"{name}.{field}"
            kind = bits_of(written) or normalise(written, where)
            type.__setattr__(cls, field, layout.add(field, kind))
        cls._fields_ = tuple(layout.fields)
        cls._pass_through()
        type.__setattr__(cls, "__match_args__", cls._names_)
        for f in cls._fields_:
            into: Any = f.type  # a pointer into the arena, perhaps to the struct itself
            if hasattr(into, "scope") and isinstance(into.to, str):
                if into.to == name:
                    into.to = cls
                else:
                    into.declared()
        cls._align_ = max(layout.align, align)
        cls._size_ = (layout.end + cls._align_ - 1) // cls._align_ * cls._align_
        for f in cls._fields_:
            if f.bits and not any(f.size <= width <= cls._size_ for width in (1, 2, 4, 8)):
                raise refuse(
                    f"{name}.{f.name}: this bit field lies across {f.size} bytes of {cls._size_}",
                    "move it, so that it lies in 1, 2, 4 or 8 bytes of the struct",
                )
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any], **options: Any) -> None:
        super().__init__(name, bases, space)

    def _pass_through(cls) -> None:
        """Give the struct the fields of its anonymous members. `_names_` are all names, in order."""
        names: list[str] = []
        cls._through_ = {}
        for f in cls._fields_:
            if cls._core_ or not anonymous(f):
                names.append(f.name)
                continue
            inner: Any = f.type
            if cls._union_:
                raise refuse(
                    f"{cls.__name__}.{f.name}: an anonymous member stands in a struct",
                    "give it a name in a union",
                )
            for name in inner._names_:
                if name in cls._through_ or any(other.name == name for other in cls._fields_):
                    raise refuse(
                        f"{cls.__name__}.{f.name}: the struct already has a field {name}",
                        "rename one of them",
                    )
                cls._through_[name] = Through(f, getattr(inner, name))
                type.__setattr__(cls, name, cls._through_[name])
                names.append(name)
        cls._names_ = tuple(names)

    def __getitem__(cls, n: int) -> ArrayType:
        return ArrayType(cls, n)

    def __repr__(cls) -> str:
        return cls.__name__

    def _zero_(cls) -> Any:
        return cls()

    def _coerce_(cls, value: Any) -> Any:
        if not isinstance(value, Struct) or type(value)._fields_ != cls._fields_:
            raise TypeError(f"expected {cls.__name__}, got {value!r}")
        if cls._union_:
            return cls._unpack_(cls._pack_(value))
        return cls(**{f.name: getattr(value, f.name) for f in cls._fields_})

    def _pack_(cls, value: Any) -> bytes:
        if not isinstance(value, Struct) or type(value)._fields_ != cls._fields_:
            raise TypeError(f"expected {cls.__name__}, got {value!r}")
        return value._packed()

    def _unpack_(cls, data: bytes) -> Any:
        assert issubclass(cls, Struct)
        return cls._of(data)

    def _ir_(cls) -> types.Type:
        from .. import types

        known: types.Struct | None = cls.__dict__.get("_ir_type_")
        if known is None:

            def members() -> tuple[types.Member, ...]:
                out = []
                for f in cls._fields_:
                    if isinstance(f.type, BitsType):
                        at = f.offset * 8 + f.shift
                        out.append(types.Member(f.name, f.type.scalar._ir_(), at, f.bits))
                    else:
                        name = "" if not cls._core_ and anonymous(f) else f.name
                        out.append(types.Member(name, f.type._ir_(), f.offset * 8))
                return tuple(out)

            known = types.Struct(
                cls.__name__,
                cls._size_,
                members,  # made when they are looked at: a struct may have pointers to itself
                union=cls._union_,
                core=cls._core_,
                align=cls._align_,
            )
            type.__setattr__(cls, "_ir_type_", known)
        return known


class _Layout:
    """Places fields one by one as C does."""

    def __init__(self, cls: StructType, bases: tuple[type, ...], packed: bool) -> None:
        self.name = cls.__name__
        self.union = cls._union_
        self.packed = packed
        self.fields: list[Field] = []
        self.align = 1
        self.end = 0  # in bytes
        self.bit = 0  # where the next field would begin
        for base in bases:
            if isinstance(base, StructType):
                self.fields += base._fields_
                self.align = max(self.align, base._align_ if base._fields_ else 1)
        if self.fields:
            self.end = max(f.offset + f.size for f in self.fields)
            last = self.fields[-1]
            self.bit = last.offset * 8 + last.shift + last.bits if last.bits else self.end * 8

    def add(self, name: str, kind: DeclType | BitsType) -> Field:
        start = 0 if self.union else self.bit
        if isinstance(kind, BitsType):
            unit = kind.scalar.bits
            if not self.packed:
                if start // unit != (start + kind.bits - 1) // unit:
                    start = (start + unit - 1) // unit * unit
                self.align = max(self.align, kind.scalar.size)
            f = Field(name, kind, start // 8, start % 8)
            if f.size > 8:
                raise refuse(
                    f"{self.name}.{name}: this bit field lies in nine bytes", "move it, or make it narrower"
                )
            end = start + kind.bits
        else:
            a = 1 if self.packed else kind._align_
            offset = (start + 8 * a - 1) // (8 * a) * a
            self.align = max(self.align, a)
            f = Field(name, kind, offset)
            end = (offset + f.size) * 8
        self.fields.append(f)
        self.bit = end
        self.end = max(self.end, (end + 7) // 8)
        return f


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
                value = eval(value, frame.f_globals, {**frame.f_locals, **space, cls.__name__: cls})
            except Exception as e:
                raise refuse(
                    f"{cls.__name__}.{name}: can't evaluate the type {value!r}: {e}",
                    "declare or import the type before the struct",
                ) from None
        private = "_" + cls.__name__.lstrip("_")  # what Python puts before names such as __state
        out[name.removeprefix(private) if name.startswith(private + "__") else name] = value
    return out


class Struct(metaclass=StructType):
    """Base of the user's structs: annotated fields, laid out as C does.

    In CPython an instance is a plain object: `Exec(pid=1)`, fields not given are 0 or "", `==` compares
    fields, assigned integers wrap to the field's width. It hashes by value: don't change one that is a key.
    """

    _fields_ = ()
    _names_ = ()
    _size_ = 0
    _align_ = 1
    _union_ = False
    _core_ = False
    if TYPE_CHECKING:  # `case Point(x, 3)`: each class has its own, which pyright can't know
        __match_args__ = ("_0", "_1", "_2", "_3", "_4", "_5", "_6", "_7")

    def __init__(self, of: Struct | None = None, /, **values: Any) -> None:
        if of is not None:
            if values or type(of)._fields_ != type(self)._fields_:
                raise TypeError(f"{type(self).__name__} takes its fields by name, or one struct to copy")
            values = {f.name: getattr(of, f.name) for f in type(self)._fields_}
        through = type(self)._through_
        inside: dict[Field, dict[str, Any]] = {}
        for name in [name for name in values if name in through] if through else ():
            inside.setdefault(through[name].outer, {})[name] = values.pop(name)
        for member, given in inside.items():
            into: Any = member.type
            values[member.name] = into(**given)
        for f in type(self)._fields_:
            self.__dict__[f.name] = (
                f.type._coerce_(values.pop(f.name)) if f.name in values else f.type._zero_()
            )
        if values:
            names = ", ".join(type(self)._names_)
            raise TypeError(f"{type(self).__name__} has no field {next(iter(values))!r}; it has {names}")

    @classmethod
    def _of(cls, data: bytes) -> Any:
        return cls(**{f.name: f.unpack_from(data) for f in cls._fields_})

    def _packed(self) -> bytes:
        out = bytearray(type(self)._size_)
        for f in type(self)._fields_:
            f.pack_into(out, getattr(self, f.name))
        return bytes(out)

    def _asdict(self) -> dict[str, Any]:
        """Field names and values; nested structs as dicts."""
        out = {}
        for f in type(self)._fields_:
            value = getattr(self, f.name)
            if isinstance(value, Struct) and f.name not in type(self)._names_:
                out.update(value._asdict())
            else:
                out[f.name] = value._asdict() if isinstance(value, Struct) else value
        return out

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Struct) or type(self)._fields_ != type(other)._fields_:
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in type(self)._fields_)

    def __hash__(self) -> int:
        return hash(tuple(_hashable(getattr(self, f.name)) for f in type(self)._fields_))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self)._names_)
        return f"{type(self).__name__}({fields})"


class Union(Struct, union=True):
    """Base of the user's unions: all fields begin at the same place.

    In CPython the field that was assigned or read last holds the value, and another is read out of its
    memory. `==` compares memory.
    """

    def __init__(self, of: Struct | None = None, /, **values: Any) -> None:
        if of is not None:
            self.__dict__["_memory_"] = type(self)._pack_(of)
            return
        if len(values) > 1:
            raise TypeError(f"{type(self).__name__} is a union: it takes one field, not {len(values)}")
        self.__dict__["_memory_"] = bytes(type(self)._size_)
        for name, value in values.items():
            if not any(f.name == name for f in type(self)._fields_):
                names = ", ".join(f.name for f in type(self)._fields_)
                raise TypeError(f"{type(self).__name__} has no field {name!r}; it has {names}")
            setattr(self, name, value)

    def __getattribute__(self, name: str) -> Any:
        if name[:1] == "_":
            return super().__getattribute__(name)
        for f in type(self)._fields_:
            if f.name == name:
                if name not in self.__dict__:
                    memory = self._packed()
                    self._hold(memory, name, f.unpack_from(memory))
                return self.__dict__[name]
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        for f in type(self)._fields_:
            if f.name == name:
                self._hold(self._packed(), name, f.type._coerce_(value))
                return
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    def _hold(self, memory: bytes, name: str, value: Any) -> None:
        space = self.__dict__
        space.clear()
        space["_memory_"] = memory
        space[name] = value

    @classmethod
    def _of(cls, data: bytes) -> Any:
        new = cls()
        new.__dict__["_memory_"] = bytes(data)
        return new

    def _packed(self) -> bytes:
        out = bytearray(self.__dict__["_memory_"])
        for f in type(self)._fields_:
            if f.name in self.__dict__:
                f.pack_into(out, self.__dict__[f.name])
        return bytes(out)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Union) or type(self)._fields_ != type(other)._fields_:
            return NotImplemented
        return self._packed() == other._packed()

    def __hash__(self) -> int:
        return hash(self._packed())

    def __repr__(self) -> str:
        shown = [n for n in self.__dict__ if n != "_memory_"] or [f.name for f in type(self)._fields_[:1]]
        fields = ", ".join(f"{n}={getattr(self, n)!r}" for n in shown)
        return f"{type(self).__name__}({fields})"


class KernelStruct(Struct, core=True):
    """Base of kernel structs that a program declares itself: the fields it uses, in any order.

    Where they are is found out when the program is loaded (CO-RE): the struct of that name in the kernel's
    BTF is looked up, what follows `___` in the name not counted. So several classes may describe what a
    struct was in different kernels, `task_struct___old` and `task_struct___new`.
    """


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


def normalise(written: Any, where: str) -> DeclType:
    """The declared type for what the user wrote: `int` is `i64`, `bool` one byte.

    Raises CompileError, naming `where`, for anything the language has no layout for.
    """
    if hasattr(written, "_ir_"):
        if isinstance(written, StructType) and not written._fields_:
            raise refuse(f"{where}: struct {written.__name__} has no fields")
        found: DeclType = written
        return found
    if written is int:
        return i64
    if written is bool:
        return bool_
    if isinstance(written, type) and issubclass(written, int) and hasattr(written, "__members__"):
        return EnumType(written)
    if hasattr(written, "__metadata__"):
        return _annotated(written, where)
    advice = "use u8 … u64, i8 … i64, bool, Char[n], an IntEnum, a Struct, or an array such as u32[4]"
    if written is Char or written is str or written is bytes:
        advice = "text has a fixed size here: write for example Char[16]"
    elif written is float:
        advice = "the kernel has no floating point: keep a scaled integer, for example microseconds in u64"
    elif isinstance(written, BitsType):
        advice = "a bit field stands in a struct only"
    elif hasattr(written, "__members__"):
        advice = "derive the enum from IntEnum or IntFlag"
    shown = written.__name__ if isinstance(written, type) else repr(written)
    raise refuse(f"{where}: {shown} is not a type that programs have", advice)


def bits_of(written: Any) -> BitsType | None:
    """The bit field that a field's annotation is: `Bits[u8, 3]` or `Annotated[int, Bits[u8, 3]]`."""
    found = getattr(written, "__metadata__", (written,))[0]
    return found if isinstance(found, BitsType) else None


def _annotated(written: Any, where: str) -> DeclType:
    """`Annotated[list[u32], 4]` and `Annotated[str, 16]`, which type checkers take for a list and text."""
    of, first = written.__origin__, written.__metadata__[0]
    if isinstance(first, int) and not isinstance(first, bool):
        if of in (str, bytes):
            return Char[first]
        if getattr(of, "__origin__", None) is list:
            return ArrayType(normalise(of.__args__[0], where), first)
    return normalise(first if hasattr(first, "_ir_") else of, where)
