"""What the kernel checks when a map is made: each refusal is the errno that BPF_MAP_CREATE would give."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from . import base
from .base import ENOTSUPP, refuse
from .fields import SPIN_LOCK, TASK_WORK, TIMER, WORKQUEUE, fields_of

if TYPE_CHECKING:
    from .base import Attributes

(HASH, ARRAY, PROG_ARRAY, PERF_EVENT_ARRAY, PERCPU_HASH, PERCPU_ARRAY, STACK_TRACE, CGROUP_ARRAY) = range(
    1, 9
)
LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE, ARRAY_OF_MAPS, HASH_OF_MAPS = range(9, 14)
DEVMAP, SOCKMAP, CPUMAP, XSKMAP, SOCKHASH, CGROUP_STORAGE, REUSEPORT_SOCKARRAY = range(14, 21)
PERCPU_CGROUP_STORAGE, QUEUE, STACK, SK_STORAGE, DEVMAP_HASH, STRUCT_OPS, RINGBUF = range(21, 28)
INODE_STORAGE, TASK_STORAGE, BLOOM_FILTER, USER_RINGBUF, CGRP_STORAGE, ARENA = range(28, 34)

_ACCESS = base.F_RDONLY | base.F_WRONLY | base.F_RDONLY_PROG | base.F_WRONLY_PROG
_READ_WRITE = base.F_RDONLY | base.F_WRONLY
_NUMA = base.F_NUMA_NODE
_ARRAY_FLAGS = _NUMA | _ACCESS | base.F_MMAPABLE | base.F_PRESERVE_ELEMS | base.F_INNER_MAP
_HASH_FLAGS = _NUMA | _ACCESS | base.F_NO_PREALLOC | base.F_NO_COMMON_LRU | base.F_ZERO_SEED
_PAGE = 4096
_PER_CPU_MOST = 32768  # bytes of a value of one CPU
_KMALLOC_MOST = 4 << 20
_ELEMENT_HEAD = 48  # bytes the kernel keeps with an element of a hash
_LPM_MOST_DATA = 256
_MOST_FRAMES = 127  # kernel.perf_event_max_stack
_BUILD_ID_FRAME = 32
_STACK = 512
_MOST_CPUS = 8192
_STORAGE_MOST = _KMALLOC_MOST - 512 - 104
_ARENA_MOST = 1 << 32

_ARRAYS = frozenset((ARRAY, PERCPU_ARRAY, PROG_ARRAY, PERF_EVENT_ARRAY, CGROUP_ARRAY, ARRAY_OF_MAPS))
_HASHES = frozenset((HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH, HASH_OF_MAPS))
_STORAGES = frozenset((SK_STORAGE, INODE_STORAGE, TASK_STORAGE, CGRP_STORAGE))
_FLAT = {
    DEVMAP: (_NUMA | _READ_WRITE, (4, 8)),
    DEVMAP_HASH: (_NUMA | _READ_WRITE, (4, 8)),
    CPUMAP: (_NUMA, (4, 8)),
    XSKMAP: (_NUMA | _READ_WRITE, (4,)),
    SOCKMAP: (_NUMA | _READ_WRITE, (4, 8)),
    SOCKHASH: (_NUMA | _READ_WRITE, (4, 8)),
}
_LOCKS = frozenset((HASH, ARRAY, CGROUP_STORAGE)) | _STORAGES
_TIMERS = frozenset((HASH, LRU_HASH, ARRAY))


def check(a: Attributes) -> None:
    """Raises OSError."""
    if a.extra and a.type not in (BLOOM_FILTER, ARENA):
        refuse(errno.EINVAL)
    if a.flags & _READ_WRITE == _READ_WRITE:
        refuse(errno.EINVAL)
    if not all(c.isalnum() or c in "._" for c in a.name[:15]) and a.name.isascii():
        refuse(errno.EINVAL)
    _by_type(a)
    _fields(a)


def _require(ok: bool, number: int = errno.EINVAL) -> None:
    if not ok:
        refuse(number)


def _by_type(a: Attributes) -> None:
    if a.type in _ARRAYS or a.type == REUSEPORT_SOCKARRAY:
        _array(a)
    elif a.type in _HASHES:
        _hash(a)
    elif a.type in _FLAT:
        _flat(a)
    elif a.type in _STORAGES:
        _storage(a)
    elif a.type == LPM_TRIE:
        _require(bool(a.flags & base.F_NO_PREALLOC) and bool(a.max_entries))
        _require(not a.flags & ~(base.F_NO_PREALLOC | _NUMA | _ACCESS) and _one_way(a))
        _require(5 <= a.key_size <= 4 + _LPM_MOST_DATA)
        _require(0 < a.value_size <= _KMALLOC_MOST - _LPM_MOST_DATA - 32)
    elif a.type in (QUEUE, STACK):
        _require(bool(a.max_entries) and not a.key_size and bool(a.value_size))
        _require(not a.flags & ~(_NUMA | _ACCESS) and _one_way(a))
        _require(a.value_size <= _KMALLOC_MOST, errno.E2BIG)
    elif a.type == BLOOM_FILTER:
        _require(a.value_size <= _KMALLOC_MOST, errno.E2BIG)
        _require(not a.key_size and bool(a.value_size) and bool(a.max_entries) and not a.extra & ~15)
        _require(not a.flags & ~(_NUMA | _ACCESS | base.F_ZERO_SEED) and _one_way(a))
    elif a.type in (RINGBUF, USER_RINGBUF):
        allowed = _NUMA | (base.F_RB_OVERWRITE if a.type == RINGBUF else 0)
        _require(not a.flags & ~allowed and not a.key_size and not a.value_size)
        _require(a.max_entries > 0 and not a.max_entries & a.max_entries - 1 and not a.max_entries % _PAGE)
    elif a.type == STACK_TRACE:
        frame = _BUILD_ID_FRAME if a.flags & base.F_STACK_BUILD_ID else 8
        _require(not a.flags & ~(_NUMA | _READ_WRITE | base.F_STACK_BUILD_ID))
        _require(bool(a.max_entries) and a.key_size == 4 and a.value_size >= 8 and not a.value_size % 8)
        _require(not a.value_size % frame and a.value_size // frame <= _MOST_FRAMES)
    elif a.type in (CGROUP_STORAGE, PERCPU_CGROUP_STORAGE):
        _require(a.key_size in (8, 16) and bool(a.value_size))
        _require(a.value_size <= (_PAGE if a.type == CGROUP_STORAGE else _PER_CPU_MOST), errno.E2BIG)
        _require(not a.flags & ~(_NUMA | _ACCESS) and _one_way(a) and not a.max_entries)
    elif a.type == ARENA:
        allowed = base.F_SEGV_ON_FAULT | base.F_MMAPABLE | base.F_NO_USER_CONV
        _require(not a.key_size and not a.value_size and bool(a.max_entries) and not a.extra % _PAGE)
        _require(not a.flags & ~allowed and bool(a.flags & base.F_MMAPABLE))
        _require(a.max_entries * _PAGE <= _ARENA_MOST, errno.E2BIG)
    elif a.type != STRUCT_OPS:
        refuse(errno.EINVAL)


def _one_way(a: Attributes) -> bool:
    """Whether the program may at least read or write."""
    both = base.F_RDONLY_PROG | base.F_WRONLY_PROG
    return a.flags & both != both


def _array(a: Attributes) -> None:
    if a.type == REUSEPORT_SOCKARRAY:
        _require(a.value_size in (4, 8))
    elif a.type not in (ARRAY, PERCPU_ARRAY):
        _require(a.value_size == 4)
        _require(not a.flags & (base.F_RDONLY_PROG | base.F_WRONLY_PROG))
    _require(bool(a.max_entries) and a.key_size == 4 and bool(a.value_size))
    _require(not a.flags & ~_ARRAY_FLAGS and _one_way(a))
    _require(not (a.type == PERCPU_ARRAY and a.flags & _NUMA))
    _require(a.type == ARRAY or not a.flags & (base.F_MMAPABLE | base.F_INNER_MAP))
    _require(a.type == PERF_EVENT_ARRAY or not a.flags & base.F_PRESERVE_ELEMS)
    _require(a.value_size < 1 << 31, errno.E2BIG)
    if a.type == PERCPU_ARRAY:
        _require(a.value_size + 7 & ~7 <= _PER_CPU_MOST, errno.E2BIG)
    if a.type == ARRAY_OF_MAPS:
        _template(a)


def _template(a: Attributes) -> None:
    if a.inner is None:
        refuse(errno.EINVAL)
    _require(a.inner.type not in (ARRAY_OF_MAPS, HASH_OF_MAPS, STRUCT_OPS))
    _require(a.inner.type not in (PROG_ARRAY, CGROUP_STORAGE, PERCPU_CGROUP_STORAGE), ENOTSUPP)


def _hash(a: Attributes) -> None:
    lru = a.type in (LRU_HASH, LRU_PERCPU_HASH)
    per_cpu = a.type in (PERCPU_HASH, LRU_PERCPU_HASH)
    if a.type == HASH_OF_MAPS:
        _require(a.value_size == 4)
    _require(not a.flags & ~_HASH_FLAGS and _one_way(a))
    _require(lru or not a.flags & base.F_NO_COMMON_LRU)
    _require(not (lru and a.flags & base.F_NO_PREALLOC), ENOTSUPP)
    _require(not (a.flags & _NUMA and (per_cpu or a.flags & base.F_NO_COMMON_LRU)))
    _require(bool(a.max_entries) and bool(a.key_size) and bool(a.value_size))
    _require(a.key_size + a.value_size < _KMALLOC_MOST - _ELEMENT_HEAD, errno.E2BIG)
    _require(not per_cpu or a.value_size + 7 & ~7 <= _PER_CPU_MOST, errno.E2BIG)
    _require(a.max_entries <= 1 << 31, errno.E2BIG)
    if a.type == HASH_OF_MAPS:
        _template(a)


def _flat(a: Attributes) -> None:
    flags, sizes = _FLAT[a.type]
    _require(bool(a.key_size) if a.type == SOCKHASH else a.key_size == 4)
    _require(bool(a.max_entries) and a.value_size in sizes and not a.flags & ~flags)
    _require(a.key_size <= _STACK, errno.E2BIG)
    if a.type == CPUMAP:
        _require(a.max_entries <= _MOST_CPUS, errno.E2BIG)


def _storage(a: Attributes) -> None:
    allowed = base.F_NO_PREALLOC | base.F_CLONE
    _require(not a.flags & ~allowed and bool(a.flags & base.F_NO_PREALLOC))
    _require(not a.max_entries and a.key_size == 4 and bool(a.value_size))
    _require(a.btf is not None and bool(a.key_type_id) and bool(a.value_type_id))
    _require(a.value_size <= _STORAGE_MOST, errno.E2BIG)


def _fields(a: Attributes) -> None:
    """Locks, timers and the like are for some map types only, and each of them at most once."""
    found = fields_of(a.btf, a.value_type_id, a.value_size)
    if not found:
        return
    for kind, types in ((SPIN_LOCK, _LOCKS), (TIMER, _TIMERS), (WORKQUEUE, _TIMERS), (TASK_WORK, _TIMERS)):
        some = [field for field in found.all if field.kind == kind]
        _require(len(some) <= 1, errno.E2BIG)
        _require(not some or a.type in types, errno.EOPNOTSUPP)
    _require(not a.flags & (base.F_RDONLY_PROG | base.F_WRONLY_PROG), errno.EACCES)
