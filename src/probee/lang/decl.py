"""What a program declares: integer types, text, structs, maps, globals, and the functions to run on a hook.

These are plain objects that the compiler reads. Everything here also works in CPython without a kernel:
integers wrap, structs hold values, so the same function can run as Python in a test. Every program imports
this module at every start, so it imports nothing but `sys` and `struct`.
"""

from __future__ import annotations

import struct
import sys

from ..errors import CompileError, ProbeeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from types import CodeType, FrameType
    from typing import Any, TypeAlias, TypeVar

    from . import types

    DeclType: TypeAlias = "ScalarType | CharType | ArrayType | StructType"
    M = TypeVar("M", bound="MapDecl")


class NotAttached(ProbeeError, AttributeError):
    """A map or global was used from Python while no session holds it."""


def _user_frame() -> FrameType:
    """The innermost frame outside probee: the line that declares something."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("probee.lang"):
        frame = frame.f_back
    return frame


def _refuse(message: str, advice: str = "") -> CompileError:
    """The error for a declaration, pointing at the line of the user that makes it."""
    import linecache

    frame = _user_frame()
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, line, frame.f_globals)
    column = len(text) - len(text.lstrip())
    return CompileError(
        message,
        file=file,
        line=line,
        column=column,
        end_column=len(text.rstrip()),
        source=text,
        advice=advice,
    )


# ---- types ----


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
            raise _refuse(f"Char[{n!r}]: the length is a number of bytes", "write for example Char[16]")
        return CharType(n)

    def __call__(cls, *args: object, **kwargs: object) -> CharType:
        raise _refuse("Char needs a length", "write for example Char[16]")


class Char(metaclass=_CharMeta):
    """Text of a fixed number of bytes: `comm: Char[16]`."""


class ArrayType:
    """`u32[4]`: a fixed number of elements of one type. Calling it gives a zeroed list of that length."""

    __slots__ = ("elem", "n", "size")

    def __init__(self, elem: DeclType, n: int) -> None:
        if not isinstance(n, int) or isinstance(n, bool) or not 0 < n <= 1 << 20:
            raise _refuse(f"{elem!r}[{n!r}]: the length is a positive integer", "write for example u32[4]")
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
                raise _refuse(f"{name}.{field}: this name is taken", "choose another field name")
            if not field.isascii():
                raise _refuse(f"{name}.{field}: a field's name is ASCII in the kernel", "spell it in ASCII")
            if field in space:
                raise _refuse(f"{name}.{field}: fields start as 0, with no other default", "drop the value")
            if field in names:
                raise _refuse(f"{name}.{field}: the base struct already has this field", "rename one of them")
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
            frame = _user_frame()
            try:
                value = eval(value, frame.f_globals, {**frame.f_locals, **space})
            except Exception as e:
                raise _refuse(
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
            raise _refuse(f"{where}: struct {written.__name__} has no fields")
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
    raise _refuse(f"{where}: {shown} is not a type that programs have", advice)


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
    from . import types

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


# ---- maps ----


class _MapMeta(type):
    def __getitem__(cls: type[M], of: Any) -> Callable[..., M]:  # type: ignore[misc]
        return _MapOf(cls, of if isinstance(of, tuple) else (of,))


class _MapOf:
    """`Hash[u32, u64]`: calling it declares a map."""

    __slots__ = ("cls", "of")

    def __init__(self, cls: type[MapDecl], of: tuple[Any, ...]) -> None:
        if len(of) != len(cls._takes):
            form = f"{cls.__name__}[{', '.join(cls._takes)}]" if cls._takes else f"plain {cls.__name__}"
            raise _refuse(f"{cls.__name__} is written {form}(…)", cls._example)
        self.cls = cls
        self.of = of

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.cls(*args, _of=self.of, **kwargs)

    def __repr__(self) -> str:
        return f"{self.cls.__name__}[{', '.join(map(repr, self.of))}]"


class MapDecl(metaclass=_MapMeta):
    """A declared map. In a program it is the map; after `bp.attach()` the live one, as a Python mapping.

    `kind` is the UAPI map type (linux/bpf.h, enum bpf_map_type); `key` and `value` are declared types or
    None; `flags` are BPF_F_*; with `pin` the map is kept by name under /sys/fs/bpf. Use of the live map
    before a session holds it raises NotAttached.
    """

    __slots__ = ("_live", "flags", "key", "max_entries", "name", "pin", "value")
    kind: int
    per_cpu = False
    _takes: tuple[str, ...] = ("key", "value")
    _example = ""

    key: DeclType | None
    value: DeclType | None

    def __init__(
        self,
        max_entries: int,
        *,
        flags: int = 0,
        name: str = "",
        pin: bool = False,
        _of: tuple[Any, ...] = (),
    ) -> None:
        what = type(self).__name__
        if len(_of) != len(self._takes):
            raise _refuse(f"{what} needs its types", self._example)
        if not isinstance(max_entries, int) or isinstance(max_entries, bool) or not 0 < max_entries < 1 << 32:
            raise _refuse(
                f"{what}: the size is a number from 1 to 2**32-1, not {max_entries!r}", self._example
            )
        if name and not (name.isidentifier() and name.isascii()):
            raise _refuse(f"{what}: a map's name is an identifier, not {name!r}")
        self.max_entries = max_entries
        self.flags = flags
        self.name = name
        self.pin = pin
        self._live: Any = None
        self._types(tuple(normalise(t, f"{what}[{word}]") for t, word in zip(_of, self._takes, strict=True)))

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = of

    def _use(self) -> Any:
        if self._live is None:
            raise NotAttached(
                f"map {self.name or type(self).__name__} is not attached: use it inside `with bp.attach():`"
            )
        return self._live

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # probes of copy, inspect, pytest: not ours to answer
            raise AttributeError(name)
        return getattr(self._use(), name)

    def __getitem__(self, key: Any) -> Any:
        return self._use()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._use()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._use()[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._use()

    def __len__(self) -> int:
        return len(self._use())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._use())

    def __aiter__(self) -> AsyncIterator[Any]:
        return aiter(self._use())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        of = ", ".join(repr(t) for t in (self.key, self.value) if t is not None)
        return f"<{type(self).__name__}[{of}] {self.name or 'unnamed'}, {self.max_entries} entries>"


class Hash(MapDecl):
    """BPF_MAP_TYPE_HASH: `runs = Hash[u32, u64](10_240)`."""

    __slots__ = ()
    kind = 1
    _example = "write for example Hash[u32, u64](10_240)"


class PerCpuHash(MapDecl):
    """BPF_MAP_TYPE_PERCPU_HASH: a hash with one value for each CPU; `+=` needs no atomics."""

    __slots__ = ()
    kind = 5
    per_cpu = True
    _example = "write for example PerCpuHash[u32, u64](10_240)"


class LruHash(MapDecl):
    """BPF_MAP_TYPE_LRU_HASH: a hash that forgets the least recently used entry when full."""

    __slots__ = ()
    kind = 9
    _example = "write for example LruHash[u32, u64](10_240)"


class LruPerCpuHash(MapDecl):
    """BPF_MAP_TYPE_LRU_PERCPU_HASH: an LRU hash with one value for each CPU."""

    __slots__ = ()
    kind = 10
    per_cpu = True
    _example = "write for example LruPerCpuHash[u32, u64](10_240)"


class Array(MapDecl):
    """BPF_MAP_TYPE_ARRAY: `Array[u64](64)`, indexed from 0; all entries exist and start as 0."""

    __slots__ = ()
    kind = 2
    _takes = ("value",)
    _example = "write for example Array[u64](64)"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = u32, of[0]


class PerCpuArray(MapDecl):
    """BPF_MAP_TYPE_PERCPU_ARRAY: an array with one value for each CPU."""

    __slots__ = ()
    kind = 6
    per_cpu = True
    _takes = ("value",)
    _example = "write for example PerCpuArray[u64](64)"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = u32, of[0]


class RingBuf(MapDecl):
    """BPF_MAP_TYPE_RINGBUF (Linux 5.8): a stream of records, `RingBuf[Exec](256 * 1024)`.

    The size is in bytes: a power of two, at least a page. Iterate it to get the records.
    """

    __slots__ = ()
    kind = 27
    _takes = ("record",)
    _example = "write for example RingBuf[Exec](256 * 1024)"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        n = self.max_entries
        if n & (n - 1) or n < 4096:
            near = 4096
            while near < n:
                near *= 2
            raise _refuse(
                f"RingBuf: {n} bytes is not a power of two of at least a page (4096)", f"use {near}"
            )
        if not isinstance(of[0], StructType):
            raise _refuse(
                f"RingBuf: records are structs, not {of[0]!r}", "declare a class that derives from Struct"
            )
        self.key, self.value = None, of[0]


class StackTrace(MapDecl):
    """BPF_MAP_TYPE_STACK_TRACE: stacks of `depth` frames by id, for `kstack(stacks)`, `ustack(stacks)`."""

    __slots__ = ("depth",)
    kind = 7
    _takes = ()
    _example = "write for example StackTrace(1024)"

    def __init__(self, max_entries: int, depth: int = 127, **kwargs: Any) -> None:
        if not isinstance(depth, int) or not 0 < depth <= 127:
            raise _refuse(f"StackTrace: depth is 1 to 127 frames, not {depth!r}")
        self.depth = depth
        super().__init__(max_entries, **kwargs)

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = u32, ArrayType(u64, self.depth)


class ProgArray(MapDecl):
    """BPF_MAP_TYPE_PROG_ARRAY: programs to tail-call by index."""

    __slots__ = ()
    kind = 3
    _takes = ()
    _example = "write for example ProgArray(8)"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key = self.value = u32


# ---- globals ----


class _VarMeta(type):
    def __getitem__(cls, type_: Any) -> Callable[[Any], Any]:
        t = normalise(type_, cls.__name__)

        def declare(value: Any = None) -> Any:
            return cls(t, value)

        return declare


class Var(metaclass=_VarMeta):
    """Base of `Const` and `Global`. `type` is the declared type, `default` the value in the object.

    While a session holds it, `_live` is the session's `globals` and `.value` is the memory of the program.
    """

    __slots__ = ("_live", "_value", "default", "name", "type")

    def __init__(self, type: DeclType, value: Any = None) -> None:
        self.type = type
        self.default = self._value = default(type) if value is None else coerce(type, value)
        self.name = ""
        self._live: Any = None

    @property
    def value(self) -> Any:
        return self._value if self._live is None else getattr(self._live, self.name)

    @value.setter
    def value(self, value: Any) -> None:
        self._value = coerce(self.type, value)
        if self._live is not None:
            self._set_live(self._value)

    def _set_live(self, value: Any) -> None:
        setattr(self._live, self.name, value)

    def initial(self) -> bytes | None:
        """The memory to start with if it differs from `default`, else None."""
        now = pack(self.type, self._value)
        return None if now == pack(self.type, self.default) else now

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}[{self.type!r}] {self.name or 'unnamed'} = {self.value!r}>"


class Const(Var):
    """A value that programs read and only Python sets, before `bp.attach()`: `target = Const[u32](0)`.

    It lives in read-only memory, so the verifier knows it and drops the branches it rules out. Setting it
    does not compile the program anew.
    """

    __slots__ = ()

    def _set_live(self, value: Any) -> None:
        raise ProbeeError(
            f"{self.name}: a Const is fixed once loaded; set it before bp.attach(), or use Global"
        )


class Global(Var):
    """A variable that programs and Python share: `total = Global[u64](0)`, used as `total.value`."""

    __slots__ = ()


# ---- hooks ----


class ProgramDecl:
    """A function to run on a hook. `kind` is the decorator's name, `args` what it was given.

    | kind | args |
    |---|---|
    | tracepoint | (group, event) |
    | raw_tracepoint, tp_btf | (event,) |
    | perf_event | (event, "freq" or "period", number) |
    | uprobe, uretprobe | (binary, symbol, offset) |

    `pid` limits a uprobe to one process (None: all). `under` is the declaration that this decorator was
    stacked on. Calling it calls the Python function.
    """

    __slots__ = ("__weakref__", "args", "fn", "kind", "name", "pid", "under")

    def __init__(
        self, fn: Callable[..., Any] | ProgramDecl, kind: str, args: tuple[Any, ...], pid: int | None = None
    ) -> None:
        self.under = fn if isinstance(fn, ProgramDecl) else None
        self.fn: Callable[..., Any] = fn.fn if isinstance(fn, ProgramDecl) else fn
        if not hasattr(self.fn, "__code__"):
            raise _refuse(f"@{kind} stands on a function, not on {fn!r}", "put it directly over a `def`")
        self.kind = kind
        self.args = args
        self.pid = pid
        depth = len(self.under.expand()) + 1 if self.under else 1
        self.name: str = self.fn.__name__ if depth == 1 else f"{self.fn.__name__}_{depth}"

    @property
    def code(self) -> CodeType:
        code: CodeType = self.fn.__code__
        return code

    @property
    def hook(self) -> str:
        """The hook in words: `tracepoint sched:sched_switch`."""
        return f"{self.kind} " + ":".join(str(a) for a in self.args if a != 0)

    def expand(self) -> list[ProgramDecl]:
        """This program and those it is stacked on, innermost first."""
        return [*(self.under.expand() if self.under else ()), self]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<program {self.name} on {self.hook}>"


def _text(kind: str, what: str, value: object, example: str) -> str:
    if not isinstance(value, str) or not value or any(c.isspace() or c == "\0" for c in value):
        if callable(value):
            raise _refuse(f"@{kind} needs the {what}", f"write @{example}")
        raise _refuse(f"@{kind}: the {what} is a name, not {value!r}", f"write @{example}")
    return value


def tracepoint(name: str) -> Callable[[Any], ProgramDecl]:
    """Run on a tracepoint, `@tracepoint("sched:sched_switch")`. The parameter's attributes are its fields."""
    example = 'tracepoint("sched:sched_process_exec")'
    group, colon, event = _text("tracepoint", "tracepoint's group and event", name, example).partition(":")
    if not (colon and group.isidentifier() and event.isidentifier()):
        raise _refuse(f"@tracepoint: {name!r} is not group:event", f"write for example @{example}")
    return lambda fn: ProgramDecl(fn, "tracepoint", (group, event))


def raw_tracepoint(event: str) -> Callable[[Any], ProgramDecl]:
    """Run on a tracepoint with the kernel's own arguments, `@raw_tracepoint("sched_switch")` (Linux 4.17)."""
    return _raw("raw_tracepoint", event)


def tp_btf(event: str) -> Callable[[Any], ProgramDecl]:
    """Run on a tracepoint with typed, trusted arguments, `@tp_btf("sched_switch")` (Linux 5.5)."""
    return _raw("tp_btf", event)


def _raw(kind: str, event: str) -> Callable[[Any], ProgramDecl]:
    _text(kind, "event", event, f'{kind}("sched_switch")')
    if not event.isidentifier():
        raise _refuse(
            f"@{kind}: {event!r} is not an event's name",
            f'give the event without its group: {kind}("sched_switch")',
        )
    return lambda fn: ProgramDecl(fn, kind, (event,))


def perf_event(*, freq: int = 0, period: int = 0, event: str = "cpu-clock") -> Callable[[Any], ProgramDecl]:
    """Sample every CPU: `freq` times a second, or once in `period` events (nanoseconds for clocks).

    `event` is a software or hardware event of perf: cpu-clock, task-clock, page-faults, context-switches,
    cpu-cycles, instructions… With neither `freq` nor `period` it samples at 99 Hz.
    """
    _text("perf_event", "event", event, "perf_event(freq=99)")
    if freq and period:
        raise _refuse("@perf_event takes freq or period, not both", "write for example @perf_event(freq=99)")
    for word, number in (("freq", freq), ("period", period)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise _refuse(f"@perf_event: {word} is a positive number, not {number!r}")
    args = (event, "period", period) if period else (event, "freq", freq or 99)
    return lambda fn: ProgramDecl(fn, "perf_event", args)


def uprobe(
    binary: str, symbol: str, *, offset: int = 0, pid: int | None = None
) -> Callable[[Any], ProgramDecl]:
    """Run where a function of a program or library starts: `@uprobe("libc", "malloc")`.

    `binary` is a path or a library's name, `offset` bytes into the function, `pid` one process (None: all).
    The parameters are the function's arguments.
    """
    return _uprobe("uprobe", binary, symbol, offset, pid)


def uretprobe(binary: str, symbol: str, *, pid: int | None = None) -> Callable[[Any], ProgramDecl]:
    """Run where a function of a program or library returns. The parameter is the return value."""
    return _uprobe("uretprobe", binary, symbol, 0, pid)


def _uprobe(
    kind: str, binary: str, symbol: str, offset: int, pid: int | None
) -> Callable[[Any], ProgramDecl]:
    example = f'{kind}("libc", "malloc")'
    _text(kind, "program or library", binary, example)
    _text(kind, "function", symbol, example)
    if not isinstance(offset, int) or offset < 0:
        raise _refuse(f"@{kind}: the offset is a number of bytes, not {offset!r}")
    if pid is not None and (not isinstance(pid, int) or pid <= 0):
        raise _refuse(f"@{kind}: pid is a process id, not {pid!r}")
    return lambda fn: ProgramDecl(fn, kind, (binary, symbol, offset), pid)


def programs_in(namespace: dict[str, Any]) -> list[ProgramDecl]:
    """The programs of a module's globals, in order, at module level and in the bodies of its classes.

    A function with several decorators is here once, as its outermost: `expand` gives all of them.
    """
    found: dict[int, ProgramDecl] = {}
    module = namespace.get("__name__")
    classes: set[int] = set()  # a class body may hold itself

    def look(space: Iterable[Any]) -> None:
        for value in list(space):
            if isinstance(value, ProgramDecl):
                found[id(value)] = value
            elif isinstance(value, type) and value.__module__ == module and id(value) not in classes:
                classes.add(id(value))
                look(v for k, v in vars(value).items() if k[:2] != "__")

    look(namespace.values())
    inner = {id(p) for outer in found.values() for p in outer.expand()[:-1]}
    return [p for p in found.values() if id(p) not in inner]
