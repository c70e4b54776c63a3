"""Kernel memory made of BTF's layouts: objects built by field name, which programs walk as in the kernel.

    task = kernel.new("task_struct", pid=7, comm="sh", real_parent=parent)
    task.real_parent.comm          # reads what is in memory now
    task.cred = {"uid": {"val": 1000}}   # a pointer to a struct made of a dict: a new struct

Programs can read these objects and not write them, unless `writable` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..btf.kinds import (
    ARRAY,
    COMPOSITES,
    ENUM,
    ENUM64,
    FWD,
    INT,
    INT_BOOL,
    INT_SIGNED,
    PTR,
    STRUCT,
    TYPEDEF,
    UNION,
)
from ..btf.parser import Btf, BtfType
from ..errors import ProbeeError
from .memory import BASE, Memory, Region

_MAX_DEPTH = 32


class KernelError(ProbeeError):
    """A kernel object can't be made or has no such field."""


class _Field:
    """A member of a struct, or of its anonymous members. `bits` is the width of a bit field, else 0."""

    __slots__ = ("bit", "bits", "type")

    def __init__(self, bit: int, bits: int, type: int) -> None:
        self.bit = bit
        self.bits = bits
        self.type = type


class Object:
    """A struct or union in the machine's memory. Attributes are its fields; `int()` is its address."""

    __slots__ = ("_address", "_kernel", "_type")

    def __init__(self, kernel: Kernel, address: int, type: int) -> None:
        object.__setattr__(self, "_kernel", kernel)
        object.__setattr__(self, "_address", address)
        object.__setattr__(self, "_type", type)

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__" and name[-2:] == "__":
            raise AttributeError(name)
        kernel: Kernel = self._kernel
        f = kernel.field(self._type, name)
        return kernel.get(self._address, f)

    def __setattr__(self, name: str, value: Any) -> None:
        kernel: Kernel = self._kernel
        kernel.set(self._address, kernel.field(self._type, name), value, name)

    def __getitem__(self, path: str) -> Any:
        """A field by a path such as `cred.uid.val`."""
        found: Any = self
        for name in path.split("."):
            found = getattr(found, name)
        return found

    def __setitem__(self, path: str, value: Any) -> None:
        before, _, last = path.rpartition(".")
        setattr(self[before] if before else self, last, value)

    def __index__(self) -> int:
        address: int = self._address
        return address

    __int__ = __index__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Object):
            return bool(self._address == other._address)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._address)

    def __dir__(self) -> list[str]:
        return sorted(self._kernel.fields(self._type))

    def __repr__(self) -> str:
        t = self._kernel.btf.type(self._type)
        return f"<{t.kind_name} {t.name} at {self._address:#x}>"


class Elements(Sequence[Any]):
    """An array in the machine's memory."""

    __slots__ = ("_address", "_count", "_elem", "_kernel", "_size")

    def __init__(self, kernel: Kernel, address: int, elem: int, count: int) -> None:
        self._kernel = kernel
        self._address = address
        self._elem = elem
        self._count = count
        self._size = kernel.btf.size_of(elem)

    def __len__(self) -> int:
        return self._count

    def _at(self, index: int) -> int:
        if index < 0:
            index += self._count
        if not 0 <= index < self._count:
            raise IndexError(f"element {index} of {self._count}")
        return self._address + index * self._size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        return self._kernel.get(self._at(index), _Field(0, 0, self._elem))

    def __setitem__(self, index: int, value: Any) -> None:
        self._kernel.set(self._at(index), _Field(0, 0, self._elem), value, f"[{index}]")

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(self._count))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, (list, tuple, Elements)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


class Kernel:
    """The kernel's memory of one machine: objects by the layouts of `btf`."""

    def __init__(self, memory: Memory, btf: Btf) -> None:
        self.memory = memory
        self.btf = btf
        self.objects: dict[int, Object] = {}  # what was made here, by address
        self._fields: dict[int, dict[str, _Field]] = {}
        self._ids: dict[str, int] = {}
        self._texts: dict[bytes, int] = {}

    # ---- making

    def type_id(self, name: str) -> int:
        """The id of a struct, union, typedef or enum, as `task_struct`, `struct sock`. Raises KernelError."""
        found = self._ids.get(name)
        if found is None:
            word, _, rest = name.partition(" ")
            kinds = {"struct": (STRUCT,), "union": (UNION,), "enum": (ENUM, ENUM64)}.get(word)
            id = self.btf.find(rest.strip(), *kinds) if kinds else self.btf.find(name, STRUCT, UNION)
            if id is None and not kinds:
                id = self.btf.find(name, TYPEDEF, INT, ENUM, ENUM64)
            if id is None:
                raise KernelError(
                    f"the machine's BTF has no type {name!r}; the one that comes with probee has common "
                    "types only: give btf=, a kernel's /sys/kernel/btf/vmlinux"
                )
            found = self._ids[name] = self.btf.strip(id)
        return found

    def new(self, type: str, /, *, _extra: int = 0, _writable: bool = False, **fields: Any) -> Object:
        """A new object, all zero but for the fields given.

        A value may be a number, text for a char array or a `char *`, bytes, an object for a pointer to it,
        a dict for a struct or for a pointer to a new one, a sequence for an array. Names with dots go by a
        dict, as `**{"cred.uid.val": 0}`. `_extra` are bytes behind the object for its flexible array.
        """
        return self.new_by_id(self.type_id(type), fields, extra=_extra, writable=_writable)

    def new_by_id(
        self, id: int, fields: Mapping[str, Any] = {}, *, extra: int = 0, writable: bool = False
    ) -> Object:
        """The same for a type's id."""
        t = self.btf.type(id)
        if t.kind not in COMPOSITES:
            raise KernelError(f"{t.kind_name} {t.name} is no struct")
        for name, value in fields.items():
            extra = max(extra, self._behind(t, name, value))
        region = self.alloc(t.size + extra, t.name or "struct", writable=writable)
        made = self.objects[region.address] = Object(self, region.address, id)
        for name, value in fields.items():
            made[name] = value
        return made

    def _behind(self, t: BtfType, name: str, value: Any) -> int:
        """How many bytes a value for a flexible array takes behind its struct."""
        f = self.fields(t.id).get(name)
        inner = self.btf.type(self.btf.strip(f.type)) if f is not None else None
        if (
            f is None
            or inner is None
            or inner.kind != ARRAY
            or inner.array[2]
            or not hasattr(value, "__len__")
        ):
            return 0
        return max(0, f.bit // 8 + len(value) * self.btf.size_of(inner.array[0]) - t.size)

    def alloc(self, size: int, name: str = "", *, writable: bool = False, align: int = 8) -> Region:
        """Kernel memory without a type."""
        return self.memory.alloc(size, "kernel", align=align, writable=writable, name=name)

    def at(self, address: int, type: str) -> Object:
        """What is at an address, seen as a struct."""
        return Object(self, address, self.type_id(type))

    def text(self, value: str | bytes) -> int:
        """The address of a C string; equal strings are kept once."""
        data = value.encode() if isinstance(value, str) else bytes(value)
        found = self._texts.get(data)
        if found is None:
            region = self.alloc(len(data) + 1, "text")
            region.data[: len(data)] = data
            found = self._texts[data] = region.address
        return found

    def place(self, data: bytes, name: str = "") -> int:
        """The address of some bytes in kernel memory."""
        region = self.alloc(len(data), name)
        region.data[:] = data
        return region.address

    def allow_writes(self, made: Object) -> None:
        """Let programs write to an object."""
        region = self.memory.find(int(made))
        assert region is not None
        self.memory.protect(region, 0, region.size, writable=True)
        region.writable = True

    # ---- fields

    def fields(self, id: int) -> dict[str, _Field]:
        """The fields of a struct by name."""
        found = self._fields.get(id)
        if found is None:
            found = self._fields[id] = {}
            self._collect(self.btf.type(id), 0, found, 0)
        return found

    def _collect(self, t: BtfType, start: int, out: dict[str, _Field], depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise KernelError(f"{t.name or 'a struct'} is nested too deeply")
        for m in t.members:
            if m.name:
                out.setdefault(m.name, _Field(start + m.bit_offset, m.bit_size, m.type))
                continue
            inner = self.btf.type(self.btf.strip(m.type))
            if inner.kind in COMPOSITES:
                self._collect(inner, start + m.bit_offset, out, depth + 1)

    def field(self, id: int, name: str) -> _Field:
        """A field. Raises AttributeError with the names that resemble it."""
        fields = self.fields(id)
        found = fields.get(name)
        if found is None:
            from difflib import get_close_matches

            t = self.btf.type(id)
            near = get_close_matches(name, fields, 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            if not fields:
                hint = (
                    "; the machine's BTF knows only its name: give btf=, a kernel's /sys/kernel/btf/vmlinux"
                )
            raise AttributeError(f"struct {t.name} has no field {name!r}{hint}")
        return found

    def offset(self, type: str, path: str) -> int:
        """Where a field is in a struct, in bytes."""
        id, out = self.type_id(type), 0
        for name in path.split("."):
            f = self.field(id, name)
            out += f.bit // 8
            id = self.btf.strip(f.type)
        return out

    def _view(self, address: int, size: int) -> memoryview:
        if self.memory.find(address) is None:
            raise self.memory.fault(address, size)
        return self.memory.buffer[address - BASE : address - BASE + size]

    def get(self, address: int, f: _Field) -> Any:
        """The value of a field of the struct at `address`."""
        t = self.btf.type(self.btf.strip(f.type))
        if f.bits:
            return self._bits(address, f, t)
        at = address + f.bit // 8
        if t.kind in COMPOSITES:
            return Object(self, at, t.id)
        if t.kind == ARRAY:
            elem, _, count = t.array
            if self._is_char(elem):
                return bytes(self._view(at, count)).partition(b"\0")[0].decode(errors="replace")
            return Elements(self, at, elem, count)
        size = self.btf.size_of(t.id)
        number = int.from_bytes(self._view(at, size), "little")
        if t.kind == PTR:
            return self._pointed(number, t)
        if t.kind == INT and t.encoding & INT_BOOL:
            return bool(number)
        return _signed(number, 8 * size) if _is_signed(t) else number

    def _bits(self, address: int, f: _Field, t: BtfType) -> int:
        first, last = f.bit // 8, (f.bit + f.bits + 7) // 8
        raw = int.from_bytes(self._view(address + first, last - first), "little")
        number = raw >> f.bit % 8 & (1 << f.bits) - 1
        return _signed(number, f.bits) if _is_signed(t) else number

    def _pointed(self, address: int, t: BtfType) -> Any:
        if not address:
            return None
        made = self.objects.get(address)
        to = self.btf.type(self.btf.strip(t.type)) if t.type else None
        if to is not None and to.kind in COMPOSITES:
            return Object(self, address, to.id)
        if to is not None and to.name in ("char", "unsigned char") and self.memory.find(address) is not None:
            return self.memory.read_string(address, 4096).decode(errors="replace")
        if made is not None:
            return made
        if to is not None and to.kind == FWD:
            whole = self.btf.find(to.name, UNION if to.kflag else STRUCT)
            if whole is not None:
                return Object(self, address, whole)
        return address

    def set(self, address: int, f: _Field, value: Any, name: str) -> None:
        """Write a field of the struct at `address`."""
        t = self.btf.type(self.btf.strip(f.type))
        if f.bits:
            self._set_bits(address, f, _number(value, name))
            return
        at = address + f.bit // 8
        if t.kind in COMPOSITES:
            self._set_struct(at, t, value, name)
            return
        if t.kind == ARRAY:
            self._set_array(at, t, value, name)
            return
        size = self.btf.size_of(t.id)
        if t.kind == PTR:
            value = self._pointer(t, value, name)
        number = _number(value, name)
        bits = 8 * size
        if not -(1 << bits - 1) <= number < 1 << bits:
            raise OverflowError(f"{name}: {number} does not fit {size} bytes")
        self._view(at, size)[:] = (number & (1 << bits) - 1).to_bytes(size, "little")

    def _set_bits(self, address: int, f: _Field, number: int) -> None:
        first, last = f.bit // 8, (f.bit + f.bits + 7) // 8
        if not -(1 << f.bits - 1) <= number < 1 << f.bits:
            raise OverflowError(f"{number} does not fit {f.bits} bits")
        view = self._view(address + first, last - first)
        mask = (1 << f.bits) - 1 << f.bit % 8
        raw = int.from_bytes(view, "little") & ~mask | number << f.bit % 8 & mask
        view[:] = raw.to_bytes(last - first, "little")

    def _set_struct(self, at: int, t: BtfType, value: Any, name: str) -> None:
        if isinstance(value, Mapping):
            inside = Object(self, at, t.id)
            for key, v in value.items():
                inside[key] = v
        elif isinstance(value, (bytes, bytearray)):
            if len(value) > t.size:
                raise ValueError(f"{name} has {t.size} bytes, not {len(value)}")
            self._view(at, t.size)[: len(value)] = value
        elif isinstance(value, Object):
            self._view(at, t.size)[:] = bytes(self._view(int(value), t.size))
        else:
            raise TypeError(f"{name} is a struct: give a dict of its fields, or bytes")

    def _set_array(self, at: int, t: BtfType, value: Any, name: str) -> None:
        elem, _, count = t.array
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, (bytes, bytearray)):
            size = self.btf.size_of(elem) * count
            text = self._is_char(elem)
            if count and len(value) > size - text and not (text and not value[size - 1 :].strip(b"\0")):
                raise ValueError(f"{name} has room for {size - text} bytes, not {len(value)}")
            self._view(at, max(size, len(value)))[:] = bytes(value).ljust(size, b"\0")
            return
        size = self.btf.size_of(elem)
        if not isinstance(value, Sequence):
            raise TypeError(f"{name} is an array: give a sequence, or bytes")
        if count and len(value) > count:
            raise ValueError(f"{name} has {count} elements, not {len(value)}")
        for i, item in enumerate(value):
            self.set(at + i * size, _Field(0, 0, elem), item, f"{name}[{i}]")

    def _pointer(self, t: BtfType, value: Any, name: str) -> Any:
        if value is None:
            return 0
        if isinstance(value, (str, bytes, bytearray)):
            return self.text(value) if isinstance(value, str) else self.place(bytes(value))
        if isinstance(value, Mapping):
            to = self.btf.type(self.btf.strip(t.type)) if t.type else None
            if to is not None and to.kind == FWD:
                whole = self.btf.find(to.name, UNION if to.kflag else STRUCT)
                to = self.btf.type(whole) if whole is not None else to
            if to is None or to.kind not in COMPOSITES:
                what = (
                    f"struct {to.name}, of which the machine's BTF has only the name"
                    if to
                    else "nothing typed"
                )
                raise TypeError(f"{name} points to {what}: give an object made by kernel.new()")
            return self.new_by_id(to.id, value)
        return value

    def _is_char(self, id: int) -> bool:
        t = self.btf.type(self.btf.strip(id))
        return t.kind == INT and t.name == "char"


def _number(value: Any, name: str) -> int:
    if isinstance(value, float) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: {value!r} is no number")
    return int(value.__index__())


def _signed(number: int, bits: int) -> int:
    return number - (1 << bits) if number >> bits - 1 else number


def _is_signed(t: BtfType) -> bool:
    if t.kind == INT:
        return bool(t.encoding & INT_SIGNED)
    return t.kind in (ENUM, ENUM64) and t.kflag


class User:
    """Memory of the process that programs look at."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def alloc(self, size: int, name: str = "") -> Region:
        """Some bytes, all zero."""
        return self.memory.alloc(size, "user", name=name)

    def place(self, data: bytes) -> int:
        """The address of some bytes."""
        region = self.alloc(len(data))
        region.data[:] = data
        return region.address

    def string(self, text: str | bytes) -> int:
        """The address of a C string."""
        return self.place((text.encode() if isinstance(text, str) else text) + b"\0")

    def pointers(self, *addresses: int) -> int:
        """The address of an array of pointers that ends with a null one, as argv is."""
        return self.place(b"".join(a.to_bytes(8, "little") for a in (*addresses, 0)))
