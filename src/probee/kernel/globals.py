"""Global variables of programs as attributes: read and written in the memory that the programs use.

Data maps (`.data`, `.bss`, `.rodata`) are mapped into the process (Linux 5.5), so reading a variable costs no
system call. A variable of 1, 2, 4 or 8 bytes is read and written as a whole; larger ones may be seen half
written. On kernels that can't map them each access reads or writes the whole map.
"""

from __future__ import annotations

from ..btf.values import Codecs
from ..errors import MapError
from .maps import untyped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Self

    from ..btf.values import Codec
    from ..obj import GlobalSpec, ObjectSpec
    from .maps import Map

_KEY = bytes(4)  # data maps are arrays of one entry
_ARENA = 33  # enum bpf_map_type


class _Section:
    """The memory of one data map; `view` is None where it could not be mapped.

    The variables in an arena begin at byte `start` of it.
    """

    __slots__ = ("const", "map", "view")

    def __init__(self, m: Map, const: bool, start: int) -> None:
        from mmap import PAGESIZE

        self.map = m
        self.const = const
        self.view: memoryview | None = None
        if m.type == _ARENA:
            memory: memoryview = m.memory  # type: ignore[attr-defined]
            self.view = memory[start:]
            return
        size = (m.value_size + PAGESIZE - 1) // PAGESIZE * PAGESIZE
        try:
            self.view = memoryview(m._kernel.mmap(m.fd, size, write=not const))
        except OSError as e:
            if m.closed:
                raise m.failed(e, "map the memory of") from e

    def read(self, codec: Codec, offset: int) -> Any:
        if self.view is not None:
            return codec.unpack(self.view, offset)
        return codec.unpack(self._whole(), offset)

    def write(self, data: bytes, offset: int) -> None:
        if self.view is not None:
            self.view[offset : offset + len(data)] = data
            return
        whole = bytearray(self._whole())
        whole[offset : offset + len(data)] = data
        try:
            self.map._kernel.map_update(self.map.fd, _KEY, whole)
        except OSError as e:
            raise self.map.failed(e, "write") from e

    def _whole(self) -> bytes:
        try:
            found = self.map._kernel.map_lookup(self.map.fd, _KEY, self.map.value_size)
        except OSError as e:
            raise self.map.failed(e, "read") from e
        return found or bytes(self.map.value_size)


class Globals:
    """`g.total` reads, `g.total = 0` writes. Names that are no attributes of their own go by `g["name"]`.

    `maps` are the live maps by the names in the spec. Constants (`.rodata`) can be read; they are set before
    loading. Raises AttributeError (KeyError by index) for unknown names, MapError for what is refused.
    """

    __slots__ = ("_",)

    def __init__(
        self,
        maps: Mapping[str, Map],
        spec: ObjectSpec,
        codecs: Codecs | None = None,
        arena_offset: int = 0,
    ) -> None:
        if codecs is None and spec.btf is not None:
            codecs = Codecs(spec.btf)
        object.__setattr__(self, "_", _State(maps, spec, codecs, arena_offset))

    def __getitem__(self, name: str) -> Any:
        state: _State = self._
        section, codec, var = state.find(name)
        return section.read(codec, var.offset)

    def __setitem__(self, name: str, value: Any) -> None:
        state: _State = self._
        section, codec, var = state.find(name)
        if section.const:
            raise MapError(f"{name} is a constant of the program: give its value before loading")
        section.write(codec.pack(value), var.offset)

    def __getattr__(self, name: str) -> Any:
        if name not in self._.vars:
            raise AttributeError(f"the program has no global {name!r}; it has {', '.join(self) or 'none'}")
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._.vars:
            raise AttributeError(f"the program has no global {name!r}; it has {', '.join(self) or 'none'}")
        self[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self._.vars

    def __iter__(self) -> Iterator[str]:
        return iter(self._.vars)

    def __len__(self) -> int:
        return len(self._.vars)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._.vars})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        close(self)

    def __repr__(self) -> str:
        return f"<globals {', '.join(self)}>"


class _State:
    """What a `Globals` knows; apart, so that its attributes are free for the program's names."""

    __slots__ = ("arena_offset", "codecs", "known", "maps", "sections", "spec", "vars")

    def __init__(
        self, maps: Mapping[str, Map], spec: ObjectSpec, codecs: Codecs | None, arena_offset: int
    ) -> None:
        self.arena_offset = arena_offset
        self.maps = maps
        self.spec = spec
        self.vars: dict[str, GlobalSpec] = spec.globals
        self.codecs = codecs
        self.sections: dict[str, _Section] = {}
        self.known: dict[str, tuple[_Section, Codec, GlobalSpec]] = {}

    def find(self, name: str) -> tuple[_Section, Codec, GlobalSpec]:
        found = self.known.get(name)
        if found is None:
            var = self.vars[name]
            typed = self.codecs is not None and var.type_id
            codec = self.codecs.get(var.type_id) if self.codecs and typed else untyped(var.size)
            section = self.sections.get(var.map)
            if section is None:
                m = self.maps[var.map]
                const = var.const or self.spec.maps[var.map].readonly
                section = self.sections[var.map] = _Section(m, const, self.arena_offset)
            found = self.known[name] = section, codec, var
        return found


def close(variables: Globals) -> None:
    """Let go of the memory. A function, since a method would take a name from the program's variables."""
    state = variables._
    state.known.clear()
    state.sections.clear()
