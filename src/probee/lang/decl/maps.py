"""Declared maps. In a program each is the map; after `bp.attach()` the live one, as a Python mapping."""

from __future__ import annotations

from .refuse import NotAttached, refuse
from .structs import StructType, normalise
from .types import ArrayType, u32, u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any, TypeVar

    from .programs import ProgramDecl
    from .types import DeclType

    M = TypeVar("M", bound="MapDecl")


NO_PREALLOC, NUMA_NODE = 1, 4  # BPF_F_* of linux/bpf.h


class _MapMeta(type):
    def __getitem__(cls: type[M], of: Any) -> Callable[..., M]:  # type: ignore[misc]
        return _MapOf(cls, of if isinstance(of, tuple) else (of,))


class _MapOf:
    """`Hash[u32, u64]`: calling it declares a map."""

    __slots__ = ("cls", "of")

    def __init__(self, cls: type[MapDecl], of: tuple[Any, ...]) -> None:
        if len(of) != len(cls._takes):
            form = f"{cls.__name__}[{', '.join(cls._takes)}]" if cls._takes else f"plain {cls.__name__}"
            raise refuse(f"{cls.__name__} is written {form}(…)", cls._example)
        self.cls = cls
        self.of = of

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.cls(*args, _of=self.of, **kwargs)

    def __repr__(self) -> str:
        return f"{self.cls.__name__}[{', '.join(map(repr, self.of))}]"


class MapDecl(metaclass=_MapMeta):
    """A declared map. In a program it is the map; after `bp.attach()` the live one, as a Python mapping.

    `kind` is the UAPI map type (linux/bpf.h, enum bpf_map_type); `key` and `value` are declared types or
    None; `flags` are BPF_F_*; with `pin` the map is kept by name under /sys/fs/bpf; `numa_node` is where its
    memory comes from. Use of the live map before a session holds it raises NotAttached.

    `extra` is the kernel's `map_extra`, `inner` what the maps in a map of maps are like, `programs` what a
    program array holds from the start.
    """

    __slots__ = (
        "_live",
        "extra",
        "flags",
        "handle",
        "inner",
        "key",
        "max_entries",
        "name",
        "numa_node",
        "pin",
        "programs",
        "value",
    )
    kind: int
    per_cpu = False
    sized = True
    _takes: tuple[str, ...] = ("key", "value")
    _example = ""
    _flags = 0

    key: DeclType | None
    value: DeclType | None
    inner: MapDecl | None

    def __init__(
        self,
        max_entries: int,
        *,
        flags: int = 0,
        name: str = "",
        pin: bool = False,
        numa_node: int | None = None,
        _of: tuple[Any, ...] = (),
    ) -> None:
        what = type(self).__name__
        if len(_of) != len(self._takes):
            raise refuse(f"{what} needs its types", self._example)
        good = isinstance(max_entries, int) and not isinstance(max_entries, bool)
        if not good or not (0 < max_entries < 1 << 32 or not (self.sized or max_entries)):
            raise refuse(
                f"{what}: the size is a number from 1 to 2**32-1, not {max_entries!r}", self._example
            )
        if name and not (name.isidentifier() and name.isascii()):
            raise refuse(f"{what}: a map's name is an identifier, not {name!r}")
        if numa_node is not None and (not isinstance(numa_node, int) or not 0 <= numa_node < 1 << 31):
            raise refuse(f"{what}: numa_node is a node's number, not {numa_node!r}")
        self.max_entries = max_entries
        self.flags = flags | self._flags | (NUMA_NODE if numa_node is not None else 0)
        self.name = name
        self.pin = pin
        self.numa_node = numa_node
        self.extra = 0
        self.inner = None
        self.handle: Any = None  # in the compiler: the address of a map inside a map
        self.programs: dict[int, ProgramDecl] = {}
        self._live: Any = None
        self._declare(_of)

    def _declare(self, of: tuple[Any, ...]) -> None:
        """What stood in the brackets."""
        what = type(self).__name__
        self._types(tuple(normalise(t, f"{what}[{word}]") for t, word in zip(of, self._takes, strict=True)))

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


class LpmTrie(MapDecl):
    """BPF_MAP_TYPE_LPM_TRIE (Linux 4.11): the entry with the longest prefix that fits.

    The key is a struct that begins with `prefixlen: u32`, the number of bits that count of what follows.
    """

    __slots__ = ()
    kind = 11
    _flags = NO_PREALLOC
    _example = "write for example LpmTrie[Prefix, u64](1024)"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        key = of[0]
        first = key._fields_[0] if isinstance(key, StructType) else None
        if first is None or first.type is not u32 or len(key._fields_) < 2:  # type: ignore[union-attr]
            raise refuse(
                f"LpmTrie: the key is a struct that begins with a u32, the length of the prefix, not {key!r}",
                "write for example class Prefix(bp.Struct): prefixlen: u32; address: u8[4]",
            )
        self.key, self.value = of


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
            raise refuse(f"RingBuf: {n} bytes is not a power of two of at least a page (4096)", f"use {near}")
        if not isinstance(of[0], StructType):
            raise refuse(
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
            raise refuse(f"StackTrace: depth is 1 to 127 frames, not {depth!r}")
        self.depth = depth
        super().__init__(max_entries, **kwargs)

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = u32, ArrayType(u64, self.depth)


class ProgArray(MapDecl):
    """BPF_MAP_TYPE_PROG_ARRAY: programs to tail-call by index.

    `jumps[1] = function` before the session puts a program of the module there when it is loaded; later,
    `jumps[1] = session.programs["function"]` does.
    """

    __slots__ = ()
    kind = 3
    _takes = ()
    _example = "write for example ProgArray(8)"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key = self.value = u32

    def __setitem__(self, key: Any, value: Any) -> None:
        from .programs import ProgramDecl

        if not isinstance(value, ProgramDecl):
            super().__setitem__(key, value)
            return
        if self._live is not None:
            raise refuse(
                f"{self.name}[{key}]: functions are assigned before the session",
                f'write {self.name}[{key}] = session.programs["{value.name}"]',
            )
        if not isinstance(key, int) or not 0 <= key < self.max_entries:
            raise refuse(f"{self.name or 'ProgArray'}[{key!r}]: the index is 0 to {self.max_entries - 1}")
        self.programs[key] = value
