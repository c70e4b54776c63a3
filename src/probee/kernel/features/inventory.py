"""Which types of programs and maps, which flags and which helpers this kernel takes: each is tried.

`ifindex` asks for what a network device takes for itself (offload) instead.
"""

from __future__ import annotations

import errno
import mmap

from probee import sys as kernel_calls
from probee.isa.tables import ATTACH_TYPES, HELPERS, LINK_TYPES, MAP_TYPES, PROG_TYPES
from probee.kernel.features.attempt import EXIT, ZERO, insn, program, verdict
from probee.kernel.features.links import kernel_id
from probee.kernel.features.maps import typed
from probee.kernel.features.programs import REFUSED_BY_NAME
from probee.sys.bpf import ProgAttr
from probee.sys.trial import Trial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TYPEDEF, _ENUM, _FUNC, _STRUCT = 8, 6, 12, 4
_SLEEPABLE = 1 << 4
_RAW_TP, _FENTRY, _LSM_MAC, _ITER = 23, 24, 27, 28
_NO_PREALLOC, _MMAPABLE = 1, 1 << 10
_WARNED = ("trace_printk", "trace_vprintk", "probe_write_user")  # the kernel warns of them
OFFLOADED_PROGRAMS = ("sched_cls", "xdp")
OFFLOADED_MAPS = ("hash", "array")

# Attach types for the program types that need one: those that libbpf's probes use.
_ATTACH = {
    "cgroup_sock_addr": ATTACH_TYPES["cgroup_inet4_connect"][0],
    "cgroup_sockopt": ATTACH_TYPES["cgroup_getsockopt"][0],
    "sk_lookup": ATTACH_TYPES["sk_lookup"][0],
    "netfilter": ATTACH_TYPES["netfilter"][0],
}
# Program types that belong to a function of the kernel or to another program: no target, no load. A kernel
# that knows the type says what is wrong with target 1.
_BY_TARGET = ("struct_ops", "ext", "lsm")

# Key size, value size, entries and flags of maps; 4, 4, 1, 0 if they are not here.
_SHAPES: dict[str, tuple[int, int, int, int]] = {
    "stack_trace": (4, 8, 1, 0),
    "lpm_trie": (8, 8, 1, _NO_PREALLOC),
    "cgroup_storage": (16, 8, 0, 0),
    "percpu_cgroup_storage": (16, 8, 0, 0),
    "queue": (0, 4, 1, 0),
    "stack": (0, 4, 1, 0),
    "sk_storage": (4, 8, 0, _NO_PREALLOC),
    "inode_storage": (4, 8, 0, _NO_PREALLOC),
    "task_storage": (4, 8, 0, _NO_PREALLOC),
    "cgrp_storage": (4, 8, 0, _NO_PREALLOC),
    "ringbuf": (0, 0, mmap.PAGESIZE, 0),
    "user_ringbuf": (0, 0, mmap.PAGESIZE, 0),
    "bloom_filter": (0, 4, 1, 0),
    "arena": (0, 0, 1, _MMAPABLE),
    "insn_array": (4, 16, 1, 0),
    "rhash": (4, 4, 1, _NO_PREALLOC),
}

# BPF_F_… at the creation of maps -> (bit, since, a type of map that takes it).
MAP_FLAGS: dict[str, tuple[int, str, str]] = {
    "no_prealloc": (0, "4.6", "hash"),
    "no_common_lru": (1, "4.10", "lru_hash"),
    "numa_node": (2, "4.14", "hash"),
    "rdonly": (3, "4.15", "hash"),
    "wronly": (4, "4.15", "hash"),
    "stack_build_id": (5, "4.17", "stack_trace"),
    "zero_seed": (6, "5.0", "hash"),
    "rdonly_prog": (7, "5.2", "array"),
    "wronly_prog": (8, "5.2", "array"),
    "mmapable": (10, "5.5", "array"),
    "preserve_elems": (11, "5.10", "perf_event_array"),
    "inner_map": (12, "5.10", "array"),
    "link": (13, "6.4", "struct_ops"),
    "segv_on_fault": (17, "6.9", "arena"),
    "no_user_conv": (18, "6.9", "arena"),
    "rb_overwrite": (19, "6.19", "ringbuf"),
}


def program_type(name: str, *, ifindex: int = 0) -> bool:
    """Whether programs of a type can be loaded. EPERM is raised."""
    try:
        return _program_type(name, ifindex)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False


def _program_type(name: str, ifindex: int) -> bool:
    kind = PROG_TYPES[name][0]
    if name in _BY_TARGET:
        number, log = verdict(kind, btf_id=1, attach=_LSM_MAC if name == "lsm" else 0)
        if number == errno.EPERM and not log:
            raise OSError(number, "BPF_PROG_LOAD")
        return bool(log.strip())
    kernel_calls.kernel().close(program(kind, **_needs(name), ifindex=ifindex))
    return True


def _needs(name: str) -> dict[str, Any]:
    """What a program of a type must say of itself to be loaded."""
    if name == "tracing":
        return {"attach": _RAW_TP, "btf_id": kernel_id("btf_trace_sched_switch", _TYPEDEF)}
    return {"attach": _ATTACH.get(name, 0), "flags": _SLEEPABLE if name == "syscall" else 0}


def map_type(name: str, *, flags: int = 0, value: int | None = None, ifindex: int = 0) -> bool:
    """Whether maps of a type can be made, with `flags` beside those they need. EPERM is raised."""
    kernel = kernel_calls.kernel()
    key, usual, entries, needed = _SHAPES.get(name, (4, 4, 1, 0))
    value = usual if value is None else value
    more: dict[str, Any] = {"ifindex": ifindex} if ifindex else {}
    opened = []
    try:
        if name.endswith("_of_maps"):
            opened.append(kernel.map_create(MAP_TYPES["array"][0], 4, 4, 1))
            more["inner_fd"] = opened[0]
        elif name in ("sk_storage", "inode_storage", "task_storage", "cgrp_storage"):
            opened.append(typed())
            more.update(btf_fd=opened[0], key_type_id=1, value_type_id=3)
        elif name == "struct_ops":
            opened.append(typed())
            found = kernel_id("bpf_struct_ops_tcp_congestion_ops", _STRUCT)
            value = _size(found) if found else value
            more.update(btf_fd=opened[0], vmlinux_value_type_id=found)
        kernel.close(kernel.map_create(MAP_TYPES[name][0], key, value, entries, flags=flags | needed, **more))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    finally:
        for fd in opened:
            kernel.close(fd)
    return True


def _size(type_id: int) -> int:
    from probee.btf import kernel_btf

    return kernel_btf().type(type_id).size


def map_flag(name: str) -> bool:
    """Whether a map can be made with a flag of `MAP_FLAGS`."""
    bit, _, kind = MAP_FLAGS[name]
    return map_type(kind, flags=1 << bit, value=32 if name == "stack_build_id" else None)


def attach_types() -> dict[str, bool]:
    """Which attach types the kernel was built with, by its BTF. Raises Unsupported without that."""
    return _enumerated("bpf_attach_type", "BPF_", ATTACH_TYPES)


def link_types() -> dict[str, bool]:
    """Which types of links the kernel was built with, by its BTF. Raises Unsupported without that."""
    return _enumerated("bpf_link_type", "BPF_LINK_TYPE_", LINK_TYPES)


def _enumerated(enum: str, prefix: str, table: dict[str, tuple[int, str]]) -> dict[str, bool]:
    from probee.btf import kernel_btf

    btf = kernel_btf()
    found = btf.find(enum, _ENUM)
    if found is None:
        return dict.fromkeys(table, False)
    names = {name.removeprefix(prefix).lower() for name, _ in btf.type(found).enumerators}
    return {name: name in names for name in table}


# ---- helpers


def helpers(kind: str, *, full: bool = False, ifindex: int = 0) -> list[str]:
    """The helpers that programs of a type may call, in the order of their numbers.

    Without `full` those are left out whose use the kernel writes to its log, as bpftool does it. Tracing
    programs are asked for as tp_btf, fentry and iterator, whichever may be loaded.
    """
    found: set[str] = set()
    table = HELPERS if full else {name: HELPERS[name] for name in HELPERS if name not in _WARNED}
    refused: OSError | None = None
    for attach, btf_id in _variants(kind):
        attr = ProgAttr(PROG_TYPES[kind][0], insn(0x85) + ZERO + EXIT, "GPL")
        attr.attach_type = attach
        attr.attach_btf_id = btf_id
        attr.ifindex = ifindex
        attr.flags = _SLEEPABLE if kind == "syscall" else 0
        try:
            found |= _callable(attr, table)
        except OSError as error:  # this kernel may refuse one variant and take another
            refused = error
    if refused and not found:
        raise refused
    return [name for name in HELPERS if name in found]


def _variants(kind: str) -> list[tuple[int, int]]:
    """Attach type and target of the programs to ask with."""
    wanted: tuple[tuple[int, str, int], ...]
    if kind == "tracing":
        wanted = (
            (_RAW_TP, "btf_trace_sched_switch", _TYPEDEF),
            (_FENTRY, "bpf_fentry_test1", _FUNC),
            (_ITER, "bpf_iter_bpf_map", _FUNC),
        )
    elif kind == "lsm":
        wanted = ((_LSM_MAC, "bpf_lsm_socket_bind", _FUNC),)
    elif kind in ("struct_ops", "ext"):
        return []  # what they may call depends on what they stand for
    else:
        return [(_ATTACH.get(kind, 0), 0)]
    found = [(attach, kernel_id(name, what)) for attach, name, what in wanted]
    return [(attach, btf_id) for attach, btf_id in found if btf_id]


def _callable(attr: ProgAttr, table: dict[str, tuple[int, str]]) -> set[str]:
    """The helpers that the verifier does not refuse by name. One load each: it stops at the first refusal."""
    load = Trial(attr).load
    words = [text.encode() for text in REFUSED_BY_NAME]
    found = set()
    for name, (number, _) in table.items():
        error, said = load(number)
        if error and not said:
            if error == errno.EPERM:
                raise OSError(error, "BPF_PROG_LOAD")
            return set()  # not even the type is known
        if not error or not any(text in said for text in words):
            found.add(name)
    return found
