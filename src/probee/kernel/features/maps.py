"""Probes of map types and of what can be done with maps."""

from __future__ import annotations

import errno
import mmap
from struct import pack

from probee import sys as kernel_calls
from probee.kernel.features.attempt import EXIT, creates, insn, loads
from probee.kernel.features.btf import raw

_HASH, _ARRAY, _PERCPU_ARRAY = 1, 2, 6
_RINGBUF, _INODE, _TASK, _BLOOM, _USER_RINGBUF, _CGRP, _ARENA, _INSNS = 27, 28, 29, 30, 31, 32, 33, 34
_NO_PREALLOC, _MMAPABLE, _INNER, _OVERWRITE = 1, 1 << 10, 1 << 12, 1 << 19
_SOCKET_FILTER = 1
_KTIME_GET_COARSE_NS = 160
_F_LOCK = 4
_MAP_VALUE = 2

# int; struct bpf_spin_lock { int }; struct { int; struct bpf_spin_lock }
_STRINGS = b"\0a\0val\0bpf_spin_lock\0"
_TYPES = (
    pack("=4I", 1, 1 << 24, 4, 1 << 24 | 32)
    + pack("=6I", 7, 4 << 24 | 1, 4, 1, 1, 0)
    + pack("=9I", 3, 4 << 24 | 2, 8, 1, 1, 0, 7, 2, 32)
)


def typed(strings: bytes = _STRINGS, types: bytes = _TYPES) -> int:
    """A descriptor of BTF for a map's key (type 1) and value (type 3)."""
    return kernel_calls.kernel().btf_load(raw(types, strings))


def _storage(kind: int) -> bool:
    """Storages take only maps whose key and value have types."""
    fd = typed()
    try:
        return creates(kind, 4, 8, 0, flags=_NO_PREALLOC, btf_fd=fd, key_type_id=1, value_type_id=3)
    finally:
        kernel_calls.kernel().close(fd)


def _global_data() -> bool:
    kernel = kernel_calls.kernel()
    fd = kernel.map_create(_ARRAY, 4, 32, 1)
    try:
        code = insn(0x18, 1, _MAP_VALUE, 0, fd) + insn(0, imm=16)
        code += insn(0x7A, 1, 0, 0, 42) + insn(0xB7) + EXIT  # *(u64 *)(r1 + 0) = 42
        return loads(_SOCKET_FILTER, code)
    finally:
        kernel.close(fd)


def _freeze() -> bool:
    kernel = kernel_calls.kernel()
    fd = kernel.map_create(_ARRAY, 4, 8, 1)
    try:
        kernel.map_freeze(fd)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    finally:
        kernel.close(fd)
    return True


def _lock() -> bool:
    kernel = kernel_calls.kernel()
    try:
        types = typed()
    except OSError:
        return False
    try:
        fd = kernel.map_create(_ARRAY, 4, 8, 1, btf_fd=types, key_type_id=1, value_type_id=3)
    except OSError:
        return False
    finally:
        kernel.close(types)
    try:
        kernel.map_update(fd, bytes(4), bytes(8), _F_LOCK)
    except OSError:
        return False
    finally:
        kernel.close(fd)
    return True


def _mmap() -> bool:
    kernel = kernel_calls.kernel()
    try:
        fd = kernel.map_create(_ARRAY, 4, 8, 1, flags=_MMAPABLE)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    try:
        kernel.mmap(fd, mmap.PAGESIZE).close()
    except OSError:
        return False
    finally:
        kernel.close(fd)
    return True


def _batch(kind: int, value: int) -> bool:
    kernel = kernel_calls.kernel()
    fd = kernel.map_create(kind, 4, 8, 1)
    try:
        kernel.map_lookup_batch(fd, None, bytearray(4), bytearray(value), 1, batch_size=4)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    finally:
        kernel.close(fd)
    return True


def _batch_percpu() -> bool:
    return _batch(_PERCPU_ARRAY, 8 * kernel_calls.kernel().possible_cpus())


def _take_out() -> bool:
    kernel = kernel_calls.kernel()
    fd = kernel.map_create(_HASH, 4, 8, 1)
    try:
        kernel.map_lookup_and_delete(fd, bytes(4), 8)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    finally:
        kernel.close(fd)
    return True


def _inner() -> bool:
    """Two arrays of different size in one array of maps."""
    return creates(_ARRAY, 4, 8, 1, flags=_INNER)


def _memcg() -> bool:
    """The accounting leaves no trace that could be asked for; a helper of the same version stands for it."""
    return loads(_SOCKET_FILTER, insn(0x85, imm=_KTIME_GET_COARSE_NS) + EXIT)


def _token() -> bool:
    """A kernel that knows the command looks at the descriptor first."""
    kernel = kernel_calls.kernel()
    try:
        kernel.close(kernel.token_create(-1))
    except OSError as error:
        return error.errno == errno.EBADF
    return True


def _name() -> bool:
    return creates(_ARRAY, 4, 8, 1, name="probee")


def _extra() -> bool:
    """The number of hash functions of a Bloom filter."""
    return creates(_BLOOM, 0, 8, 1, extra=3)


PROBES = {
    "map_name": _name,
    "global_data": _global_data,
    "map_freeze": _freeze,
    "map_lock": _lock,
    "map_mmap": _mmap,
    "map_batch": lambda: _batch(_ARRAY, 8),
    "map_batch_percpu_array": _batch_percpu,
    "map_lookup_and_delete_hash": _take_out,
    "map_inner_dynamic": _inner,
    "map_extra": _extra,
    "memcg_accounting": _memcg,
    "ringbuf": lambda: creates(_RINGBUF, 0, 0, mmap.PAGESIZE),
    "ringbuf_overwrite": lambda: creates(_RINGBUF, 0, 0, mmap.PAGESIZE, flags=_OVERWRITE),
    "inode_storage": lambda: _storage(_INODE),
    "task_storage": lambda: _storage(_TASK),
    "bloom_filter": lambda: creates(_BLOOM, 0, 8, 1),
    "user_ringbuf": lambda: creates(_USER_RINGBUF, 0, 0, mmap.PAGESIZE),
    "cgrp_storage": lambda: _storage(_CGRP),
    "arena": lambda: creates(_ARENA, 0, 0, 1, flags=_MMAPABLE),
    "insn_array": lambda: creates(_INSNS, 4, 16, 1),
    "token": _token,
}
