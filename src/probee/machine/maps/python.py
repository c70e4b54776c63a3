"""The kernel's map classes where a machine's map needs more than another seam: maps that hold or are keyed by
objects, which here are the machine's, and perf buffers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ...kernel.arena import Arena
from ...kernel.describe import record_codec
from ...kernel.holders import CgroupArray, Holder, ProgArray
from ...kernel.local_storage import CgrpStorage, InodeStorage, LocalStorage, SkStorage, TaskStorage
from ...kernel.map_of_maps import ArrayOfMaps, HashOfMaps
from ...kernel.maps import _class_for, _facts
from ...kernel.perf_array import PerfEventArray
from ...kernel.sockets import ReuseportSockArray, SockHash, SockMap
from . import checks
from .arena import PAGE

if TYPE_CHECKING:
    from ...btf.values import Codec
    from .calls import MapCalls


class Owner:
    """Who a storage's value belongs to: what lies at an address."""

    __slots__ = ("address", "id")

    def __init__(self, address: int) -> None:
        self.address = address
        self.id = 0


def item_for(calls: MapCalls, kind: str, value: Any) -> Any:
    """The machine's object that Python means: itself, a kernel object by its address, a number or a path.

    None if there is none.
    """
    if isinstance(value, str):
        return calls.resolve_path(kind, value)
    if isinstance(value, int):
        return calls.resolve(kind, value)
    if isinstance(getattr(value, "address", None), int):
        return value
    if hasattr(value, "__index__"):
        return calls.resolve(f"{kind}_at", int(value)) or Owner(int(value))
    return None


if TYPE_CHECKING:
    _Storage = LocalStorage
    _Holder = Holder
else:
    _Storage = _Holder = object


class _Owned(_Storage):
    """Keys are tasks, sockets, cgroups or inodes of the machine: its objects, or pids, ids and paths."""

    __slots__ = ()
    _kind = ""

    def _descriptor(self, key: Any) -> tuple[int, bool]:
        calls: Any = self._kernel
        item = item_for(calls, self._kind, key)
        if item is None:
            raise KeyError(key)
        return calls.descriptor_of(self._kind, item), False


class MachineTaskStorage(_Owned, TaskStorage):
    __slots__ = ()
    _kind = "task"


class MachineSkStorage(_Owned, SkStorage):
    __slots__ = ()
    _kind = "socket"


class MachineInodeStorage(_Owned, InodeStorage):
    __slots__ = ()
    _kind = "inode"


class MachineCgrpStorage(_Owned, CgrpStorage):
    __slots__ = ()
    _kind = "cgroup"


class _Holding(_Holder):
    """Values are objects of the machine, or descriptors of them."""

    __slots__ = ()
    _kind = ""

    def dump(self, value: Any) -> bytes:
        calls: Any = self._kernel
        if isinstance(value, int):
            return self.packed(value)
        item = value if hasattr(value, "code") else item_for(calls, self._kind, value)
        if item is None:
            raise TypeError(f"{value!r} is no {self._kind} of the machine, which {self._called()} holds")
        return self.packed(calls.descriptor_of(self._kind, item))

    def packed(self, fd: int) -> bytes:
        raw: bytes = self.value.pack(fd)
        return raw


class MachineProgArray(_Holding, ProgArray):
    __slots__ = ()
    _kind = "prog"

    def program(self, index: int) -> Any:
        """The machine's program at an index. Raises KeyError."""
        calls: Any = self._kernel
        found = calls.find_map(self._fd).item(index)
        if found is None:
            raise KeyError(index)
        return found


class MachineSockMap(_Holding, SockMap):
    __slots__ = ()
    _kind = "socket"


class MachineSockHash(_Holding, SockHash):
    __slots__ = ()
    _kind = "socket"


class MachineReuseportSockArray(_Holding, ReuseportSockArray):
    __slots__ = ()
    _kind = "socket"


class MachineCgroupArray(_Holding, CgroupArray):
    """Assign the path of one of the machine's cgroups."""

    __slots__ = ()
    _kind = "cgroup"

    def put(self, key: Any, value: Any, flags: int = 0) -> None:
        Holder.put(self, key, value, flags)


class _Outer:
    """Maps inside are the machine's."""

    __slots__ = ()

    def _opened(self, id: int) -> Any:
        face: Any = self
        calls: MapCalls = face._kernel
        fd = calls.map_fd(id)
        if fd < 0:
            return None
        inside = calls.find_map(fd)
        facts = (
            _facts(face._inner, face._codecs)
            if face._inner is not None
            else {"key_size": inside.key_size, "value_size": inside.value_size, "flags": inside.flags}
        )
        facts |= {"type": inside.type, "max_entries": inside.max_entries, "name": inside.name}
        return class_for(inside.type)(fd, kernel=calls, **facts)


class MachineArrayOfMaps(_Outer, ArrayOfMaps):
    __slots__ = ()


class MachineHashOfMaps(_Outer, HashOfMaps):
    __slots__ = ()


class MachinePerfBuffer:
    """The records of a perf event array, typed: what `PerfBuffer` is in the kernel, without waiting.

    `more` lets time pass when there are no records; it says whether some may have come.
    """

    def __init__(self, owner: MachinePerfEventArray, codec: Codec | None) -> None:
        self._owner = owner
        self._codec = codec
        self.closed = False

    @property
    def name(self) -> str:
        return self._owner.name

    @property
    def lost(self) -> int:
        """How many records found no room."""
        return sum(self._owner.output.lost.values())

    def consume(self, limit: int = 1 << 62) -> list[Any]:
        """The records that are there, in the order they were written."""
        return self._typed(record for _, record in self._owner.output.take(limit))

    def _typed(self, records: Iterable[bytes]) -> list[Any]:
        codec = self._codec
        if codec is None:
            return list(records)
        return [codec.unpack(record.ljust(codec.size, b"\0")) for record in records]

    def poll(self, timeout: float | None = None) -> list[Any]:
        return self.consume()

    def dispatch(self, callback: Callable[[Any], object], timeout: float | None = 0) -> int:
        found = self.consume()
        for record in found:
            callback(record)
        return len(found)

    def __iter__(self) -> Iterator[Any]:
        while not self.closed:
            found = self.consume()
            yield from found
            if not found and not self._owner.more():
                return

    async def __aiter__(self) -> AsyncIterator[Any]:
        for record in self:
            yield record

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> MachinePerfBuffer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class MachinePerfEventArray(PerfEventArray):
    """A perf event array of the machine. `output` is the machine's map; `more` as for `MachinePerfBuffer`;
    `of` the type of its records where the programs declare one."""

    __slots__ = ("more", "of", "output")
    output: Any
    more: Callable[[], bool]
    of: Any

    @property
    def counters(self) -> dict[int, tuple[int, int, int]]:
        """What bpf_perf_event_read finds, by index: the count, the times enabled and running in ns."""
        found: dict[int, tuple[int, int, int]] = self.output.counters
        return found

    def buffer(self, of: Any = None, **facts: Any) -> MachinePerfBuffer:  # type: ignore[override]
        """A reader of what programs write. `of` says what the records are; sizes and wake-ups have no meaning
        here."""
        of = getattr(self, "of", None) if of is None else of
        return MachinePerfBuffer(self, None if of is None else record_codec(of, self._codecs))

    def consume(self, limit: int = 1 << 62) -> list[Any]:
        """The records that are there, in the order they were written: of their type where it was declared,
        else bytes."""
        return self.buffer().consume(limit)

    def dispatch(self, callback: Callable[[Any], object], timeout: float | None = 0) -> int:
        """Call a function with each record; returns how many there were."""
        return self.buffer().dispatch(callback, timeout)


class MachineArena(Arena):
    """An arena of the machine: pages are taken when Python looks at them, as a touch does in the kernel."""

    __slots__ = ()

    def touch(self, offset: int, size: int) -> None:
        calls: Any = self._kernel
        arena = calls.find_map(self._fd)
        for page in range(offset // PAGE, -(-(offset + size) // PAGE)):
            if page not in arena.used:
                arena.take(page, 1)


_OWN: dict[int, type[Any]] = {
    checks.TASK_STORAGE: MachineTaskStorage,
    checks.SK_STORAGE: MachineSkStorage,
    checks.INODE_STORAGE: MachineInodeStorage,
    checks.CGRP_STORAGE: MachineCgrpStorage,
    checks.PROG_ARRAY: MachineProgArray,
    checks.SOCKMAP: MachineSockMap,
    checks.SOCKHASH: MachineSockHash,
    checks.REUSEPORT_SOCKARRAY: MachineReuseportSockArray,
    checks.CGROUP_ARRAY: MachineCgroupArray,
    checks.ARRAY_OF_MAPS: MachineArrayOfMaps,
    checks.HASH_OF_MAPS: MachineHashOfMaps,
    checks.PERF_EVENT_ARRAY: MachinePerfEventArray,
    checks.ARENA: MachineArena,
}


def class_for(number: int) -> type[Any]:
    """The Python class for a map type in the machine."""
    own = _OWN.get(number)
    return _class_for(number) if own is None else own
