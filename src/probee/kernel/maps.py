"""Live maps as Python mappings.

`Map.create` makes a map from its spec; keys and values are converted by the BTF types of the spec, or are
plain integers (1, 2, 4, 8 bytes) or bytes where there are none. Reading a whole map takes it in batches
(BPF_MAP_LOOKUP_BATCH, Linux 5.6), key by key on kernels without. Iteration is safe while programs change the
map: each entry comes at most once, one that comes or goes meanwhile may or may not be seen.

A missing key is a KeyError; whatever else the kernel refuses is a MapError.
"""

from __future__ import annotations

import errno
import os
from _collections_abc import ItemsView, KeysView, MutableMapping, ValuesView

from ..btf.values import BytesCodec, Codec, Codecs, IntCodec
from ..errors import AttachError, MapError, ObjectError
from ..sys import kernel as current_kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, Self

    import numpy as np
    import pandas
    import pyarrow

    from ..btf import Btf
    from ..obj import MapSpec
    from ..sys.bpf import Kernel
    from .found import MapFacts

# enum bpf_map_type, linux/bpf.h
HASH, ARRAY, PROG_ARRAY, PERF_EVENT_ARRAY, PERCPU_HASH, PERCPU_ARRAY, STACK_TRACE, CGROUP_ARRAY = range(1, 9)
LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE, ARRAY_OF_MAPS, HASH_OF_MAPS = range(9, 14)
DEVMAP, SOCKMAP, CPUMAP, XSKMAP, SOCKHASH, CGROUP_STORAGE, REUSEPORT_SOCKARRAY = range(14, 21)
PERCPU_CGROUP_STORAGE, QUEUE, STACK, SK_STORAGE, DEVMAP_HASH, STRUCT_OPS, RINGBUF = range(21, 28)
INODE_STORAGE, TASK_STORAGE, BLOOM_FILTER, USER_RINGBUF, CGRP_STORAGE, ARENA = range(28, 34)
INSN_ARRAY, RHASH = 34, 35

# The kernel takes no BTF for the keys and values of these.
_WITHOUT_BTF = frozenset(
    (PERF_EVENT_ARRAY, CGROUP_ARRAY, STACK_TRACE, ARRAY_OF_MAPS, HASH_OF_MAPS, DEVMAP, DEVMAP_HASH, CPUMAP)
).union((XSKMAP, SOCKMAP, SOCKHASH, REUSEPORT_SOCKARRAY, QUEUE, STACK, RINGBUF, ARENA))
# Their values are the kernel's business: descriptors, ids, addresses.
_OWN_VALUES = frozenset(
    (PROG_ARRAY, PERF_EVENT_ARRAY, CGROUP_ARRAY, STACK_TRACE, ARRAY_OF_MAPS, HASH_OF_MAPS)
).union((DEVMAP, DEVMAP_HASH, CPUMAP, XSKMAP, SOCKMAP, SOCKHASH, REUSEPORT_SOCKARRAY))
ENOTSUPP = 524  # the kernel's own, not in errno
MISSING_FEATURE = frozenset((errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP))

# Flags of updates and look-ups
BPF_ANY, BPF_NOEXIST, BPF_EXIST = 0, 1, 2
BPF_F_LOCK = 4  # under the value's bpf_spin_lock (Linux 5.1)
BPF_F_CPU, BPF_F_ALL_CPUS = 8, 16  # per-CPU maps: the CPU in the upper half of the flags; all (Linux 7.0)
_default: Any = object()


class Map:
    """A live map. Closing it gives up the descriptor; the kernel frees the map when nothing else holds it.

    `key` and `value` are the codecs; `type` is the number of enum bpf_map_type, `flags` are BPF_F_*.
    """

    __slots__ = (
        "__weakref__",
        "_codecs",
        "_fd",
        "_id",
        "_inner",
        "_kernel",
        "_loose",
        "_pins",
        "flags",
        "key",
        "key_size",
        "max_entries",
        "name",
        "span",
        "type",
        "value",
        "value_size",
    )

    def __init__(
        self,
        fd: int,
        *,
        type: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        name: str = "",
        flags: int = 0,
        key: Codec | None = None,
        value: Codec | None = None,
        kernel: Kernel | None = None,
        codecs: Codecs | None = None,
        inner: MapSpec | None = None,
    ) -> None:
        self._fd = fd
        self._id = 0
        self._loose = False  # nobody else closes it: close it with the last reference
        self._pins: list[str] = []
        self._codecs = codecs  # the types around, for those who name one
        self._inner = inner  # what the maps inside a map of maps are like
        self._kernel = kernel or current_kernel()
        self.type = type
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.name = name
        self.flags = flags
        self.key = key or untyped(key_size)
        self.value = value or untyped(value_size)
        self.span = value_size  # bytes of a value as system calls carry it

    @staticmethod
    def create(
        spec: MapSpec,
        btf: Btf | None = None,
        *,
        btf_fd: int = 0,
        inner_fd: int = 0,
        classes: Mapping[str, type] | None = None,
        codecs: Codecs | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """A new map, of the class for its type.

        `btf` is what the spec's type ids refer to, `btf_fd` the same BTF in the kernel, `inner_fd` the
        template of a map of maps. Pass one `codecs` for all maps of an object to give them the same record
        classes. `options` are further arguments of `Kernel.map_create`, by name.
        Raises MapError if the kernel refuses, ObjectError if sizes and types of the spec do not agree.
        """
        kernel = current_kernel()
        if codecs is None and btf is not None:
            codecs = Codecs(btf, classes)
        made = _class_for(spec.map_type)(-1, kernel=kernel, **_facts(spec, codecs))
        of_kernel = bool(options and options.get("vmlinux_value_type_id"))  # then the BTF must be there
        typed = bool(btf_fd and spec.value_type_id and spec.map_type not in _WITHOUT_BTF)
        while True:
            try:
                made._fd = kernel.map_create(
                    made.type,
                    made.key_size,
                    made.value_size,
                    made.max_entries,
                    flags=made.flags,
                    name=spec.kernel_name,
                    btf_fd=btf_fd if typed or of_kernel else 0,
                    key_type_id=spec.key_type_id if typed else 0,
                    value_type_id=spec.value_type_id if typed else 0,
                    inner_fd=inner_fd,
                    extra=spec.map_extra,
                    numa_node=spec.numa_node or 0,
                    **(options or {}),
                )
            except OSError as e:
                if typed and e.errno != errno.EPERM:  # the kernel may not like the types: they are a courtesy
                    typed = False
                    continue
                raise made.failed(e, "create") from e
            try:
                made._created()
            except BaseException:
                made.close()
                raise
            return made

    @staticmethod
    def open(
        fd: int,
        spec: MapSpec | None = None,
        codecs: Codecs | None = None,
    ) -> Any:
        """A map that exists already, from a descriptor which it then owns; sizes are the kernel's.

        Types are those of the spec; `kernel.found.open_map` takes them from the kernel.
        """
        kernel = current_kernel()
        info = kernel.map_info(fd)
        facts: dict[str, Any] = {
            "type": info.type,
            "key_size": info.key_size,
            "value_size": info.value_size,
            "max_entries": info.max_entries,
            "name": info.name,
            "flags": info.flags,
        }
        if spec is not None:
            known = _facts(spec, codecs)
            facts = {**known, **facts, "name": known["name"] or info.name}
        made = _class_for(info.type)(fd, kernel=kernel, **facts)
        made._id = info.id
        return made

    def _created(self) -> None:
        """What a family has to do once the kernel has the map."""

    @property
    def fd(self) -> int:
        """The descriptor, -1 once closed."""
        return self._fd

    @property
    def id(self) -> int:
        """The kernel's id of the map, as bpftool shows it."""
        if not self._id:
            try:
                self._id = self._kernel.map_info(self._fd).id
            except OSError as e:
                raise self.failed(e, "get the id") from e
        return self._id

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """Give up the descriptor. Closing twice is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._kernel.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_loose", False):
            self.close()

    def freeze(self) -> None:
        """Make the map read-only for user space (Linux 5.2)."""
        try:
            self._kernel.map_freeze(self._fd)
        except OSError as e:
            raise self.failed(e, "freeze") from e

    def info(self) -> MapFacts:
        """What the kernel says of the map now: sizes, memory, whether it is frozen."""
        from .found import facts_of

        return facts_of(self)

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Keep the map in the kernel beyond this process, as a file of a BPF file system (Linux 4.4).

        Raises MapError if the name is taken or is not on a BPF file system, PermissionDenied.
        """
        from .pinning import pin

        try:
            pin(self._fd, os.fspath(path), f"map {self.name}")
        except AttachError as e:
            raise MapError(str(e), errno=e.errno) from None
        self._pins.append(os.fspath(path))

    def unpin(self) -> None:
        """Take away the pins made through this object, or that it was opened by."""
        while self._pins:
            path = self._pins.pop()
            if os.path.exists(path):
                os.unlink(path)

    def failed(self, error: OSError, doing: str) -> MapError:
        """The MapError for what the kernel answered."""
        number = error.errno or 0
        if self._fd < 0 and number in (errno.EBADF, errno.EBADFD):
            why = "it is closed"
        elif number == errno.E2BIG:
            why = f"it is full, it takes {self.max_entries} entries"
        elif number == errno.EPERM:
            why = "the kernel denies it (frozen or read-only map, or no CAP_BPF)"
        elif number == ENOTSUPP:
            why = "this kernel does not support it for this map type"
        else:
            why = os.strerror(number)
        return MapError(f"can't {doing} {self._called()}: {why}", errno=number)

    def _called(self) -> str:
        """The map's name for messages."""
        if self.name:
            return f"map {self.name!r}"
        from ..isa.tables import MAP_TYPES

        kind = next((name for name, (number, _) in MAP_TYPES.items() if number == self.type), str(self.type))
        return f"the {kind} map"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __bool__(self) -> bool:
        return True  # and not whether it has entries, which takes a walk through the map

    def __repr__(self) -> str:
        where = "closed" if self._fd < 0 else f"fd {self._fd}"
        return f"<{type(self).__name__} {self.name!r}, {self.max_entries} entries, {where}>"


class KeyedMap(Map, MutableMapping):  # type: ignore[type-arg]
    """A map as a Python mapping. Equality is identity: compare `m.snapshot()`."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    # What families change: how a value of `span` bytes is read and written.

    def load(self, raw: bytes) -> Any:
        """The Python value for a value's bytes."""
        return self.value.unpack(raw)

    def load_many(self, values: memoryview, count: int) -> Iterable[Any]:
        """The Python values for `count` values, one after the other."""
        return self.value.unpack_many(values, count, stride=self.span)

    def dump(self, value: Any) -> bytes:
        """A value's bytes for a Python value."""
        return self.value.pack(value)

    def value_dtype(self) -> Any:
        """NumPy's dtype of a value (of one CPU's)."""
        return self.value.dtype()

    def pack_key(self, key: Any) -> bytes:
        return self.key.pack(key)

    # One entry.

    def _look(self, key: Any, flags: int = 0) -> bytes | None:
        try:
            return self._kernel.map_lookup(self._fd, self.pack_key(key), self.span, flags)
        except OSError as e:
            raise self.failed(e, "read") from e

    def __getitem__(self, key: Any) -> Any:
        raw = self._look(key)
        if raw is None:
            raise KeyError(key)
        return self.load(raw)

    def get(self, key: Any, default: Any = None, *, flags: int = 0) -> Any:
        """The value of a key. The flag BPF_F_LOCK reads it under its `bpf_spin_lock`, whole (Linux 5.1)."""
        raw = self._look(key, flags)
        return default if raw is None else self.load(raw)

    def __contains__(self, key: Any) -> bool:
        return self._look(key) is not None

    def __setitem__(self, key: Any, value: Any) -> None:
        self.put(key, value)

    def put(self, key: Any, value: Any, flags: int = BPF_ANY) -> None:
        """Set an entry; with the flag BPF_NOEXIST only a new one (else MapError), with BPF_EXIST only one
        that is there (else KeyError), with BPF_F_LOCK under its `bpf_spin_lock` (Linux 5.1)."""
        try:
            self._kernel.map_update(self._fd, self.pack_key(key), self.dump(value), flags)
        except OSError as e:
            if e.errno == errno.ENOENT and flags & BPF_EXIST:
                raise KeyError(key) from None
            raise self.failed(e, "write") from e

    def __delitem__(self, key: Any) -> None:
        try:
            found = self._kernel.map_delete(self._fd, self.pack_key(key))
        except OSError as e:
            raise self.failed(e, "delete from") from e
        if not found:
            raise KeyError(key)

    def pop(self, key: Any, default: Any = _default) -> Any:
        """Take an entry out: atomically on Linux 5.14 and later, else look and delete."""
        raw = self.pack_key(key)
        try:
            try:
                value = self._kernel.map_lookup_and_delete(self._fd, raw, self.span)
            except OSError as e:
                if e.errno not in MISSING_FEATURE:
                    raise
                value = self._kernel.map_lookup(self._fd, raw, self.span)
                if value is not None and not self._kernel.map_delete(self._fd, raw):
                    value = None  # somebody else was faster
        except OSError as e:
            raise self.failed(e, "take from") from e
        if value is not None:
            return self.load(value)
        if default is _default:
            raise KeyError(key)
        return default

    # All entries.

    def chunks(self, *, take: bool = False, flags: int = 0) -> Iterator[tuple[memoryview, memoryview, int]]:
        """Keys and values as packed bytes, with their number. The buffers are used again for the next chunk.

        `take` deletes what it reads. With the flag BPF_F_LOCK each value is read under its `bpf_spin_lock`.
        """
        from .batch import chunks

        return chunks(self, take, flags)

    def __iter__(self) -> Iterator[Any]:
        for keys, _, n in self.chunks():
            yield from self.key.unpack_many(keys, n)

    def __len__(self) -> int:
        """The number of entries, counted by reading them."""
        return sum([n for _, _, n in self.chunks()])

    def keys(self) -> KeysView[Any]:
        return KeysView(self)

    def values(self) -> ValuesView[Any]:
        return _Values(self)

    def items(self) -> ItemsView[Any, Any]:
        return _Items(self)

    def snapshot(self) -> dict[Any, Any]:
        """All entries as a dict, read in batches. (`dict(m)` would look up each key once more.)"""
        return dict(self._pairs())

    def drain(self) -> list[tuple[Any, Any]]:
        """Take all entries out and return them. Each entry is taken atomically on Linux 5.6 and later."""
        return list(self._pairs(take=True))

    def _pairs(self, *, take: bool = False) -> Iterator[tuple[Any, Any]]:
        for keys, values, n in self.chunks(take=take):
            yield from zip(self.key.unpack_many(keys, n), self.load_many(values, n), strict=True)

    def clear(self) -> None:
        for _ in self.chunks(take=True):
            pass

    def update(self, other: Any = (), /, **kwargs: Any) -> None:
        """Set all entries of a mapping or of an iterable of pairs, in one system call where possible."""
        from .batch import write

        pairs: Iterable[tuple[Any, Any]] = other
        if hasattr(other, "items"):
            pairs = other.items()
        elif hasattr(other, "keys"):
            pairs = [(key, other[key]) for key in other.keys()]  # noqa: SIM118 - that is the protocol
        packed = [(self.pack_key(k), self.dump(v)) for k, v in (*pairs, *kwargs.items())]
        keys = bytearray().join([k for k, _ in packed])
        values = bytearray().join([v for _, v in packed])
        write(self, keys, values, len(packed))

    def update_many(self, keys: Any, values: Any, *, flags: int = BPF_ANY) -> None:
        """Set many entries from columns: NumPy arrays or what can be made into such, of the same length.

        Numbers are checked against the types of the map; structs are structured arrays with its fields.
        Raises OverflowError, TypeError, MapError.
        """
        from .columns import update_many

        update_many(self, keys, values, flags)

    def from_numpy(self, array: np.ndarray[Any, Any], *, flags: int = BPF_ANY) -> None:
        """Set many entries from a structured array with the fields `key` and `value`, as `to_numpy` gives."""
        self.update_many(array["key"], array["value"], flags=flags)

    def get_many(self, keys: Iterable[Any], default: Any = None) -> list[Any]:
        """The values of some keys, `default` for those that are missing."""
        return [self.get(key, default) for key in keys]

    def delete_many(self, keys: Iterable[Any]) -> int:
        """Delete some keys, in batches where the kernel can (Linux 5.6). Returns how many were there."""
        from .batch import delete

        return delete(self, [self.pack_key(key) for key in keys])

    def to_numpy(self, *, locked: bool = False) -> np.ndarray[Any, Any]:
        """All entries as a structured array with the fields `key` and `value`, a copy of this moment.

        Structs become nested dtypes, per-CPU values have the CPU as their last dimension. No key comes twice.

        Hash maps of more than some thousand entries are read by a program in the kernel (Linux 5.14), which
        takes no locks: where programs delete or replace entries at the same time, neighbours of those may be
        missing, as in a walk with BPF_MAP_GET_NEXT_KEY. (Changing values in place, as `+=` does, is no such
        thing.) `locked` reads under the locks of the map, each bucket at one moment; it takes three times as
        long.
        """
        from .columns import to_numpy

        return to_numpy(self, locked)

    def to_arrow(self, *, locked: bool = False) -> pyarrow.Table:
        """All entries as an Arrow table with the columns `key` and `value` (needs pyarrow).

        Structs are struct columns (`.flatten()` makes columns of their fields), text is text, per-CPU values
        are lists. `locked` as in `to_numpy`.
        """
        from .columns import to_arrow

        return to_arrow(self.to_numpy(locked=locked))

    def to_pandas(self, *, locked: bool = False) -> pandas.DataFrame:
        """All entries as a data frame (needs pandas): the columns `key` and `value`, for structs one for each
        field, as `key.pid`; per-CPU values are `value.0` and so on. `locked` as in `to_numpy`."""
        from .columns import to_pandas

        return to_pandas(self.to_numpy(locked=locked))


class _Items(ItemsView):  # type: ignore[type-arg]
    __slots__ = ()
    _mapping: KeyedMap

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._pairs()


class _Values(ValuesView):  # type: ignore[type-arg]
    __slots__ = ()
    _mapping: KeyedMap

    def __iter__(self) -> Iterator[Any]:
        m = self._mapping
        for _, values, n in m.chunks():
            yield from m.load_many(values, n)


class Hash(KeyedMap):
    """BPF_MAP_TYPE_HASH."""

    __slots__ = ()


class LruHash(KeyedMap):
    """BPF_MAP_TYPE_LRU_HASH: when it is full, writing drops entries that were not used for long."""

    __slots__ = ()


class ResizableHash(KeyedMap):
    """BPF_MAP_TYPE_RHASH (Linux 7.2): a hash whose table grows and shrinks with its entries."""

    __slots__ = ()


def untyped(size: int) -> Codec:
    """The codec of keys and values without BTF: an unsigned integer where the size allows, else bytes."""
    if size in (1, 2, 4, 8):
        return IntCodec(f"u{size * 8}", size, _native(), False)
    return BytesCodec(f"{size} bytes", size, _native())


def _native() -> str:
    import sys

    return "<" if sys.byteorder == "little" else ">"


def _facts(spec: MapSpec, codecs: Codecs | None) -> dict[str, Any]:
    """What the classes take, from a spec."""
    facts: dict[str, Any] = {
        "type": spec.map_type,
        "key_size": spec.key_size,
        "value_size": spec.value_size,
        "max_entries": spec.max_entries,
        "name": spec.name,
        "flags": spec.flags,
    }
    if codecs is not None:
        facts["codecs"] = codecs
    if spec.inner is not None:
        facts["inner"] = spec.inner
    if spec.map_type == PERF_EVENT_ARRAY and not spec.max_entries:
        facts["max_entries"] = current_kernel().possible_cpus()
    elif spec.map_type == RINGBUF:
        facts["key_size"] = facts["value_size"] = 0
        if codecs is not None and spec.record_type_id:
            facts["value"] = codecs.get(spec.record_type_id)
    elif codecs is not None:
        for word, type_id in (("key", spec.key_type_id), ("value", spec.value_type_id)):
            if not type_id or spec.initial is not None:  # data maps are many values, not one
                continue
            if word == "value" and spec.map_type in _OWN_VALUES:
                continue
            codec = codecs.get(type_id)
            if codec.size != facts[f"{word}_size"]:
                size = facts[f"{word}_size"]
                raise ObjectError(
                    f"map {spec.name}: its {word} has {size} bytes, {codec.name} has {codec.size}"
                )
            facts[word] = codec
    return facts


# Families other than the hashes load when they are met: module, class.
_FAMILIES = {
    ARRAY: ("arrays", "Array"),
    PROG_ARRAY: ("holders", "ProgArray"),
    PERF_EVENT_ARRAY: ("perf_array", "PerfEventArray"),
    PERCPU_HASH: ("percpu", "PerCpuHash"),
    PERCPU_ARRAY: ("percpu", "PerCpuArray"),
    STACK_TRACE: ("stacks", "StackTrace"),
    CGROUP_ARRAY: ("holders", "CgroupArray"),
    LRU_PERCPU_HASH: ("percpu", "LruPerCpuHash"),
    LPM_TRIE: ("lpm", "LpmTrie"),
    ARRAY_OF_MAPS: ("map_of_maps", "ArrayOfMaps"),
    HASH_OF_MAPS: ("map_of_maps", "HashOfMaps"),
    DEVMAP: ("devices", "DevMap"),
    SOCKMAP: ("sockets", "SockMap"),
    CPUMAP: ("devices", "CpuMap"),
    XSKMAP: ("sockets", "XskMap"),
    SOCKHASH: ("sockets", "SockHash"),
    CGROUP_STORAGE: ("local_storage", "CgroupStorage"),
    REUSEPORT_SOCKARRAY: ("sockets", "ReuseportSockArray"),
    PERCPU_CGROUP_STORAGE: ("local_storage", "PerCpuCgroupStorage"),
    QUEUE: ("queues", "Queue"),
    STACK: ("queues", "Stack"),
    SK_STORAGE: ("local_storage", "SkStorage"),
    DEVMAP_HASH: ("devices", "DevMapHash"),
    STRUCT_OPS: ("struct_ops_map", "StructOps"),
    RINGBUF: ("ringbuf", "RingBuf"),
    INODE_STORAGE: ("local_storage", "InodeStorage"),
    TASK_STORAGE: ("local_storage", "TaskStorage"),
    BLOOM_FILTER: ("queues", "BloomFilter"),
    USER_RINGBUF: ("user_ring", "UserRingBuf"),
    CGRP_STORAGE: ("local_storage", "CgrpStorage"),
    ARENA: ("arena", "Arena"),
    INSN_ARRAY: ("insn_array", "InsnArray"),
    RHASH: ("maps", "ResizableHash"),
}


def _class_for(map_type: int) -> type[Any]:
    """The class of a map type. One that nobody knows yet is taken for a hash."""
    family = _FAMILIES.get(map_type)
    if family is None:
        return LruHash if map_type == LRU_HASH else Hash
    module, name = family
    found: type[Any] = getattr(__import__(f"{__package__}.{module}", fromlist=["*"]), name)
    return found
