"""What the kernel says of a link: `struct bpf_link_info` of UAPI `linux/bpf.h`, one class for each kind.

`to_dict()` has the fields, and their names, of `bpftool -j link show`. What a kernel does not tell,
since the field is newer, reads as 0 or "".
"""

from __future__ import annotations

from struct import Struct

from probee import sys as kernel_calls
from probee.errors import ProbeeError
from probee.sys.native import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# enum bpf_link_type
RAW_TRACEPOINT, TRACING, CGROUP, ITER, NETNS, XDP, PERF_EVENT, KPROBE_MULTI = range(1, 9)
STRUCT_OPS, NETFILTER, TCX, UPROBE_MULTI, NETKIT, SOCKMAP, TRACING_MULTI = range(9, 16)
TYPE_NAMES = {
    RAW_TRACEPOINT: "raw_tracepoint",
    TRACING: "tracing",
    CGROUP: "cgroup",
    ITER: "iter",
    NETNS: "netns",
    XDP: "xdp",
    PERF_EVENT: "perf_event",
    KPROBE_MULTI: "kprobe_multi",
    STRUCT_OPS: "struct_ops",
    NETFILTER: "netfilter",
    TCX: "tcx",
    UPROBE_MULTI: "uprobe_multi",
    NETKIT: "netkit",
    SOCKMAP: "sockmap",
    TRACING_MULTI: "tracing_multi",
}
_SIZE = 256
_UNION = 16  # where a kind's own fields start
_NAME_ROOM = 4096  # PATH_MAX: a name the kernel fills in
_MOST_TARGETS = 1 << 20  # MAX_KPROBE_MULTI_CNT, MAX_UPROBE_MULTI_CNT
# enum bpf_perf_event_type
_UPROBE, _URETPROBE, _KPROBE, _KRETPROBE, _TRACEPOINT, _EVENT = range(1, 7)
_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN and BPF_F_UPROBE_MULTI_RETURN
ORDERS = ("order_unspec", "self_only", "descendants_pre", "descendants_post", "ancestors_up", "children")
_PERF_TYPES = ("hardware", "software", "tracepoint", "hw-cache", "raw", "breakpoint")
_HARDWARE = (
    "cpu-cycles",
    "instructions",
    "cache-references",
    "cache-misses",
    "branch-instructions",
    "branch-misses",
    "bus-cycles",
    "stalled-cycles-frontend",
    "stalled-cycles-backend",
    "ref-cycles",
)
_SOFTWARE = (
    "cpu-clock",
    "task-clock",
    "page-faults",
    "context-switches",
    "cpu-migrations",
    "minor-faults",
    "major-faults",
    "alignment-faults",
    "emulation-faults",
    "dummy",
    "bpf-output",
    "cgroup-switches",
)
_CACHES = ("L1-dcache", "L1-icache", "LLC", "dTLB", "iTLB", "branch", "node")
_CACHE_OPS = ("load", "store", "prefetch")
_CACHE_RESULTS = ("refs", "misses")


def _name(names: tuple[str, ...], number: int) -> str | int:
    return names[number] if number < len(names) else number


def attach_type_name(number: int) -> str | int:
    """libbpf's name of an attach type (enum bpf_attach_type); the number itself if it is not known."""
    from probee.isa.tables import ATTACH_TYPES

    for name, (value, _) in ATTACH_TYPES.items():
        if value == number:
            return name
    return number


class LinkDetails:
    """A link: its `id`, the program in it, and (in subclasses) what it is attached to.

    This class itself stands for kinds that are newer than probee.
    """

    __slots__ = ("id", "prog_id", "type")

    def __init__(self, raw: bytes) -> None:
        self.type, self.id, self.prog_id = _HEAD.unpack_from(raw)

    def __repr__(self) -> str:
        facts = ", ".join(f"{key}={value!r}" for key, value in self.to_dict().items())
        return f"{type(self).__name__}({facts})"

    @property
    def type_name(self) -> str:
        return TYPE_NAMES.get(self.type, f"type {self.type}")

    @property
    def hook(self) -> str:
        """What the link is attached to, in words."""
        facts = (str(value) for value in self._facts().values() if isinstance(value, str | int) and value)
        return " ".join([self.type_name, *facts])

    def to_dict(self) -> dict[str, Any]:
        """bpftool's fields: `id`, `type`, `prog_id`, and those of the kind."""
        return {
            "id": self.id,
            "type": TYPE_NAMES.get(self.type, self.type),
            "prog_id": self.prog_id,
            **self._facts(),
        }

    def _facts(self) -> dict[str, Any]:
        return {}


_HEAD = Struct("=III")


class RawTracepointLink(LinkDetails):
    __slots__ = ("cookie", "tp_name")

    def __init__(self, raw: bytes, name: str) -> None:
        super().__init__(raw)
        self.tp_name = name
        (self.cookie,) = Struct("=Q").unpack_from(raw, _UNION + 16)

    def _facts(self) -> dict[str, Any]:
        return {"tp_name": self.tp_name, "cookie": self.cookie}


class TracingLink(LinkDetails):
    """`target_obj_id` is a BTF's id, or (freplace, and hooks on BPF programs) a program's."""

    __slots__ = ("attach_type", "cookie", "target_btf_id", "target_obj_id")

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.attach_type, self.target_obj_id, self.target_btf_id, self.cookie = Struct("=III4xQ").unpack_from(
            raw, _UNION
        )

    @property
    def prog_type(self) -> str | int:
        """The type of the program in the link; "" if it may not be asked."""
        from probee.isa.tables import PROG_TYPES
        from probee.sys.bpf import PROG_GET_FD_BY_ID

        kernel = kernel_calls.kernel()
        try:
            fd = kernel.fd_by_id(PROG_GET_FD_BY_ID, self.prog_id)
        except OSError:
            return ""
        try:
            number = kernel.prog_info(fd).type
        finally:
            kernel.close(fd)
        return next((name for name, (value, _) in PROG_TYPES.items() if value == number), number)

    def _facts(self) -> dict[str, Any]:
        return {
            "prog_type": self.prog_type,
            "attach_type": attach_type_name(self.attach_type),
            "target_obj_id": self.target_obj_id,
            "target_btf_id": self.target_btf_id,
            "cookie": self.cookie,
        }


class CgroupLink(LinkDetails):
    __slots__ = ("attach_type", "cgroup_id")

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.cgroup_id, self.attach_type = Struct("=QI").unpack_from(raw, _UNION)

    def _facts(self) -> dict[str, Any]:
        return {"cgroup_id": self.cgroup_id, "attach_type": attach_type_name(self.attach_type)}


class IterLinkDetails(LinkDetails):
    """`map_id`, `tid`, `pid`, `cgroup_id`, `order` (enum bpf_cgroup_iter_order): 0 where not of the
    target.
    """

    __slots__ = ("cgroup_id", "map_id", "order", "pid", "target_name", "tid")

    def __init__(self, raw: bytes, name: str) -> None:
        super().__init__(raw)
        self.target_name = name
        self.map_id = self.tid = self.pid = self.cgroup_id = self.order = 0
        if name in ("bpf_map_elem", "bpf_sk_storage_map"):
            (self.map_id,) = Struct("=I").unpack_from(raw, _UNION + 12)
        elif name == "cgroup":
            self.cgroup_id, self.order = Struct("=QI").unpack_from(raw, _UNION + 16)
        elif name in ("task", "task_file", "task_vma"):
            self.tid, self.pid = Struct("=II").unpack_from(raw, _UNION + 16)

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"target_name": self.target_name}
        if self.target_name in ("bpf_map_elem", "bpf_sk_storage_map"):
            facts["map_id"] = self.map_id
        if self.tid:
            facts["tid"] = self.tid
        elif self.pid:
            facts["pid"] = self.pid
        if self.target_name == "cgroup":
            facts["cgroup_id"] = self.cgroup_id
            facts["order"] = _name(ORDERS, self.order)
        return facts


class NetnsLink(LinkDetails):
    __slots__ = ("attach_type", "netns_ino")

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.netns_ino, self.attach_type = Struct("=II").unpack_from(raw, _UNION)

    def _facts(self) -> dict[str, Any]:
        return {"netns_ino": self.netns_ino, "attach_type": attach_type_name(self.attach_type)}


class InterfaceLink(LinkDetails):
    """XDP, tcx, netkit. `ifindex` is 0 once the interface is gone; `attach_type` is 0 for XDP."""

    __slots__ = ("attach_type", "ifindex")

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.ifindex, self.attach_type = Struct("=II").unpack_from(raw, _UNION)
        if self.type == XDP:
            self.attach_type = 0

    @property
    def devname(self) -> str:
        """The interface's name in this network namespace."""
        import socket

        if not self.ifindex:
            return "(detached)"
        try:
            return socket.if_indextoname(self.ifindex)
        except OSError:
            return "(unknown)"

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"devname": self.devname, "ifindex": self.ifindex}
        if self.type != XDP:
            facts["attach_type"] = attach_type_name(self.attach_type)
        return facts

    @property
    def hook(self) -> str:
        kind = self.type_name if self.type == XDP else attach_type_name(self.attach_type)
        return f"{kind} on {self.devname}"


class StructOpsLink(LinkDetails):
    __slots__ = ("map_id",)

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        (self.map_id,) = Struct("=I").unpack_from(raw, _UNION)

    def _facts(self) -> dict[str, Any]:
        return {"map_id": self.map_id}

    @property
    def hook(self) -> str:
        return f"struct_ops map {self.map_id}"


class NetfilterLink(LinkDetails):
    """`pf` is NFPROTO_…, `hooknum` NF_INET_… (or that of the protocol family)."""

    __slots__ = ("flags", "hooknum", "pf", "priority")

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.pf, self.hooknum, self.priority, self.flags = Struct("=IIiI").unpack_from(raw, _UNION)

    def _facts(self) -> dict[str, Any]:
        return {"pf": self.pf, "hook": self.hooknum, "prio": self.priority, "flags": self.flags}

    @property
    def hook(self) -> str:
        return f"netfilter pf {self.pf} hook {self.hooknum} priority {self.priority}"


class SockmapLink(LinkDetails):
    __slots__ = ("attach_type", "map_id")

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.map_id, self.attach_type = Struct("=II").unpack_from(raw, _UNION)

    def _facts(self) -> dict[str, Any]:
        return {"map_id": self.map_id, "attach_type": attach_type_name(self.attach_type)}

    @property
    def hook(self) -> str:
        return f"{attach_type_name(self.attach_type)} of map {self.map_id}"


class KprobeMultiLink(LinkDetails):
    """`addrs` are where the probes sit (0 without CAP_SYSLOG), `cookies` one for each."""

    __slots__ = ("addrs", "cookies", "count", "flags", "missed")

    def __init__(self, raw: bytes, addrs: list[int], cookies: list[int]) -> None:
        super().__init__(raw)
        self.count, self.flags, self.missed = Struct("=IIQ").unpack_from(raw, _UNION + 8)
        self.addrs = addrs
        self.cookies = cookies

    @property
    def retprobe(self) -> bool:
        return bool(self.flags & _RETURN)

    def funcs(self) -> list[dict[str, Any]]:
        """Each probe as `addr`, `func`, `module` (None: the kernel proper) and `cookie`, by address."""
        from probee.symbols.kallsyms import KernelSymbols

        if not any(self.addrs):
            return []
        symbols = KernelSymbols.read()
        out = []
        for address, cookie in sorted(zip(self.addrs, self.cookies, strict=True)):
            found = symbols.at(address)
            name, module = (found[0].name, found[0].module or None) if found else ("", None)
            out.append({"addr": address, "func": name, "module": module, "cookie": cookie})
        return out

    def _facts(self) -> dict[str, Any]:
        return {
            "retprobe": self.retprobe,
            "func_cnt": self.count,
            "missed": self.missed,
            "funcs": self.funcs(),
        }

    @property
    def hook(self) -> str:
        return f"{'kretprobe' if self.retprobe else 'kprobe'}.multi on {self.count} functions"


class UprobeMultiLink(LinkDetails):
    """`offsets` in the file `path`, with a semaphore's offset and a cookie for each; `pid` 0 is everyone."""

    __slots__ = ("cookies", "count", "flags", "offsets", "path", "pid", "ref_ctr_offsets")

    def __init__(
        self, raw: bytes, path: str, offsets: list[int], ref_ctr_offsets: list[int], cookies: list[int]
    ) -> None:
        super().__init__(raw)
        self.count, self.flags, self.pid = Struct("=III").unpack_from(raw, _UNION + 36)
        self.path = path
        self.offsets = offsets
        self.ref_ctr_offsets = ref_ctr_offsets
        self.cookies = cookies

    @property
    def retprobe(self) -> bool:
        return bool(self.flags & _RETURN)

    def _facts(self) -> dict[str, Any]:
        rows = zip(self.offsets, self.ref_ctr_offsets, self.cookies, strict=True)
        return {
            "retprobe": self.retprobe,
            "path": self.path,
            "func_cnt": self.count,
            "pid": self.pid,
            "funcs": [{"offset": o, "ref_ctr_offset": r, "cookie": c} for o, r, c in rows],
        }

    @property
    def hook(self) -> str:
        return f"{'uretprobe' if self.retprobe else 'uprobe'}.multi on {self.count} places of {self.path}"


class TracingMultiLink(LinkDetails):
    """fentry.multi and kin: `ids` of functions in the BTF `btf_obj_id`, `addrs` and `cookies` for each."""

    __slots__ = ("addrs", "attach_type", "btf_obj_id", "cookies", "count", "ids")

    def __init__(self, raw: bytes, ids: list[int], addrs: list[int], cookies: list[int]) -> None:
        super().__init__(raw)
        self.attach_type, self.count, self.btf_obj_id = Struct("=III").unpack_from(raw, _UNION)
        self.ids = ids
        self.addrs = addrs
        self.cookies = cookies

    def _facts(self) -> dict[str, Any]:
        rows = zip(self.ids, self.addrs, self.cookies, strict=True)
        return {
            "attach_type": attach_type_name(self.attach_type),
            "func_cnt": self.count,
            "btf_obj_id": self.btf_obj_id,
            "funcs": [{"btf_id": i, "addr": a, "cookie": c} for i, a, c in rows],
        }


class PerfTracepointLink(LinkDetails):
    __slots__ = ("cookie", "tracepoint")

    def __init__(self, raw: bytes, name: str) -> None:
        super().__init__(raw)
        self.tracepoint = name
        (self.cookie,) = Struct("=Q").unpack_from(raw, _UNION + 24)

    def _facts(self) -> dict[str, Any]:
        return {"tracepoint": self.tracepoint, "cookie": self.cookie}

    @property
    def hook(self) -> str:
        return f"tracepoint {self.tracepoint}"


class PerfKprobeLink(LinkDetails):
    """`missed` counts calls that came while the probe was busy."""

    __slots__ = ("addr", "cookie", "func", "missed", "offset", "retprobe")

    def __init__(self, raw: bytes, name: str) -> None:
        super().__init__(raw)
        (kind,) = Struct("=I").unpack_from(raw, _UNION)
        self.retprobe = kind == _KRETPROBE
        self.func = name
        self.offset, self.addr, self.missed, self.cookie = Struct("=IQQQ").unpack_from(raw, _UNION + 20)

    def _facts(self) -> dict[str, Any]:
        return {
            "retprobe": self.retprobe,
            "addr": self.addr,
            "func": self.func,
            "offset": self.offset,
            "missed": self.missed,
            "cookie": self.cookie,
        }

    @property
    def hook(self) -> str:
        behind = f"+{self.offset:#x}" if self.offset else ""
        return f"{'kretprobe' if self.retprobe else 'kprobe'} {self.func or hex(self.addr)}{behind}"


class PerfUprobeLink(LinkDetails):
    __slots__ = ("cookie", "file", "offset", "ref_ctr_offset", "retprobe")

    def __init__(self, raw: bytes, name: str) -> None:
        super().__init__(raw)
        (kind,) = Struct("=I").unpack_from(raw, _UNION)
        self.retprobe = kind == _URETPROBE
        self.file = name
        self.offset, self.cookie, self.ref_ctr_offset = Struct("=IQQ").unpack_from(raw, _UNION + 20)

    def _facts(self) -> dict[str, Any]:
        return {
            "retprobe": self.retprobe,
            "file": self.file,
            "offset": self.offset,
            "cookie": self.cookie,
            "ref_ctr_offset": self.ref_ctr_offset,
        }

    @property
    def hook(self) -> str:
        return f"{'uretprobe' if self.retprobe else 'uprobe'} {self.file}+{self.offset:#x}"


class PerfEventLink(LinkDetails):
    """`event_type` and `config` are those of perf_event_open(2)."""

    __slots__ = ("config", "cookie", "event_type")

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.config, self.event_type, self.cookie = Struct("=QI4xQ").unpack_from(raw, _UNION + 8)

    @property
    def event_config(self) -> str | int:
        """perf-list(1)'s name of the event; its number if it has none."""
        if self.event_type == 0:
            return _name(_HARDWARE, self.config)
        if self.event_type == 1:
            return _name(_SOFTWARE, self.config)
        if self.event_type == 3:
            parts = (
                _name(_CACHES, self.config & 0xFF),
                _name(_CACHE_OPS, self.config >> 8 & 0xFF),
                _name(_CACHE_RESULTS, self.config >> 16),
            )
            return "-".join(str(part) for part in parts)
        return int(self.config)

    def _facts(self) -> dict[str, Any]:
        return {
            "event_type": _name(_PERF_TYPES, self.event_type),
            "event_config": self.event_config,
            "cookie": self.cookie,
        }

    @property
    def hook(self) -> str:
        return f"perf event {self.event_config}"


_PLAIN: dict[int, type[LinkDetails]] = {
    TRACING: TracingLink,
    CGROUP: CgroupLink,
    NETNS: NetnsLink,
    XDP: InterfaceLink,
    STRUCT_OPS: StructOpsLink,
    NETFILTER: NetfilterLink,
    TCX: InterfaceLink,
    NETKIT: InterfaceLink,
    SOCKMAP: SockmapLink,
}


def read(fd: int) -> LinkDetails:
    """The facts of the link behind `fd`. Raises `OSError`; `ProbeeError` if it is no link."""
    import os

    what = os.readlink(f"/proc/self/fd/{fd}")
    if "bpf_link" not in what and "bpf-link" not in what:  # the second: kernels before 5.8
        raise ProbeeError(f"descriptor {fd} is no BPF link but {what.removeprefix('anon_inode:')}")
    ask = kernel_calls.kernel().obj_info
    return decode(ask(fd, _SIZE), lambda request: ask(fd, _SIZE, request=request))


def decode(raw: bytes, again: Callable[[bytes], bytes]) -> LinkDetails:
    """The facts in `raw`. `again(request)` asks the kernel once more, with buffers for names and arrays."""
    (kind,) = Struct("=I").unpack_from(raw)
    plain = _PLAIN.get(kind)
    if plain is not None:
        return plain(raw)
    if kind in (RAW_TRACEPOINT, ITER):
        raw, name = _named(raw, _UNION, again)
        return RawTracepointLink(raw, name) if kind == RAW_TRACEPOINT else IterLinkDetails(raw, name)
    if kind == PERF_EVENT:
        return _perf(raw, again)
    if kind == KPROBE_MULTI:
        (count,) = Struct("=I").unpack_from(raw, _UNION + 8)
        # Addresses and cookies; kernels before 6.9 have no room for cookies and ignore theirs.
        addrs, cookies = _arrays(raw, count, (_UNION, _UNION + 24), again)
        return KprobeMultiLink(raw, addrs, cookies)
    if kind == UPROBE_MULTI:
        return _uprobe_multi(raw, again)
    if kind == TRACING_MULTI:
        (count,) = Struct("=I").unpack_from(raw, _UNION + 4)
        ids, addrs, cookies = _arrays(
            raw, count, (_UNION + 16, _UNION + 24, _UNION + 32), again, sizes=(4, 8, 8)
        )
        return TracingMultiLink(raw, ids, addrs, cookies)
    return LinkDetails(raw)


def _named(raw: bytes, at: int, again: Callable[[bytes], bytes]) -> tuple[bytes, str]:
    """`raw` and the name whose buffer and its length belong at `at`."""
    room = Scratch(_NAME_ROOM)
    request = bytearray(raw)
    Struct("=QI").pack_into(request, at, room.address, room.size)
    raw = again(bytes(request))
    return raw, room.view.tobytes().split(b"\0", 1)[0].decode(errors="replace")


def _perf(raw: bytes, again: Callable[[bytes], bytes]) -> LinkDetails:
    (kind,) = Struct("=I").unpack_from(raw, _UNION)
    if kind == _EVENT:
        return PerfEventLink(raw)
    if kind not in (_UPROBE, _URETPROBE, _KPROBE, _KRETPROBE, _TRACEPOINT):
        return LinkDetails(raw)  # kernels before 6.6 don't say
    raw, name = _named(raw, _UNION + 8, again)
    if kind == _TRACEPOINT:
        return PerfTracepointLink(raw, name)
    return (PerfKprobeLink if kind in (_KPROBE, _KRETPROBE) else PerfUprobeLink)(raw, name)


def _uprobe_multi(raw: bytes, again: Callable[[bytes], bytes]) -> UprobeMultiLink:
    (count,) = Struct("=I").unpack_from(raw, _UNION + 36)
    room = Scratch(_NAME_ROOM)
    request = bytearray(raw)
    Struct("=Q").pack_into(request, _UNION, room.address)
    Struct("=I").pack_into(request, _UNION + 32, room.size)
    offsets, semaphores, cookies = _arrays(
        bytes(request), count, (_UNION + 8, _UNION + 16, _UNION + 24), again
    )
    if not count:
        again(bytes(request))
    path = room.view.tobytes().split(b"\0", 1)[0].decode(errors="replace")
    return UprobeMultiLink(raw, path, offsets, semaphores, cookies)


def _arrays(
    raw: bytes,
    count: int,
    places: tuple[int, ...],
    again: Callable[[bytes], bytes],
    sizes: tuple[int, ...] = (8, 8, 8),
) -> list[list[int]]:
    """The arrays of `count` elements whose addresses belong at `places`, in elements of `sizes` bytes."""
    if not 0 < count <= _MOST_TARGETS:
        return [[] for _ in places]
    rooms = [Scratch(count * size) for size, _ in zip(sizes, places, strict=False)]
    request = bytearray(raw)
    for place, room in zip(places, rooms, strict=True):
        Struct("=Q").pack_into(request, place, room.address)
    again(bytes(request))
    return [
        room.view.cast("Q" if size == 8 else "I").tolist() for room, size in zip(rooms, sizes, strict=False)
    ]
