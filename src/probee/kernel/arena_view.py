"""What lies in an arena, seen from Python: structs with their fields, pointers that lead on, arrays.

Types are declared ones (`probee.Struct`, `u64`, `u32[8]`…): whatever has `_size_`, `_pack_` and `_unpack_`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .arena import Arena


def at(arena: Arena, pointer: Any, of: Any) -> Any:
    """What of a type lies at an address: a view of it, or a number. None at address 0.

    Raises IndexError outside of the arena.
    """
    address = getattr(pointer, "_pointer", pointer) or 0
    if not address:
        return None
    start = arena.offset(int(address))
    if start + of._size_ > arena.size:
        raise IndexError(f"{of!r} at {address:#x} goes over the end of arena {arena.name!r}")
    arena.touch(start, of._size_)
    return _read(arena, start, of)


def _read(arena: Arena, start: int, of: Any) -> Any:
    if getattr(of, "_fields_", None):
        return View(arena, start, of)
    if hasattr(of, "elem"):
        return Elements(arena, start, of)
    value = of._unpack_(bytes(arena.memory[start : start + of._size_]))
    if hasattr(of, "target"):
        to = of.target()
        return value if to is None else at(arena, value, to)
    return value


def _write(arena: Arena, start: int, of: Any, value: Any) -> None:
    if isinstance(value, (View, Elements)) and not hasattr(of, "target"):
        data = bytes(value)
        if len(data) != of._size_:
            raise TypeError(f"{of!r} takes {of._size_} bytes, not {len(data)}")
    elif hasattr(of, "elem") and not isinstance(value, (bytes, bytearray)):
        data = b"".join(of.elem._pack_(v) for v in value)
        if len(data) != of._size_:
            raise ValueError(f"{of!r} takes {of.n} elements")
    else:
        data = of._pack_(value)
    arena.memory[start : start + of._size_] = data


class View:
    """A struct in an arena. Its fields are read and written where they are; pointers give views, or None."""

    __slots__ = ("_arena", "_pointer", "_start", "_type")

    def __init__(self, arena: Arena, start: int, of: Any) -> None:
        object.__setattr__(self, "_arena", arena)
        object.__setattr__(self, "_start", start)
        object.__setattr__(self, "_type", of)
        object.__setattr__(self, "_pointer", arena.pointer(start))

    def _field(self, name: str) -> Any:
        for f in self._type._fields_:
            if f.name == name:
                return f
        raise AttributeError(f"{self._type.__name__} has no field {name!r}")

    def __getattr__(self, name: str) -> Any:
        f = self._field(name)
        if f.bits:
            return f.unpack_from(bytes(self))
        return _read(self._arena, self._start + f.offset, f.type)

    def __setattr__(self, name: str, value: Any) -> None:
        f = self._field(name)
        if f.bits:
            data = bytearray(bytes(self))
            f.pack_into(data, value)
            part = slice(self._start + f.offset, self._start + f.offset + f.size)
            self._arena.memory[part] = data[f.offset : f.offset + f.size]
        else:
            _write(self._arena, self._start + f.offset, f.type, value)

    def __bytes__(self) -> bytes:
        return bytes(self._arena.memory[self._start : self._start + self._type._size_])

    def __int__(self) -> int:
        """Its address."""
        return int(self._pointer)

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        """Is it the same place?"""
        return isinstance(other, View) and (self._pointer, self._type) == (other._pointer, other._type)

    def __hash__(self) -> int:
        return hash(self._pointer)

    def __repr__(self) -> str:
        shown = []
        for f in self._type._fields_:
            pointer = not f.bits and hasattr(f.type, "target")
            value = int(getattr(self, f.name) or 0) if pointer else getattr(self, f.name)
            shown.append(f"{f.name}={hex(value) if pointer else repr(value)}")
        return f"<{self._type.__name__} at {self._pointer:#x}: {', '.join(shown)}>"


class Elements:
    """An array in an arena."""

    __slots__ = ("_arena", "_start", "_type")

    def __init__(self, arena: Arena, start: int, of: Any) -> None:
        self._arena = arena
        self._start = start
        self._type = of

    def __len__(self) -> int:
        return int(self._type.n)

    def _place(self, i: int) -> int:
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is outside of {self._type!r}")
        return int(self._start + i % len(self) * self._type.elem._size_)

    def __getitem__(self, i: int) -> Any:
        return _read(self._arena, self._place(i), self._type.elem)

    def __setitem__(self, i: int, value: Any) -> None:
        _write(self._arena, self._place(i), self._type.elem, value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bytes__(self) -> bytes:
        return bytes(self._arena.memory[self._start : self._start + self._type._size_])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Elements, list, tuple)):
            return NotImplemented
        return list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


def array(arena: Arena, pointer: Any, of: Any, count: int) -> Any:
    """A NumPy array over the memory, see `Arena.array`."""
    import numpy as np

    start = arena.offset(int(getattr(pointer, "_pointer", pointer) or 0))
    size = of._size_ * count
    if start + size > arena.size:
        raise IndexError(f"{count} of {of!r} go over the end of arena {arena.name!r}")
    arena.touch(start, size)
    return np.frombuffer(arena.memory[start : start + size], dtype=_dtype(of))


def _dtype(of: Any) -> Any:
    """The NumPy type of a declared one. Pointers are numbers; bit fields are left out."""
    import numpy as np

    fields = getattr(of, "_fields_", None)
    if fields:
        kept = [f for f in fields if not f.bits]
        return np.dtype(
            {
                "names": [f.name for f in kept],
                "formats": [_dtype(f.type) for f in kept],
                "offsets": [f.offset for f in kept],
                "itemsize": of._size_,
            }
        )
    if hasattr(of, "elem"):
        return np.dtype((_dtype(of.elem), (of.n,)))
    of = getattr(of, "scalar", of)
    if hasattr(of, "code"):
        return np.dtype("<" + of.code)
    return np.dtype("<u8") if hasattr(of, "to") else np.dtype(("S", of._size_))
