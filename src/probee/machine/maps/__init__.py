"""The machine's maps: `create` makes one, with the kernel's checks; see `base` for what it can do then."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..memory import MemoryFull
from . import checks
from .base import Attributes, Home, Layout, Map, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...btf import Btf
    from ...obj import MapSpec

__all__ = ["Attributes", "Home", "Layout", "Map", "attributes_of", "create"]

_CLASSES = {
    checks.HASH: ("hashes", "Hash"),
    checks.ARRAY: ("arrays", "Array"),
    checks.PROG_ARRAY: ("holders", "ProgArray"),
    checks.PERF_EVENT_ARRAY: ("..rings", "PerfOutput"),
    checks.PERCPU_HASH: ("hashes", "PerCpuHash"),
    checks.PERCPU_ARRAY: ("arrays", "PerCpuArray"),
    checks.STACK_TRACE: ("stacks", "StackTrace"),
    checks.CGROUP_ARRAY: ("holders", "CgroupArray"),
    checks.LRU_HASH: ("hashes", "LruHash"),
    checks.LRU_PERCPU_HASH: ("hashes", "LruPerCpuHash"),
    checks.LPM_TRIE: ("lpm", "LpmTrie"),
    checks.ARRAY_OF_MAPS: ("holders", "ArrayOfMaps"),
    checks.HASH_OF_MAPS: ("holders", "HashOfMaps"),
    checks.DEVMAP: ("redirects", "DevMap"),
    checks.SOCKMAP: ("redirects", "SockMap"),
    checks.CPUMAP: ("redirects", "CpuMap"),
    checks.XSKMAP: ("redirects", "XskMap"),
    checks.SOCKHASH: ("redirects", "SockHash"),
    checks.CGROUP_STORAGE: ("storages", "CgroupStorage"),
    checks.REUSEPORT_SOCKARRAY: ("redirects", "ReuseportSockArray"),
    checks.PERCPU_CGROUP_STORAGE: ("storages", "PerCpuCgroupStorage"),
    checks.QUEUE: ("queues", "Queue"),
    checks.STACK: ("queues", "Stack"),
    checks.SK_STORAGE: ("storages", "SkStorage"),
    checks.DEVMAP_HASH: ("redirects", "DevMapHash"),
    checks.STRUCT_OPS: ("struct_ops", "StructOps"),
    checks.RINGBUF: ("..rings", "RingBuf"),
    checks.INODE_STORAGE: ("storages", "InodeStorage"),
    checks.TASK_STORAGE: ("storages", "TaskStorage"),
    checks.BLOOM_FILTER: ("queues", "BloomFilter"),
    checks.USER_RINGBUF: ("..rings", "UserRingBuf"),
    checks.CGRP_STORAGE: ("storages", "CgrpStorage"),
    checks.ARENA: ("arena", "Arena"),
}


def create(attributes: Attributes, home: Home) -> Map:
    """A new map. Raises OSError with the errno that BPF_MAP_CREATE gives."""
    from importlib import import_module

    checks.check(attributes)
    module, name = _CLASSES[attributes.type]
    found = import_module(module if module[:1] == "." else f".{module}", __package__)
    made: Callable[[Attributes, Home], Map] = getattr(found, name)
    try:
        return made(attributes, home)
    except MemoryFull:
        refuse(errno.ENOMEM)


def attributes_of(spec: MapSpec, btf: Btf | None, home: Home, inner: Map | None = None) -> Attributes:
    """How a map of an object is made, with what a loader fills in: perf event arrays have an entry for each
    CPU, ring buffers a power of two of pages."""
    entries, key_size, value_size = spec.max_entries, spec.key_size, spec.value_size
    if spec.map_type == checks.PERF_EVENT_ARRAY and not entries:
        entries = home.cpus
    if spec.map_type in (checks.RINGBUF, checks.USER_RINGBUF):
        key_size = value_size = 0
        wanted, entries = entries, 4096
        while entries < wanted:
            entries *= 2
    return Attributes(
        spec.map_type,
        key_size,
        value_size,
        entries,
        flags=spec.flags,
        name=spec.kernel_name,
        extra=spec.map_extra,
        inner=inner,
        btf=btf,
        key_type_id=spec.key_type_id,
        value_type_id=spec.value_type_id if spec.initial is None else 0,
    )
