"""Declared maps without keys: queues, stacks, Bloom filters, streams to and from user space."""

from __future__ import annotations

from .maps import MapDecl
from .refuse import refuse
from .structs import StructType
from .types import u32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .types import DeclType


class _Keyless(MapDecl):
    __slots__ = ()
    _takes = ("value",)

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = None, of[0]


class Queue(_Keyless):
    """BPF_MAP_TYPE_QUEUE (Linux 4.20): first in, first out, `Queue[u64](64)`."""

    __slots__ = ()
    kind = 22
    _example = "write for example Queue[u64](64)"


class Stack(_Keyless):
    """BPF_MAP_TYPE_STACK (Linux 4.20): last in, first out, `Stack[u64](64)`."""

    __slots__ = ()
    kind = 23
    _example = "write for example Stack[u64](64)"


class BloomFilter(_Keyless):
    """BPF_MAP_TYPE_BLOOM_FILTER (Linux 5.16): knows surely what was never added.

    `hashes` (1 to 15) is the number of hash functions, 5 if it is left out.
    """

    __slots__ = ()
    kind = 30
    _example = "write for example BloomFilter[u64](1024)"

    def __init__(self, max_entries: int, hashes: int = 0, **kwargs: Any) -> None:
        if not isinstance(hashes, int) or not 0 <= hashes <= 15:
            raise refuse(f"BloomFilter: hashes is 1 to 15, not {hashes!r}")
        super().__init__(max_entries, **kwargs)
        self.extra = hashes


class PerfEventArray(MapDecl):
    """BPF_MAP_TYPE_PERF_EVENT_ARRAY (Linux 4.3): records for user space by CPU, or counters to read.

    `PerfEventArray[Exec]()` for `events.output(record)`; in Python `events.buffer()` reads them. A `RingBuf`
    is better where the kernel has it (5.8).
    """

    __slots__ = ()
    kind = 4
    sized = False
    _takes = ("record",)
    _example = "write for example PerfEventArray[Exec]()"

    def __init__(self, max_entries: int = 0, **kwargs: Any) -> None:
        super().__init__(max_entries, **kwargs)

    def _types(self, of: tuple[DeclType, ...]) -> None:
        if not isinstance(of[0], StructType):
            raise refuse(
                f"PerfEventArray: records are structs, not {of[0]!r}",
                "declare a class that derives from Struct",
            )
        self.key, self.value = u32, of[0]

    def buffer(self, **options: Any) -> Any:
        """A reader of the records, see `PerfEventArray.buffer` of live maps."""
        assert isinstance(self.value, StructType)
        return self._use().buffer(self.value.__name__, **options)


class UserRingBuf(MapDecl):
    """BPF_MAP_TYPE_USER_RINGBUF (Linux 6.1): records from user space, `UserRingBuf[Order](4096)`.

    The size is in bytes: a power of two, at least a page.
    """

    __slots__ = ()
    kind = 31
    _takes = ("record",)
    _example = "write for example UserRingBuf[Order](4096)"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        n = self.max_entries
        if n & (n - 1) or n < 4096:
            raise refuse(f"UserRingBuf: {n} bytes is not a power of two of at least a page (4096)")
        if not isinstance(of[0], StructType):
            raise refuse(
                f"UserRingBuf: records are structs, not {of[0]!r}", "declare a class that derives from Struct"
            )
        self.key, self.value = None, of[0]
