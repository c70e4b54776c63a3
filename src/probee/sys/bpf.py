"""`Kernel`: every system call probee makes on BPF objects, as typed methods; unit tests replace it.

Layouts and numbers are those of `include/uapi/linux/bpf.h` and `include/uapi/linux/perf_event.h`. Methods
raise `OSError` with the kernel's errno; those that look something up return `None` for ENOENT instead.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from struct import Struct
from sys import byteorder

from probee.sys.native import Pinned, Scratch, mapped, raise_errno, syscall4, syscall6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer

# (bpf, perf_event_open) by machine; everything newer than x86 shares the generic table.
_NUMBERS = {
    "x86_64": (321, 298),
    "ppc64le": (361, 319),
    "ppc64": (361, 319),
    "s390x": (351, 331),
}.get(os.uname().machine, (280, 241))
NR_BPF, NR_PERF_EVENT_OPEN = _NUMBERS

# enum bpf_cmd
MAP_CREATE = 0
MAP_LOOKUP_ELEM = 1
MAP_UPDATE_ELEM = 2
MAP_DELETE_ELEM = 3
MAP_GET_NEXT_KEY = 4
PROG_LOAD = 5
OBJ_PIN = 6
OBJ_GET = 7
PROG_ATTACH = 8
PROG_DETACH = 9
PROG_TEST_RUN = 10
PROG_GET_NEXT_ID = 11
MAP_GET_NEXT_ID = 12
PROG_GET_FD_BY_ID = 13
MAP_GET_FD_BY_ID = 14
OBJ_GET_INFO_BY_FD = 15
PROG_QUERY = 16
RAW_TRACEPOINT_OPEN = 17
BTF_LOAD = 18
BTF_GET_FD_BY_ID = 19
TASK_FD_QUERY = 20
MAP_LOOKUP_AND_DELETE_ELEM = 21
MAP_FREEZE = 22
BTF_GET_NEXT_ID = 23
MAP_LOOKUP_BATCH = 24
MAP_LOOKUP_AND_DELETE_BATCH = 25
MAP_UPDATE_BATCH = 26
MAP_DELETE_BATCH = 27
LINK_CREATE = 28
LINK_UPDATE = 29
LINK_GET_FD_BY_ID = 30
LINK_GET_NEXT_ID = 31
ENABLE_STATS = 32
ITER_CREATE = 33
LINK_DETACH = 34
PROG_BIND_MAP = 35
TOKEN_CREATE = 36
PROG_STREAM_READ_BY_FD = 37

_COMMANDS = {
    MAP_CREATE: "BPF_MAP_CREATE",
    MAP_LOOKUP_ELEM: "BPF_MAP_LOOKUP_ELEM",
    MAP_UPDATE_ELEM: "BPF_MAP_UPDATE_ELEM",
    MAP_DELETE_ELEM: "BPF_MAP_DELETE_ELEM",
    MAP_GET_NEXT_KEY: "BPF_MAP_GET_NEXT_KEY",
    PROG_LOAD: "BPF_PROG_LOAD",
    OBJ_PIN: "BPF_OBJ_PIN",
    OBJ_GET: "BPF_OBJ_GET",
    PROG_ATTACH: "BPF_PROG_ATTACH",
    PROG_DETACH: "BPF_PROG_DETACH",
    PROG_TEST_RUN: "BPF_PROG_TEST_RUN",
    PROG_GET_NEXT_ID: "BPF_PROG_GET_NEXT_ID",
    MAP_GET_NEXT_ID: "BPF_MAP_GET_NEXT_ID",
    PROG_GET_FD_BY_ID: "BPF_PROG_GET_FD_BY_ID",
    MAP_GET_FD_BY_ID: "BPF_MAP_GET_FD_BY_ID",
    OBJ_GET_INFO_BY_FD: "BPF_OBJ_GET_INFO_BY_FD",
    PROG_QUERY: "BPF_PROG_QUERY",
    RAW_TRACEPOINT_OPEN: "BPF_RAW_TRACEPOINT_OPEN",
    BTF_LOAD: "BPF_BTF_LOAD",
    BTF_GET_FD_BY_ID: "BPF_BTF_GET_FD_BY_ID",
    TASK_FD_QUERY: "BPF_TASK_FD_QUERY",
    MAP_LOOKUP_AND_DELETE_ELEM: "BPF_MAP_LOOKUP_AND_DELETE_ELEM",
    MAP_FREEZE: "BPF_MAP_FREEZE",
    BTF_GET_NEXT_ID: "BPF_BTF_GET_NEXT_ID",
    MAP_LOOKUP_BATCH: "BPF_MAP_LOOKUP_BATCH",
    MAP_LOOKUP_AND_DELETE_BATCH: "BPF_MAP_LOOKUP_AND_DELETE_BATCH",
    MAP_UPDATE_BATCH: "BPF_MAP_UPDATE_BATCH",
    MAP_DELETE_BATCH: "BPF_MAP_DELETE_BATCH",
    LINK_CREATE: "BPF_LINK_CREATE",
    LINK_UPDATE: "BPF_LINK_UPDATE",
    LINK_GET_FD_BY_ID: "BPF_LINK_GET_FD_BY_ID",
    LINK_GET_NEXT_ID: "BPF_LINK_GET_NEXT_ID",
    ENABLE_STATS: "BPF_ENABLE_STATS",
    ITER_CREATE: "BPF_ITER_CREATE",
    LINK_DETACH: "BPF_LINK_DETACH",
    PROG_BIND_MAP: "BPF_PROG_BIND_MAP",
    TOKEN_CREATE: "BPF_TOKEN_CREATE",
    PROG_STREAM_READ_BY_FD: "BPF_PROG_STREAM_READ_BY_FD",
}

# perf_event_open(2): event types, software clocks, flags, ioctls
PERF_TYPE_HARDWARE = 0
PERF_TYPE_SOFTWARE = 1
PERF_TYPE_TRACEPOINT = 2
PERF_COUNT_SW_CPU_CLOCK = 0
PERF_COUNT_SW_TASK_CLOCK = 1
PERF_SAMPLE_RAW = 1 << 10
PERF_FLAG_FD_CLOEXEC = 8
PERF_EVENT_IOC_ENABLE = 0x2400
PERF_EVENT_IOC_DISABLE = 0x2401
PERF_EVENT_IOC_SET_BPF = 0x40042408
PERF_ATTR_DISABLED = 1 << 0
PERF_ATTR_FREQ = 1 << 10
_PERF_ATTR_SIZE = 112  # PERF_ATTR_SIZE_VER5, Linux 4.1

_U32 = Struct("=I")
_FD = Struct("=i")
_ELEM = Struct("=i4xQQQ")
_MAP_CREATE = Struct("=IIIIIII16sIIIIIQ")
_MAP_CREATE_TAIL = Struct("=iiQI")  # fields of Linux 6.9 and later, sent when they are used
_BATCH = Struct("=QQQQIiQQ")
_PROG_LOAD = Struct("=IIQQIIQII16sIIIIQIIQIIIIQQII")
_PROG_LOAD_TAIL = Struct("=iIQIi")  # likewise
_BTF_LOAD = Struct("=QQIIII")
_BTF_LOAD_TAIL = Struct("=Ii")
_LINK_CREATE = Struct("=iiII")
_PROG_ATTACH = Struct("=iiIIiiQ")
_PROG_QUERY = Struct("=iIIIQI4xQQQQ")
_TASK_FD_QUERY = Struct("=IiIIQIIQQ")
_RAW_TP = Struct("=Qi4xQ")
_TEST_RUN = Struct("=iIIIQQIIIIQQIIII")
_INFO = Struct("=iIQ")
_BTF_INFO = Struct("=QIIQII")
_PIN = Struct("=QiI")
_PERF_ATTR = Struct("=IIQQQQQIIQQ20xi16x")

BPF_F_REPLACE = 1 << 2
BPF_F_QUERY_EFFECTIVE = 1 << 0
BPF_F_VTYPE_BTF_OBJ_FD = 1 << 15
BPF_F_TOKEN_FD = 1 << 16
_QUERY_ARRAYS = 128  # where the arrays of a query start
_LINK_QUERIES = frozenset((46, 47, 54, 55))  # tcx and netkit
_ENOTSUPP = 524  # the kernel's own, not in errno

_SCRATCH = 4096
_KEY = 64  # an element's key follows its 32-byte attribute
_EAGAIN_TRIES = 5


class MapInfo:
    """What the kernel says of a map (`struct bpf_map_info`)."""

    __slots__ = (
        "btf_id",
        "btf_vmlinux_id",
        "btf_vmlinux_value_type_id",
        "extra",
        "flags",
        "id",
        "ifindex",
        "key_size",
        "key_type_id",
        "max_entries",
        "name",
        "netns_dev",
        "netns_ino",
        "type",
        "value_size",
        "value_type_id",
    )

    def __init__(self, raw: bytes) -> None:
        self.type, self.id, self.key_size, self.value_size, self.max_entries, self.flags, name = Struct(
            "=IIIIII16s"
        ).unpack_from(raw)
        self.name: str = name.rstrip(b"\0").decode(errors="replace")
        self.ifindex, self.btf_vmlinux_value_type_id, self.netns_dev, self.netns_ino = Struct(
            "=IIQQ"
        ).unpack_from(raw, 40)
        self.btf_id, self.key_type_id, self.value_type_id, self.btf_vmlinux_id, self.extra = Struct(
            "=IIIIQ"
        ).unpack_from(raw, 64)


class ProgInfo:
    """What the kernel says of a program (`struct bpf_prog_info`).

    `run_time_ns` and `run_count` stay 0 unless kernel.bpf_stats_enabled is set.
    """

    __slots__ = (
        "btf_id",
        "id",
        "jited_size",
        "load_time_ns",
        "name",
        "recursion_misses",
        "run_count",
        "run_time_ns",
        "tag",
        "type",
        "verified_insns",
        "xlated_size",
    )

    def __init__(self, raw: bytes) -> None:
        self.type, self.id, tag, self.jited_size, self.xlated_size = Struct("=II8sII").unpack_from(raw)
        self.tag: str = tag.hex()
        (self.load_time_ns,) = Struct("=Q").unpack_from(raw, 40)
        self.name: str = raw[64:80].rstrip(b"\0").decode(errors="replace")
        (self.btf_id,) = _U32.unpack_from(raw, 128)
        self.run_time_ns, self.run_count, self.recursion_misses, self.verified_insns = Struct(
            "=QQQI"
        ).unpack_from(raw, 192)


class LinkInfo:
    """What the kernel says of a link (`struct bpf_link_info`)."""

    __slots__ = ("id", "prog_id", "type")

    def __init__(self, raw: bytes) -> None:
        self.type, self.id, self.prog_id = Struct("=III").unpack_from(raw)


class ProgQuery:
    """What is attached to a target, in the order it runs (BPF_PROG_QUERY).

    `prog_flags` are the attach flags of each program (Linux 6.0), `link_ids` of tcx and netkit (6.6), 0 where
    there is no link, and `link_flags` theirs; all are empty where the kernel doesn't say.
    """

    __slots__ = ("attach_flags", "link_flags", "link_ids", "prog_flags", "prog_ids", "revision")

    def __init__(self, attach_flags: int, prog_ids: list[int], revision: int = 0) -> None:
        self.attach_flags = attach_flags
        self.prog_ids = prog_ids
        self.prog_flags: list[int] = []
        self.link_ids: list[int] = []
        self.link_flags: list[int] = []
        self.revision = revision


class TaskFd:
    """What a perf event of a process is (BPF_TASK_FD_QUERY): `kind` is of enum bpf_task_fd_type."""

    __slots__ = ("address", "kind", "name", "offset", "prog_id")

    def __init__(self, name: str, prog_id: int, kind: int, offset: int, address: int) -> None:
        self.name = name
        self.prog_id = prog_id
        self.kind = kind
        self.offset = offset
        self.address = address


class TestRun:
    """What BPF_PROG_TEST_RUN gave back. `duration` is nanoseconds per run."""

    __test__ = False
    __slots__ = ("ctx", "data", "duration", "retval")

    def __init__(self, retval: int, data: bytes, ctx: bytes, duration: int) -> None:
        self.retval = retval
        self.data = data
        self.ctx = ctx
        self.duration = duration


class ProgAttr:
    """What BPF_PROG_LOAD is told of a program. Buffers are bytes; fields left alone are 0 or empty.

    `attach_prog_fd` is the BPF program to attach to, `attach_btf_obj_fd` the BTF of a kernel module: one of
    the two. `fd_array` are descriptors that instructions refer to by index (module BTF of kfuncs).
    `signature` is checked against the keys of `keyring_id` (Linux 6.18).
    """

    __slots__ = (
        "attach_btf_id",
        "attach_btf_obj_fd",
        "attach_prog_fd",
        "attach_type",
        "btf_fd",
        "fd_array",
        "flags",
        "func_info",
        "func_info_size",
        "ifindex",
        "insns",
        "kernel_version",
        "keyring_id",
        "license",
        "line_info",
        "line_info_size",
        "name",
        "signature",
        "token_fd",
        "type",
    )

    def __init__(self, type: int, insns: Buffer, license: str, name: str = "") -> None:
        self.type = type
        self.insns = insns
        self.license = license
        self.name = name
        self.attach_type = 0
        self.attach_btf_id = 0
        self.attach_btf_obj_fd = 0
        self.attach_prog_fd = 0
        self.btf_fd = 0
        self.fd_array: list[int] = []
        self.ifindex = 0
        self.token_fd = 0
        self.signature: Buffer = b""
        self.keyring_id = 0
        self.flags = 0
        self.kernel_version = 0
        self.func_info: Buffer = b""
        self.func_info_size = 8
        self.line_info: Buffer = b""
        self.line_info_size = 16


class VerifierLog:
    """A log buffer of `size` bytes.

    After a load `text` is the log, and `true_size` the bytes it needed (Linux 6.4; 0 before).
    """

    __slots__ = ("level", "scratch", "true_size")

    def __init__(self, size: int, level: int = 1) -> None:
        self.level = level
        self.scratch = Scratch(size)
        self.true_size = 0

    @property
    def text(self) -> str:
        raw = bytes(self.scratch.view)
        end = raw.find(b"\0")
        return raw[: end if end >= 0 else len(raw)].decode(errors="replace")


def object_name(name: str) -> bytes:
    """`name` as BPF_OBJ_NAME_LEN allows it: 15 bytes of letters, digits, `_` and `.`; others become `_`."""
    clean = bytes(b if chr(b).isalnum() or b in b"_." else 95 for b in name.encode("ascii", "replace"))
    return clean[:15]


class Kernel:
    """The running Linux kernel. Stateless but for a pool of scratch memory; safe to share between threads."""

    __slots__ = ("_pool",)

    def __init__(self) -> None:
        # list.pop and list.append are atomic, so threads never share one scratch.
        self._pool: list[Scratch] = []

    def _take(self) -> Scratch:
        try:
            return self._pool.pop()
        except IndexError:
            return Scratch(_SCRATCH)

    def bpf(self, command: int, address: int, size: int) -> int:
        """bpf(2) on an attribute of `size` bytes at `address`. Returns its result; raises `OSError`."""
        result: int = syscall4(NR_BPF, command, address, size)
        if result < 0:
            raise raise_errno(_COMMANDS.get(command, f"bpf({command})"))
        return result

    def _call(self, command: int, attr: bytes) -> int:
        scratch = self._take()
        try:
            scratch.view[: len(attr)] = attr
            return self.bpf(command, scratch.address, len(attr))
        finally:
            self._pool.append(scratch)

    def close(self, fd: int) -> None:
        os.close(fd)

    def dup(self, fd: int) -> int:
        """Another descriptor of the same object, close-on-exec."""
        return os.dup(fd)

    # ---- maps

    def map_create(
        self,
        type: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        *,
        flags: int = 0,
        name: str = "",
        btf_fd: int = 0,
        key_type_id: int = 0,
        value_type_id: int = 0,
        inner_fd: int = 0,
        extra: int = 0,
        numa_node: int | None = None,
        vmlinux_value_type_id: int = 0,
        value_type_btf_obj_fd: int = 0,
        token_fd: int = 0,
        exclusive_hash: Buffer = b"",
        ifindex: int = 0,
    ) -> int:
        """BPF_MAP_CREATE: a new map's descriptor.

        `vmlinux_value_type_id` is the kernel's type of a struct_ops map, `value_type_btf_obj_fd` the module
        it is of. `exclusive_hash` is the SHA-256 of the one program that may use the map (Linux 6.18).
        `ifindex` is the network device that holds the map (offload, 4.16).
        """
        flags |= BPF_F_TOKEN_FD if token_fd else 0
        flags |= BPF_F_VTYPE_BTF_OBJ_FD if value_type_btf_obj_fd else 0
        attr = _MAP_CREATE.pack(
            type,
            key_size,
            value_size,
            max_entries,
            flags,
            inner_fd,
            numa_node or 0,
            object_name(name),
            ifindex,
            btf_fd,
            key_type_id,
            value_type_id,
            vmlinux_value_type_id,
            extra,
        )
        if value_type_btf_obj_fd or token_fd or exclusive_hash:
            digest = Pinned(exclusive_hash)
            attr += _MAP_CREATE_TAIL.pack(value_type_btf_obj_fd, token_fd, digest.address, digest.size)
        return self._call(MAP_CREATE, attr)

    def map_lookup(self, fd: int, key: Buffer, size: int, flags: int = 0) -> bytes | None:
        """The value of `key`, `size` bytes; `None` if missing. Per-CPU maps: all CPUs, 8-aligned."""
        return self._read(MAP_LOOKUP_ELEM, fd, key, size, flags)

    def map_lookup_and_delete(self, fd: int, key: Buffer, size: int, flags: int = 0) -> bytes | None:
        """Take a value out. Hash maps: Linux 5.14; queues and stacks: 4.20 (with an empty key)."""
        return self._read(MAP_LOOKUP_AND_DELETE_ELEM, fd, key, size, flags)

    def map_holds(self, fd: int, value: Buffer) -> bool:
        """Whether a Bloom filter may hold a value (Linux 5.16)."""
        size = memoryview(value).nbytes
        scratch = self._take() if _KEY + size <= _SCRATCH else Scratch(_KEY + size)
        try:
            view, address = scratch.view, scratch.address
            _ELEM.pack_into(view, 0, fd, 0, address + _KEY, 0)
            view[_KEY : _KEY + size] = value
            if syscall4(NR_BPF, MAP_LOOKUP_ELEM, address, 32) < 0:
                error = raise_errno(_COMMANDS[MAP_LOOKUP_ELEM])
                if error.errno == errno.ENOENT:
                    return False
                raise error
            return True
        finally:
            if scratch.size == _SCRATCH:
                self._pool.append(scratch)

    def _read(self, command: int, fd: int, key: Buffer, size: int, flags: int) -> bytes | None:
        length = memoryview(key).nbytes
        start = _KEY + (length + 7 & ~7)
        scratch = self._take() if start + size <= _SCRATCH else Scratch(start + size)
        try:
            view = scratch.view
            address = scratch.address
            _ELEM.pack_into(view, 0, fd, address + _KEY if length else 0, address + start, flags)
            view[_KEY : _KEY + length] = key
            if syscall4(NR_BPF, command, address, 32) < 0:
                error = raise_errno(_COMMANDS[command])
                if error.errno == errno.ENOENT:
                    return None
                raise error
            return view[start : start + size].tobytes()
        finally:
            if scratch.size == _SCRATCH:
                self._pool.append(scratch)

    def map_update(self, fd: int, key: Buffer, value: Buffer, flags: int = 0) -> None:
        """Set a value. `flags`: 0 any, 1 BPF_NOEXIST (EEXIST if there), 2 BPF_EXIST (ENOENT if not there)."""
        length = memoryview(key).nbytes
        size = memoryview(value).nbytes
        start = _KEY + (length + 7 & ~7)
        scratch = self._take() if start + size <= _SCRATCH else Scratch(start + size)
        try:
            view = scratch.view
            address = scratch.address
            _ELEM.pack_into(view, 0, fd, address + _KEY if length else 0, address + start, flags)
            view[_KEY : _KEY + length] = key
            view[start : start + size] = value
            if syscall4(NR_BPF, MAP_UPDATE_ELEM, address, 32) < 0:
                raise raise_errno("BPF_MAP_UPDATE_ELEM")
        finally:
            if scratch.size == _SCRATCH:
                self._pool.append(scratch)

    def map_delete(self, fd: int, key: Buffer) -> bool:
        """Delete `key`. False if it was not there."""
        length = memoryview(key).nbytes
        scratch = self._take() if _KEY + length <= _SCRATCH else Scratch(_KEY + length)
        try:
            view = scratch.view
            address = scratch.address
            _ELEM.pack_into(view, 0, fd, address + _KEY, 0, 0)
            view[_KEY : _KEY + length] = key
            if syscall4(NR_BPF, MAP_DELETE_ELEM, address, 32) < 0:
                error = raise_errno("BPF_MAP_DELETE_ELEM")
                if error.errno == errno.ENOENT:
                    return False
                raise error
            return True
        finally:
            if scratch.size == _SCRATCH:
                self._pool.append(scratch)

    def map_next_key(self, fd: int, key: Buffer | None, key_size: int) -> bytes | None:
        """The key after `key` (the first for `None` or a key that is gone); `None` at the end."""
        start = _KEY + (key_size + 7 & ~7)
        scratch = self._take() if start + key_size <= _SCRATCH else Scratch(start + key_size)
        try:
            view = scratch.view
            address = scratch.address
            _ELEM.pack_into(view, 0, fd, 0 if key is None else address + _KEY, address + start, 0)
            if key is not None:
                view[_KEY : _KEY + key_size] = key
            if syscall4(NR_BPF, MAP_GET_NEXT_KEY, address, 32) < 0:
                error = raise_errno("BPF_MAP_GET_NEXT_KEY")
                if error.errno == errno.ENOENT:
                    return None
                raise error
            return view[start : start + key_size].tobytes()
        finally:
            if scratch.size == _SCRATCH:
                self._pool.append(scratch)

    def map_freeze(self, fd: int) -> None:
        """Make a map read-only for user space, so that the verifier knows its values (Linux 5.2)."""
        self._call(MAP_FREEZE, _FD.pack(fd))

    def map_lookup_batch(
        self,
        fd: int,
        in_batch: bytes | None,
        keys: Buffer,
        values: Buffer,
        count: int,
        *,
        batch_size: int,
        delete: bool = False,
        flags: int = 0,
    ) -> tuple[int, bytes | None, bool]:
        """Read up to `count` elements into the writable buffers `keys` and `values` (Linux 5.6).

        `in_batch` is `None` at the start and then what the call before returned, `batch_size` bytes (the
        key's size, at least 4). `delete` also takes the elements out. Returns (elements read, next batch,
        whether that was the end).
        ENOSPC means one hash bucket holds more than `count`.
        """
        command = MAP_LOOKUP_AND_DELETE_BATCH if delete else MAP_LOOKUP_BATCH
        start = _KEY + (batch_size + 7 & ~7)
        scratch = Scratch(start + batch_size)
        view, address = scratch.view, scratch.address
        pinned = Pinned(keys), Pinned(values)
        inside = 0
        if in_batch is not None:
            inside = address + _KEY
            view[_KEY : _KEY + batch_size] = in_batch
        _BATCH.pack_into(
            view, 0, inside, address + start, pinned[0].address, pinned[1].address, count, fd, flags, 0
        )
        done = False
        if syscall4(NR_BPF, command, address, _BATCH.size) < 0:
            error = raise_errno(_COMMANDS[command])
            if error.errno != errno.ENOENT:
                raise error
            done = True
        (got,) = _U32.unpack_from(view, 32)
        return got, None if done else view[start : start + batch_size].tobytes(), done

    def map_update_batch(self, fd: int, keys: Buffer, values: Buffer, count: int, *, flags: int = 0) -> int:
        """Set `count` elements (Linux 5.6). Returns how many were set."""
        return self._write_batch(MAP_UPDATE_BATCH, fd, keys, values, count, flags)

    def map_delete_batch(self, fd: int, keys: Buffer, count: int) -> int:
        """Delete `count` elements (Linux 5.6). Returns how many; it stops at the first that is missing."""
        return self._write_batch(MAP_DELETE_BATCH, fd, keys, b"", count, 0)

    def _write_batch(
        self, command: int, fd: int, keys: Buffer, values: Buffer, count: int, flags: int
    ) -> int:
        scratch = self._take()
        try:
            pinned = Pinned(keys), Pinned(values)
            _BATCH.pack_into(scratch.view, 0, 0, 0, pinned[0].address, pinned[1].address, count, fd, flags, 0)
            if syscall4(NR_BPF, command, scratch.address, _BATCH.size) < 0:
                error = raise_errno(_COMMANDS[command])
                if error.errno != errno.ENOENT:
                    raise error
            (done,) = _U32.unpack_from(scratch.view, 32)
            return int(done)
        finally:
            self._pool.append(scratch)

    # ---- BTF and programs

    def btf_load(self, data: Buffer, log: VerifierLog | None = None, *, token_fd: int = 0) -> int:
        """BPF_BTF_LOAD: a descriptor of BTF the kernel took (Linux 4.18; with a token 6.9)."""
        pinned = Pinned(data)
        scratch = self._take()
        try:
            where, size, level = (log.scratch.address, log.scratch.size, log.level) if log else (0, 0, 0)
            _BTF_LOAD.pack_into(scratch.view, 0, pinned.address, where, pinned.size, size, level, 0)
            length = _BTF_LOAD.size
            if token_fd:
                _BTF_LOAD_TAIL.pack_into(scratch.view, length, BPF_F_TOKEN_FD, token_fd)
                length += _BTF_LOAD_TAIL.size
            return self.bpf(BTF_LOAD, scratch.address, length)
        finally:
            self._pool.append(scratch)

    def prog_load(self, attr: ProgAttr, log: VerifierLog | None = None) -> int:
        """BPF_PROG_LOAD: a program's descriptor. EAGAIN (a signal came) is retried as libbpf does."""
        insns, license = Pinned(attr.insns), Pinned(attr.license.encode() + b"\0")
        funcs, lines = Pinned(attr.func_info), Pinned(attr.line_info)
        fds = Pinned(b"".join(_FD.pack(fd) for fd in attr.fd_array))
        where, size, level = (log.scratch.address, log.scratch.size, log.level) if log else (0, 0, 0)
        length, signature = _PROG_LOAD.size, Pinned(attr.signature)
        if attr.token_fd or signature.size:
            length += _PROG_LOAD_TAIL.size
        scratch = self._take()
        try:
            for attempt in range(_EAGAIN_TRIES):
                _PROG_LOAD.pack_into(
                    scratch.view,
                    0,
                    attr.type,
                    insns.size // 8,
                    insns.address,
                    license.address,
                    level,
                    size,
                    where,
                    attr.kernel_version,
                    attr.flags | (BPF_F_TOKEN_FD if attr.token_fd else 0),
                    object_name(attr.name),
                    attr.ifindex,
                    attr.attach_type,
                    attr.btf_fd,
                    attr.func_info_size if funcs.size else 0,
                    funcs.address,
                    funcs.size // attr.func_info_size,
                    attr.line_info_size if lines.size else 0,
                    lines.address,
                    lines.size // attr.line_info_size,
                    attr.attach_btf_id,
                    attr.attach_prog_fd or attr.attach_btf_obj_fd,
                    0,
                    fds.address,
                    0,
                    0,
                    0,
                )
                if length > _PROG_LOAD.size:
                    _PROG_LOAD_TAIL.pack_into(
                        scratch.view,
                        _PROG_LOAD.size,
                        attr.token_fd,
                        0,
                        signature.address,
                        signature.size,
                        attr.keyring_id,
                    )
                try:
                    return self.bpf(PROG_LOAD, scratch.address, length)
                except OSError as error:
                    if error.errno != errno.EAGAIN or attempt == _EAGAIN_TRIES - 1:
                        raise
                finally:
                    if log is not None:
                        (log.true_size,) = _U32.unpack_from(scratch.view, 140)
            raise AssertionError("unreachable")
        finally:
            self._pool.append(scratch)

    def prog_test_run(
        self,
        fd: int,
        data: Buffer = b"",
        ctx: Buffer = b"",
        *,
        repeat: int = 1,
        out_size: int = 0,
        ctx_out: bool = True,
        flags: int = 0,
        cpu: int = 0,
        batch_size: int = 0,
    ) -> TestRun:
        """BPF_PROG_TEST_RUN. `out_size` bytes are offered for the data the program leaves behind.

        `ctx_out` asks for the context back; raw tracepoints refuse to give it. `batch_size` is for XDP's live
        frames (Linux 5.18).
        """
        pinned, context = Pinned(data), Pinned(ctx)
        ctx_size = context.size if ctx_out else 0
        out, ctx_memory = Scratch(max(1, out_size)), Scratch(max(1, ctx_size))
        scratch = self._take()
        try:
            _TEST_RUN.pack_into(
                scratch.view,
                0,
                fd,
                0,
                pinned.size,
                out_size,
                pinned.address,
                out.address if out_size else 0,
                repeat,
                0,
                context.size,
                ctx_size,
                context.address,
                ctx_memory.address if ctx_size else 0,
                flags,
                cpu,
                batch_size,
                0,
            )
            self.bpf(PROG_TEST_RUN, scratch.address, _TEST_RUN.size)
            fields = _TEST_RUN.unpack_from(scratch.view)
            return TestRun(
                fields[1],
                out.view[: min(fields[3], out_size)].tobytes(),
                ctx_memory.view[: min(fields[9], ctx_size)].tobytes(),
                fields[7],
            )
        finally:
            self._pool.append(scratch)

    # ---- links

    def link_create(
        self,
        prog_fd: int,
        target: int,
        attach_type: int,
        *,
        flags: int = 0,
        cookie: int = 0,
        extra: bytes = b"",
    ) -> int:
        """BPF_LINK_CREATE (Linux 5.7; perf events 5.15): a descriptor of the link.

        `target` is a descriptor or an interface's index. `extra` is what the kind of link adds: the union
        that follows the flags; `cookie` fills it for perf events.
        """
        extra = extra or cookie.to_bytes(8, byteorder)
        return self._call(LINK_CREATE, _LINK_CREATE.pack(prog_fd, target, attach_type, flags) + extra)

    def link_update(self, link_fd: int, new_fd: int, *, old_fd: int | None = None, flags: int = 0) -> None:
        """BPF_LINK_UPDATE (Linux 5.7): another program, or struct_ops map (6.4), in a link.

        With `old_fd` only if that is the one in it.
        """
        flags |= 0 if old_fd is None else BPF_F_REPLACE
        self._call(LINK_UPDATE, Struct("=iiIi").pack(link_fd, new_fd, flags, old_fd or 0))

    def link_detach(self, link_fd: int) -> None:
        """BPF_LINK_DETACH (Linux 5.9): detach, though the link itself lives on."""
        self._call(LINK_DETACH, _FD.pack(link_fd))

    def iter_create(self, link_fd: int) -> int:
        """BPF_ITER_CREATE (Linux 5.8): a descriptor to read one walk of an iterator from."""
        return self._call(ITER_CREATE, Struct("=iI").pack(link_fd, 0))

    def prog_attach(
        self,
        target: int,
        prog_fd: int,
        attach_type: int,
        *,
        flags: int = 0,
        replace_fd: int = 0,
        relative: int = 0,
        revision: int = 0,
    ) -> None:
        """BPF_PROG_ATTACH: attach without a link. It stays until it is detached.

        `relative` is the descriptor, or id, that BPF_F_BEFORE and BPF_F_AFTER refer to (Linux 6.6).
        """
        self._call(
            PROG_ATTACH,
            _PROG_ATTACH.pack(target, prog_fd, attach_type, flags, replace_fd, relative, revision),
        )

    def prog_detach(
        self,
        target: int,
        prog_fd: int,
        attach_type: int,
        *,
        flags: int = 0,
        relative: int = 0,
        revision: int = 0,
    ) -> None:
        """BPF_PROG_DETACH: undo `prog_attach`."""
        self._call(PROG_DETACH, _PROG_ATTACH.pack(target, prog_fd, attach_type, flags, 0, relative, revision))

    def prog_query(self, target: int, attach_type: int, *, flags: int = 0, capacity: int = 64) -> ProgQuery:
        """BPF_PROG_QUERY (Linux 4.15): what is attached to `target`, a descriptor or an interface's index."""
        detailed = not flags & BPF_F_QUERY_EFFECTIVE
        links = attach_type in _LINK_QUERIES
        while True:
            size = _QUERY_ARRAYS + 16 * capacity  # four arrays of u32 follow the attribute
            scratch = self._take() if size <= _SCRATCH else Scratch(size)
            try:
                view = scratch.view
                view[_QUERY_ARRAYS:size] = bytes(16 * capacity)  # not every hook fills all of them
                ids, prog_flags, link_ids, link_flags = (
                    scratch.address + _QUERY_ARRAYS + 4 * capacity * index for index in range(4)
                )
                _PROG_QUERY.pack_into(
                    view,
                    0,
                    target,
                    attach_type,
                    flags,
                    0,
                    ids,
                    capacity,
                    prog_flags if detailed else 0,
                    link_ids if detailed and links else 0,
                    link_flags if detailed and links else 0,
                    0,
                )
                try:
                    self.bpf(PROG_QUERY, scratch.address, _PROG_QUERY.size if detailed else 32)
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        capacity *= 4
                        continue
                    if detailed and error.errno in (errno.E2BIG, errno.EINVAL):
                        detailed = False  # the kernel is from before these fields
                        continue
                    raise
                fields = _PROG_QUERY.unpack_from(view)
                count = min(fields[5], capacity)
                numbers = view[_QUERY_ARRAYS:size].cast("I").tolist()
            finally:
                if scratch.size == _SCRATCH:
                    self._pool.append(scratch)
            found = ProgQuery(fields[3], numbers[:count])
            if detailed:
                found.prog_flags = numbers[capacity : capacity + count]
                found.revision = fields[9]
                if links:
                    found.link_ids = numbers[2 * capacity : 2 * capacity + count]
                    found.link_flags = numbers[3 * capacity : 3 * capacity + count]
            return found

    def prog_bind_map(self, prog_fd: int, map_fd: int) -> None:
        """BPF_PROG_BIND_MAP (Linux 5.10): the map lives as long as the program."""
        self._call(PROG_BIND_MAP, Struct("=iiI").pack(prog_fd, map_fd, 0))

    def enable_stats(self, kind: int = 0) -> int:
        """BPF_ENABLE_STATS (Linux 5.8): run time and count are kept while the descriptor is open."""
        return self._call(ENABLE_STATS, _U32.pack(kind))

    def token_create(self, bpffs_fd: int) -> int:
        """BPF_TOKEN_CREATE (Linux 6.9): a token with the rights delegated to a bpffs mount."""
        return self._call(TOKEN_CREATE, Struct("=Ii").pack(0, bpffs_fd))

    def prog_stream_read(self, prog_fd: int, stream: int, size: int = 4096) -> bytes:
        """BPF_PROG_STREAM_READ_BY_FD (Linux 6.17): take up to `size` bytes of what a program has printed to
        its standard output (1) or error (2), where the kernel reports faults of arenas; b"" at the end.
        """
        out = Scratch(size)
        got = self._call(PROG_STREAM_READ_BY_FD, Struct("=QIII").pack(out.address, size, stream, prog_fd))
        return out.view[:got].tobytes()

    def task_fd_query(self, pid: int, fd: int) -> TaskFd | None:
        """BPF_TASK_FD_QUERY (Linux 4.18): the probe behind descriptor `fd` of process `pid`.

        None if there is no BPF program behind it.
        """
        text = Scratch(256)
        scratch = self._take()
        try:
            _TASK_FD_QUERY.pack_into(scratch.view, 0, pid, fd, 0, text.size, text.address, 0, 0, 0, 0)
            try:
                self.bpf(TASK_FD_QUERY, scratch.address, _TASK_FD_QUERY.size)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.EBADF, _ENOTSUPP):
                    return None
                raise
            fields = _TASK_FD_QUERY.unpack_from(scratch.view)
            name = text.view.tobytes().split(b"\0", 1)[0].decode(errors="replace")
            return TaskFd(name, fields[5], fields[6], fields[7], fields[8])
        finally:
            self._pool.append(scratch)

    def raw_tracepoint_open(self, prog_fd: int, name: str = "", *, cookie: int = 0) -> int:
        """BPF_RAW_TRACEPOINT_OPEN: attach to a raw tracepoint by name; without one, to the BTF target.

        `cookie` is since Linux 6.10.
        """
        pinned = Pinned(name.encode() + b"\0")
        return self._call(RAW_TRACEPOINT_OPEN, _RAW_TP.pack(pinned.address if name else 0, prog_fd, cookie))

    # ---- objects

    def obj_info(self, fd: int, size: int = 256, *, request: Buffer = b"") -> bytes:
        """BPF_OBJ_GET_INFO_BY_FD: up to `size` bytes of the object's `struct bpf_…_info`, zero padded.

        `request` is what the structure holds before the call: the addresses and lengths of buffers to fill.
        """
        out = Scratch(size)
        out.view[: memoryview(request).nbytes] = request
        scratch = self._take()
        try:
            _INFO.pack_into(scratch.view, 0, fd, size, out.address)
            self.bpf(OBJ_GET_INFO_BY_FD, scratch.address, _INFO.size)
            return out.view.tobytes()
        finally:
            self._pool.append(scratch)

    def map_info(self, fd: int) -> MapInfo:
        return MapInfo(self.obj_info(fd))

    def prog_info(self, fd: int) -> ProgInfo:
        return ProgInfo(self.obj_info(fd))

    def link_info(self, fd: int) -> LinkInfo:
        return LinkInfo(self.obj_info(fd))

    def btf_bytes(self, fd: int) -> bytes:
        """The whole BTF behind a descriptor, as BPF_OBJ_GET_INFO_BY_FD gives it (`struct bpf_btf_info`)."""
        size = 0
        while True:
            data, out, scratch = Scratch(max(1, size)), Scratch(32), self._take()
            try:
                _BTF_INFO.pack_into(out.view, 0, data.address if size else 0, size, 0, 0, 0, 0)
                _INFO.pack_into(scratch.view, 0, fd, 32, out.address)
                self.bpf(OBJ_GET_INFO_BY_FD, scratch.address, _INFO.size)
                needed = int(_U32.unpack_from(out.view, 8)[0])
            finally:
                self._pool.append(scratch)
            if needed <= size:
                return data.view[:needed].tobytes()
            size = needed

    def obj_pin(self, fd: int, path: str) -> None:
        pinned = Pinned(os.fsencode(path) + b"\0")
        self._call(OBJ_PIN, _PIN.pack(pinned.address, fd, 0))

    def obj_get(self, path: str) -> int:
        pinned = Pinned(os.fsencode(path) + b"\0")
        return self._call(OBJ_GET, _PIN.pack(pinned.address, 0, 0))

    def next_id(self, command: int, id: int) -> int | None:
        """The id after `id` for one of the …_GET_NEXT_ID commands; `None` at the end."""
        scratch = self._take()
        try:
            Struct("=III").pack_into(scratch.view, 0, id, 0, 0)
            try:
                self.bpf(command, scratch.address, 12)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return None
                raise
            (found,) = _U32.unpack_from(scratch.view, 4)
            return int(found)
        finally:
            self._pool.append(scratch)

    def fd_by_id(self, command: int, id: int, flags: int = 0) -> int:
        """A descriptor of the object with this id, for one of the …_GET_FD_BY_ID commands.

        `flags` are for maps: BPF_F_RDONLY (8), BPF_F_WRONLY (16).
        """
        return self._call(command, Struct("=III").pack(id, 0, flags))

    # ---- perf events

    def perf_event_open(
        self,
        type: int,
        config: int,
        *,
        sample: int = 0,
        frequency: bool = False,
        sample_type: int = 0,
        pid: int = -1,
        cpu: int = 0,
        flags: int = 0,
        config1: int = 0,
        config2: int = 0,
        path: str | None = None,
        read_format: int = 0,
        wakeup: int | None = None,
        clock: int = 0,
        bp_type: int = 0,
        open_flags: int = 0,
    ) -> int:
        """perf_event_open(2), close-on-exec.

        `sample` is the period, or with `frequency` samples a second. `flags` are further attribute bits.
        `path` (uprobes; a kprobe's function) is handed over as config1's pointer. `bp_type` is a breakpoint's
        kind; `open_flags` are further PERF_FLAG_… bits of the call. `wakeup` is after how many events (bytes,
        with the watermark bit in `flags`) readers wake up, `clock` the clock's number, with its bit set.
        """
        text = Pinned(os.fsencode(path) + b"\0") if path is not None else None
        scratch = self._take()
        try:
            _PERF_ATTR.pack_into(
                scratch.view,
                0,
                type,
                _PERF_ATTR_SIZE,
                config,
                sample,
                sample_type,
                read_format,
                flags | (PERF_ATTR_FREQ if frequency else 0),
                wakeup if wakeup is not None else 1 if sample and not frequency else 0,
                bp_type,
                text.address if text else config1,
                config2,
                clock,
            )
            open_flags |= PERF_FLAG_FD_CLOEXEC
            fd: int = syscall6(NR_PERF_EVENT_OPEN, scratch.address, pid, cpu, -1, open_flags)
            if fd < 0:
                raise raise_errno("perf_event_open")
            return fd
        finally:
            self._pool.append(scratch)

    def ioctl(self, fd: int, request: int, argument: int = 0) -> int:
        return fcntl.ioctl(fd, request, argument)

    # ---- memory and CPUs

    def mmap(self, fd: int, length: int, *, write: bool = False, offset: int = 0) -> mmap.mmap:
        """A shared mapping of a map, `length` bytes from `offset` (a multiple of the page size)."""
        protection = mmap.PROT_READ | mmap.PROT_WRITE if write else mmap.PROT_READ
        return mmap.mmap(fd, length, mmap.MAP_SHARED, protection, offset=offset)

    def mmap_at(self, fd: int, length: int, address: int = 0) -> tuple[memoryview, int]:
        """A shared, writable mapping of a map at `address` (0: anywhere), and where it is.

        It goes when the last view of it does. FileExistsError if something else is at `address` already.
        """
        array = mapped(fd, length, address)
        return memoryview(array).cast("B"), array.address

    def possible_cpus(self) -> int:
        """How many CPUs the kernel may ever have: the length of a per-CPU value."""
        return cpu_list(_read_text("/sys/devices/system/cpu/possible"))[-1] + 1

    def online_cpus(self) -> list[int]:
        """The numbers of the CPUs that are on."""
        return cpu_list(_read_text("/sys/devices/system/cpu/online"))


def cpu_list(text: str) -> list[int]:
    """The kernel's CPU list format, `0-3,7`, as numbers."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def _read_text(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536).decode()
    finally:
        os.close(fd)
