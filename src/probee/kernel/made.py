"""Maps made from descriptions of their types: `probee.maps.create`."""

from __future__ import annotations

import errno
import os

from ..btf.values import Codecs
from ..errors import MapError, Unsupported
from ..isa.tables import MAP_TYPES
from ..obj.spec import MapSpec
from ..sys import kernel as current_kernel
from . import maps as kinds
from .describe import Types
from .maps import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BPF_F_NO_PREALLOC = 1 << 0
BPF_F_MMAPABLE = 1 << 10

_STORAGES = (kinds.SK_STORAGE, kinds.INODE_STORAGE, kinds.TASK_STORAGE, kinds.CGRP_STORAGE)
_NEEDED_FLAGS = {
    kinds.LPM_TRIE: BPF_F_NO_PREALLOC,
    kinds.RHASH: BPF_F_NO_PREALLOC,
    kinds.ARENA: BPF_F_MMAPABLE,
}
_NEEDED_FLAGS.update(dict.fromkeys(_STORAGES, BPF_F_NO_PREALLOC))
_WITHOUT_KEY = (kinds.QUEUE, kinds.STACK, kinds.BLOOM_FILTER, kinds.RINGBUF, kinds.USER_RINGBUF, kinds.ARENA)
_BUFFERS = (kinds.RINGBUF, kinds.USER_RINGBUF)
_WITHOUT_ENTRIES = (*_STORAGES, kinds.CGROUP_STORAGE, kinds.PERCPU_CGROUP_STORAGE)
_MAPS_OF_MAPS = (kinds.ARRAY_OF_MAPS, kinds.HASH_OF_MAPS)
_CGROUP_KEY = {"cgroup": "u64", "attach_type": "u32"}

# What keys and values are where the kernel leaves no choice, or one that hardly anybody wants another of.
_KEYS: dict[int, Any] = {
    **dict.fromkeys((kinds.ARRAY, kinds.PERCPU_ARRAY, kinds.PROG_ARRAY, kinds.PERF_EVENT_ARRAY), "u32"),
    **dict.fromkeys((kinds.CGROUP_ARRAY, kinds.ARRAY_OF_MAPS, kinds.DEVMAP, kinds.CPUMAP), "u32"),
    **dict.fromkeys((kinds.SOCKMAP, kinds.XSKMAP, kinds.REUSEPORT_SOCKARRAY, kinds.STACK_TRACE), "u32"),
    **dict.fromkeys((kinds.DEVMAP_HASH, kinds.INSN_ARRAY), "u32"),
    **dict.fromkeys(_STORAGES, "i32"),
    **dict.fromkeys((kinds.CGROUP_STORAGE, kinds.PERCPU_CGROUP_STORAGE), _CGROUP_KEY),
}
_VALUES: dict[int, Any] = {
    **dict.fromkeys((kinds.PROG_ARRAY, kinds.PERF_EVENT_ARRAY, kinds.CGROUP_ARRAY, *_MAPS_OF_MAPS), "u32"),
    **dict.fromkeys((kinds.SOCKMAP, kinds.SOCKHASH, kinds.REUSEPORT_SOCKARRAY), "u64"),
    **dict.fromkeys((kinds.DEVMAP, kinds.DEVMAP_HASH, kinds.CPUMAP), "u64"),
    kinds.XSKMAP: "u32",
    kinds.STACK_TRACE: 127 * 8,
    kinds.INSN_ARRAY: 16,
}
_PREFIXES = {"ipv4": 4, "ipv6": 16}


def make(
    type: str,
    *,
    key: Any,
    value: Any,
    entries: int,
    name: str,
    flags: int,
    inner: Map | None,
    extra: int,
    numa_node: int | None,
    pin: str,
) -> Any:
    """`probee.maps.create`, which see."""
    known = MAP_TYPES.get(type)
    if known is None:
        raise ValueError(f"there is no map type {type!r}; there are {', '.join(MAP_TYPES)}")
    number = known[0]
    if number == kinds.STRUCT_OPS:
        raise ValueError("struct_ops maps come with the object that has their functions: load that")
    types = Types()
    spec = MapSpec(name, map_type=number, flags=flags | _NEEDED_FLAGS.get(number, 0))
    spec.map_extra, spec.numa_node = extra, numa_node
    _describe(spec, types, key, value)
    spec.max_entries = _entries(spec, entries)
    if number in _MAPS_OF_MAPS and inner is None:
        raise ValueError(f"a map of type {type} needs inner=, a map like the ones it will hold")
    made = _create(spec, types, inner)
    if pin:
        try:
            made.pin(pin)
        except BaseException:
            made.close()
            raise
    return made


def _describe(spec: MapSpec, types: Types, key: Any, value: Any) -> None:
    """Sizes and types of keys and values."""
    number = spec.map_type
    if number in _WITHOUT_KEY:
        if key is not None:
            raise ValueError("maps of this type have no keys")
    elif number == kinds.LPM_TRIE:
        if key is None:
            raise ValueError(
                'give a key: "ipv4", "ipv6", or how many bytes there are behind the prefix length'
            )
        width = _PREFIXES.get(key, key) if isinstance(key, str) else key
        if not isinstance(width, int):
            raise ValueError(f'{key!r} is no key of an lpm_trie: give "ipv4", "ipv6" or a number of bytes')
        parts = [("prefixlen", types.add("u32")[0], 0), ("data", types.add(f"u8[{width}]")[0], 32)]
        spec.key_size = 4 + width  # of any length, where C would round up
        spec.key_type_id = types.builder.struct("prefix", spec.key_size, parts)
    else:
        spec.key_type_id, spec.key_size, _ = types.add(_wanted(key, _KEYS.get(number), "key"), "key")
    if number in _BUFFERS:
        if value is not None:
            spec.record_type_id = types.add(value, "record")[0]
    elif number != kinds.ARENA:
        wanted = _wanted(value, _VALUES.get(number), "value")
        spec.value_type_id, spec.value_size, _ = types.add(wanted, "value")


def _wanted(given: Any, default: Any, what: str) -> Any:
    found = default if given is None else given
    if found is None:
        raise ValueError(f'give the type of a {what}, as {what}="u32" or {what}=8 for its size')
    return found


def _entries(spec: MapSpec, entries: int) -> int:
    if spec.map_type in _WITHOUT_ENTRIES:
        if entries:
            raise ValueError("maps of this type have as many entries as there are objects")
        return 0
    if not entries and spec.map_type == kinds.PERF_EVENT_ARRAY:
        return current_kernel().possible_cpus()
    if entries <= 0:
        what = (
            "bytes" if spec.map_type in _BUFFERS else "pages" if spec.map_type == kinds.ARENA else "entries"
        )
        raise ValueError(f"say how many {what} there are at most, as entries=1024")
    return entries


def _create(spec: MapSpec, types: Types, inner: Map | None) -> Any:
    kernel = current_kernel()
    btf = types.builder.btf()
    btf_fd = 0
    try:
        if spec.value_type_id:
            try:
                btf_fd = kernel.btf_load(btf.raw)
            except OSError:
                btf_fd = 0  # before 4.18, or without the privilege, of which the map's creation speaks
        codecs = Codecs(btf, types.classes)
        inner_fd = inner.fd if inner is not None else 0
        try:
            return Map.create(spec, btf, btf_fd=btf_fd, inner_fd=inner_fd, codecs=codecs)
        except MapError as error:
            if error.errno == errno.EPERM:
                return _retry(spec, btf, btf_fd, inner_fd, codecs)
            if error.errno == errno.EINVAL:
                _check_type(spec.map_type)
            raise
    finally:
        if btf_fd:
            kernel.close(btf_fd)


def _check_type(number: int) -> None:
    """Raise Unsupported if this kernel does not know a map type."""
    from .features.inventory import map_type

    name, since = next((name, since) for name, (n, since) in MAP_TYPES.items() if n == number)
    if not map_type(name):
        raise Unsupported(
            f"this kernel ({os.uname().release}) has no maps of type {name}, which came with Linux {since}",
            feature=f"map type {name}",
            since=since,
        ) from None


def _retry(spec: MapSpec, btf: Any, btf_fd: int, inner_fd: int, codecs: Codecs) -> Any:
    """Kernels before 5.11 say EPERM when the limit of locked memory is in the way."""
    from .rejection import map_refused, raise_memlock

    if raise_memlock():
        try:
            return Map.create(spec, btf, btf_fd=btf_fd, inner_fd=inner_fd, codecs=codecs)
        except MapError as error:
            if error.errno != errno.EPERM:
                raise
    raise map_refused(spec) from None
