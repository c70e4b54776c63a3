"""What all maps of the machine share.

A map has two faces. Programs see addresses: `lookup` gives the address of a value in the machine's memory,
or 0, and what changes the map gives 0 or a negative errno, as the kernel's helpers do. The system call sees
bytes and raises OSError: `sys_lookup`, `sys_update`, `sys_delete`, `sys_next_key`, `sys_take`. Both take
keys as bytes of the key's size.

The defaults here are what the kernel answers for an operation that a map type does not have.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NoReturn

from .fields import Fields, fields_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...btf import Btf
    from ..memory import Memory, Region

ENOTSUPP = 524  # the kernel's own, not in errno

ANY, NOEXIST, EXIST, LOCK = 0, 1, 2, 4  # flags of updates

F_NO_PREALLOC, F_NO_COMMON_LRU, F_NUMA_NODE = 1 << 0, 1 << 1, 1 << 2
F_RDONLY, F_WRONLY = 1 << 3, 1 << 4
F_STACK_BUILD_ID, F_ZERO_SEED = 1 << 5, 1 << 6
F_RDONLY_PROG, F_WRONLY_PROG = 1 << 7, 1 << 8
F_CLONE, F_MMAPABLE, F_PRESERVE_ELEMS, F_INNER_MAP = 1 << 9, 1 << 10, 1 << 11, 1 << 12
F_LINK, F_VTYPE_BTF_OBJ_FD, F_TOKEN_FD = 1 << 13, 1 << 15, 1 << 16
F_SEGV_ON_FAULT, F_NO_USER_CONV, F_RB_OVERWRITE = 1 << 17, 1 << 18, 1 << 19


class Attributes:
    """How a map is made, as in BPF_MAP_CREATE. `btf` is what the type ids refer to."""

    __slots__ = (
        "btf",
        "extra",
        "flags",
        "inner",
        "key_size",
        "key_type_id",
        "max_entries",
        "name",
        "type",
        "value_size",
        "value_type_id",
    )

    def __init__(
        self,
        type: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        *,
        flags: int = 0,
        name: str = "",
        extra: int = 0,
        inner: Map | None = None,
        btf: Btf | None = None,
        key_type_id: int = 0,
        value_type_id: int = 0,
    ) -> None:
        self.type = type
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        self.name = name
        self.extra = extra
        self.inner = inner
        self.btf = btf
        self.key_type_id = key_type_id
        self.value_type_id = value_type_id


class Home:
    """Where maps live: the machine's memory, the number of its CPUs, and what maps ask of it.

    `objects` gives ids to maps, programs and whatever else maps hold, and finds them again by their
    descriptors. `describe` gives the kernel's `struct bpf_map` of a map, which programs may read through its
    handle. `dropped` is called with the value of an entry that goes, to end its timers and give back
    its kptrs.
    """

    __slots__ = ("cpu", "cpus", "describe", "dropped", "memory", "random", "resolve")

    def __init__(self, memory: Memory, cpus: int = 1) -> None:
        self.memory = memory
        self.cpus = cpus
        self.cpu = 0  # the CPU that Python's own calls are made on
        self.random: Callable[[], int] = lambda: 0
        self.describe: Callable[[Map], bytes] | None = None
        self.dropped: Callable[[Map, int, Fields], None] | None = None
        self.resolve: Callable[[str, int], object | None] = lambda kind, fd: None


class Layout:
    """What native code needs to look a key up by itself; see the classes that give one.

    `kind` is "array", "percpu_array" or "hash". Addresses are the machine's.
    """

    __slots__ = (
        "buckets",
        "cpu_stride",
        "elements",
        "key_offset",
        "key_size",
        "kind",
        "mask",
        "max_entries",
        "origin",
        "stride",
        "value_offset",
    )

    def __init__(self, kind: str, max_entries: int, key_size: int, stride: int) -> None:
        self.kind = kind
        self.max_entries = max_entries
        self.key_size = key_size
        self.stride = stride
        self.cpu_stride = 0
        self.elements = 0
        self.buckets = 0
        self.mask = 0
        self.key_offset = 0
        self.value_offset = 0
        self.origin = 0


def refuse(number: int) -> NoReturn:
    """Raise what the system call would answer."""
    raise OSError(abs(number), os.strerror(abs(number)) if abs(number) != ENOTSUPP else "not supported")


class Map:
    """A map. `address` is its handle, which programs hold; they read it only where the kernel's types are
    known.
    """

    per_cpu = False

    def __init__(self, attributes: Attributes, home: Home) -> None:
        self.type = attributes.type
        self.key_size = attributes.key_size
        self.value_size = attributes.value_size
        self.max_entries = attributes.max_entries
        self.flags = attributes.flags
        self.name = attributes.name
        self.extra = attributes.extra
        self.inner = attributes.inner
        self.btf = attributes.btf
        self.key_type_id = attributes.key_type_id
        self.value_type_id = attributes.value_type_id
        self.home = home
        self.memory = home.memory
        self.id = 0
        self.frozen = False
        self.closed = False
        self.regions: list[Region] = []
        self.fields: Fields = fields_of(self.btf, self.value_type_id, self.value_size)
        self.round_size = self.value_size + 7 & ~7
        told = home.describe(self) if home.describe is not None else b""
        kind, name = ("kernel", f"bpf_map {self.name}") if told else ("handle", self.name)
        handle = self.memory.alloc(len(told) or 8, kind, writable=False, name=name)
        handle.data[: len(told)] = told
        self.regions.append(handle)
        self.address: int = handle.address

    # Memory.

    def region(self, size: int, kind: str = "map_value") -> Region:
        """Memory of the map, zeroed; programs may write it unless the map is read-only for them."""
        made = self.memory.alloc(
            max(8, size),
            kind,
            writable=not self.flags & F_RDONLY_PROG,
            readable=not self.flags & F_WRONLY_PROG,
            name=self.name,
        )
        self.regions.append(made)
        return made

    def close(self) -> None:
        """Give the memory back. Closing twice is fine."""
        if self.closed:
            return
        self.closed = True
        for region in self.regions:
            self.memory.free(region)
        self.regions.clear()

    @property
    def span(self) -> int:
        """Bytes of a value as the system call carries it."""
        return self.round_size * self.home.cpus if self.per_cpu else self.value_size

    def layout(self) -> Layout | None:
        """How native code looks keys up by itself; None if it has to call."""
        return None

    # What programs do.

    def lookup(self, key: bytes, cpu: int) -> int:
        return 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        return -errno.EINVAL

    def delete(self, key: bytes, cpu: int) -> int:
        return -errno.EINVAL

    def lookup_on(self, key: bytes, cpu: int) -> int:
        """The address of one CPU's value, 0 if there is none."""
        return 0

    def push(self, value: bytes, flags: int) -> int:
        return -errno.EOPNOTSUPP

    def pop(self) -> bytes | int:
        return -errno.EOPNOTSUPP

    def peek(self) -> bytes | int:
        return -errno.EOPNOTSUPP

    def each(self, cpu: int) -> Iterator[tuple[int, int]] | None:
        """Addresses of keys and values for `bpf_for_each_map_elem`; None if the type has no such."""
        return None

    # What the system call does.

    def sys_lookup(self, key: bytes, flags: int = 0) -> bytes:
        return refuse(ENOTSUPP)

    def sys_update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        refuse(ENOTSUPP)

    def sys_delete(self, key: bytes) -> None:
        refuse(ENOTSUPP)

    def sys_next_key(self, key: bytes | None) -> bytes:
        return refuse(ENOTSUPP)

    def sys_take(self, key: bytes, flags: int = 0) -> bytes:
        return refuse(ENOTSUPP)

    def __repr__(self) -> str:
        return f"<machine {type(self).__name__} {self.name!r}, {self.max_entries} entries>"

    # For families.

    def answer(self, result: int) -> None:
        """What a program would get, as the system call's answer."""
        if result < 0:
            refuse(result)

    def check_lock(self, flags: int) -> None:
        """BPF_F_LOCK wants a value with a `bpf_spin_lock`."""
        if flags & LOCK and self.fields.find("spin_lock") is None:
            refuse(errno.EINVAL)

    def dropped(self, address: int) -> None:
        """A value's timers, kptrs and lists end with it."""
        if self.fields and self.home.dropped is not None:
            self.home.dropped(self, address, self.fields)

    def shown(self, value: bytes) -> bytes:
        return self.fields.shown(value) if self.fields else value
