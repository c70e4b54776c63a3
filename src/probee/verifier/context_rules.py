"""Which bytes of a context programs may read and write, and what a load gives.

For contexts whose layout UAPI fixes; arguments by BTF (tracing, LSM, struct_ops) are in `typed_context`.
Rules are those of Linux 6.18, with what came later than 5.10 marked. Source: UAPI `linux/bpf.h` for the
layouts, the kernel's access checks (`net/core/filter.c`, `kernel/trace/bpf_trace.c`, `kernel/bpf/cgroup.c`)
for the rules; a differential test asks the running kernel about every byte.
"""

from __future__ import annotations

from probee.isa.helpers.programs import version
from probee.isa.tables import ATTACH_TYPES, PROG_TYPES, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Structs: "field:size" in order, `-` is padding.
_LAYOUTS = {
    "__sk_buff": """
        len:4 pkt_type:4 mark:4 queue_mapping:4 protocol:4 vlan_present:4 vlan_tci:4 vlan_proto:4 priority:4
        ingress_ifindex:4 ifindex:4 tc_index:4 cb:20 hash:4 tc_classid:4 data:4 data_end:4 napi_id:4 family:4
        remote_ip4:4 local_ip4:4 remote_ip6:16 local_ip6:16 remote_port:4 local_port:4 data_meta:4 flow_keys:8
        tstamp:8 wire_len:4 gso_segs:4 sk:8 gso_size:4 tstamp_type:1 -:3 hwtstamp:8
    """,
    "xdp_md": "data:4 data_end:4 data_meta:4 ingress_ifindex:4 rx_queue_index:4 egress_ifindex:4",
    "bpf_sock": """
        bound_dev_if:4 family:4 type:4 protocol:4 mark:4 priority:4 src_ip4:4 src_ip6:16 src_port:4 dst_port:2
        -:2 dst_ip4:4 dst_ip6:16 state:4 rx_queue_mapping:4
    """,
    "bpf_tcp_sock": """
        snd_cwnd:4 srtt_us:4 rtt_min:4 snd_ssthresh:4 rcv_nxt:4 snd_nxt:4 snd_una:4 mss_cache:4 ecn_flags:4
        rate_delivered:4 rate_interval_us:4 packets_out:4 retrans_out:4 total_retrans:4 segs_in:4
        data_segs_in:4 segs_out:4 data_segs_out:4 lost_out:4 sacked_out:4 bytes_received:8 bytes_acked:8
        dsack_dups:4 delivered:4 delivered_ce:4 icsk_retransmits:4
    """,
    "bpf_xdp_sock": "queue_id:4",
    "bpf_sock_addr": """
        user_family:4 user_ip4:4 user_ip6:16 user_port:4 family:4 type:4 protocol:4 msg_src_ip4:4
        msg_src_ip6:16 -:4 sk:8
    """,
    "bpf_sock_ops": """
        op:4 reply:4 replylong:12 family:4 remote_ip4:4 local_ip4:4 remote_ip6:16 local_ip6:16 remote_port:4
        local_port:4 is_fullsock:4 snd_cwnd:4 srtt_us:4 bpf_sock_ops_cb_flags:4 state:4 rtt_min:4
        snd_ssthresh:4 rcv_nxt:4 snd_nxt:4 snd_una:4 mss_cache:4 ecn_flags:4 rate_delivered:4
        rate_interval_us:4 packets_out:4 retrans_out:4 total_retrans:4 segs_in:4 data_segs_in:4 segs_out:4
        data_segs_out:4 lost_out:4 sacked_out:4 sk_txhash:4 bytes_received:8 bytes_acked:8 sk:8 skb_data:8
        skb_data_end:8 skb_len:4 skb_tcp_flags:4 skb_hwtstamp:8
    """,
    "sk_msg_md": """
        data:8 data_end:8 family:4 remote_ip4:4 local_ip4:4 remote_ip6:16 local_ip6:16 remote_port:4
        local_port:4 size:4 sk:8
    """,
    "sk_reuseport_md": """
        data:8 data_end:8 len:4 eth_protocol:4 ip_protocol:4 bind_inany:4 hash:4 -:4 sk:8 migrating_sk:8
    """,
    "bpf_sk_lookup": """
        sk:8 family:4 protocol:4 remote_ip4:4 remote_ip6:16 remote_port:2 zeroes:2 local_ip4:4 local_ip6:16
        local_port:4 ingress_ifindex:4 -:4
    """,
    "bpf_cgroup_dev_ctx": "access_type:4 major:4 minor:4",
    "bpf_sysctl": "write:4 file_pos:4",
    "bpf_sockopt": "sk:8 optval:8 optval_end:8 level:4 optname:4 optlen:4 retval:4",
    "bpf_perf_event_data": "regs:168 sample_period:8 addr:8",
    "bpf_nf_ctx": "state:8 skb:8",
    "pt_regs": """
        r15:8 r14:8 r13:8 r12:8 bp:8 bx:8 r11:8 r10:8 r9:8 r8:8 ax:8 cx:8 dx:8 si:8 di:8 orig_ax:8 ip:8 cs:8
        flags:8 sp:8 ss:8
    """,
}
CONTEXTS = {
    "socket_filter": "__sk_buff",
    "kprobe": "pt_regs",
    "sched_cls": "__sk_buff",
    "sched_act": "__sk_buff",
    "xdp": "xdp_md",
    "perf_event": "bpf_perf_event_data",
    "cgroup_skb": "__sk_buff",
    "cgroup_sock": "bpf_sock",
    "lwt_in": "__sk_buff",
    "lwt_out": "__sk_buff",
    "lwt_xmit": "__sk_buff",
    "lwt_seg6local": "__sk_buff",
    "sock_ops": "bpf_sock_ops",
    "sk_skb": "__sk_buff",
    "cgroup_device": "bpf_cgroup_dev_ctx",
    "sk_msg": "sk_msg_md",
    "cgroup_sock_addr": "bpf_sock_addr",
    "sk_reuseport": "sk_reuseport_md",
    "flow_dissector": "__sk_buff",
    "cgroup_sysctl": "bpf_sysctl",
    "cgroup_sockopt": "bpf_sockopt",
    "sk_lookup": "bpf_sk_lookup",
    "netfilter": "bpf_nf_ctx",
}
# Fields that came after Linux 5.10.
_SINCE = {
    "__sk_buff.hwtstamp": "5.16",
    "__sk_buff.tstamp_type": "5.18",
    "sk_reuseport_md.sk": "5.14",
    "sk_reuseport_md.migrating_sk": "5.14",
    "bpf_sk_lookup.ingress_ifindex": "5.17",
    "bpf_sock_ops.skb_hwtstamp": "6.2",
}
_TRACE_SIZE = 8192  # PERF_MAX_TRACE_SIZE
_RAW_ARGUMENTS = 12  # MAX_BPF_FUNC_ARGS


class Field:
    """A field of a context: bytes `offset` up to `end`."""

    __slots__ = ("end", "name", "offset")

    def __init__(self, name: str, offset: int, end: int) -> None:
        self.name = name
        self.offset = offset
        self.end = end

    def __repr__(self) -> str:
        return f"{self.name}[{self.offset}:{self.end}]"


class Access:
    """A load or store that is allowed.

    `kind`: what a load gives: "scalar", "packet", "packet_end", "packet_meta", "sock", "sock_common",
    "flow_keys", "tp_buffer", "btf" (a pointer to the kernel's type `btf_id`, named `name`), "buf" (a buffer
    that the kernel sizes). `maybe_null`, `trusted`, `rdonly` say more of a pointer, `tag` is "user",
    "percpu" or "". `retval`: it is the traced function's return value.
    """

    __slots__ = ("btf_id", "kind", "maybe_null", "name", "rdonly", "retval", "tag", "trusted")

    def __init__(self, kind: str = "scalar", *, maybe_null: bool = False, trusted: bool = False) -> None:
        self.kind = kind
        self.maybe_null = maybe_null
        self.trusted = trusted
        self.name = ""
        self.btf_id = 0
        self.rdonly = False
        self.retval = False
        self.tag = ""

    def __repr__(self) -> str:
        return f"Access({self.kind}{':' + self.name if self.name else ''}{'?' if self.maybe_null else ''})"


class _Asked:
    """A load or store in question."""

    __slots__ = ("attach", "field", "kernel", "off", "prog", "signed", "size", "write")

    def __init__(self, prog: str, attach: str, off: int, size: int, write: bool, signed: bool) -> None:
        self.prog = prog
        self.attach = attach
        self.off = off
        self.size = size
        self.write = write
        self.signed = signed
        self.field = ""

    @property
    def narrow(self) -> bool:
        """A load of up to four bytes."""
        return self.size <= 4

    def exact(self, size: int) -> Access | None:
        return Access() if self.size == size else None

    def pointer(self, kind: str, size: int = 8, *, maybe_null: bool = False) -> Access | None:
        if self.write or self.size != size:
            return None
        return Access(kind, maybe_null=maybe_null)


_FIELDS: dict[str, list[Field]] = {}


def fields(struct: str) -> list[Field]:
    """The fields of a context's struct (`__sk_buff`, …) in order; padding is named `-`."""
    known = _FIELDS.get(struct)
    if known is None:
        at, known = 0, []
        for word in _LAYOUTS[struct].split():
            name, _, size = word.partition(":")
            known.append(Field(name, at, at + int(size)))
            at += int(size)
        _FIELDS[struct] = known
    return known


def _field(struct: str, off: int) -> str:
    """The field that byte `off` belongs to; "" outside the struct."""
    for field in fields(struct):
        if field.offset <= off < field.end:
            return field.name
    return ""


def size_of(prog_type: int | str) -> int:
    """The size in bytes of the context, 0 where there is no fixed one."""
    struct = CONTEXTS.get(_name(prog_type), "")
    return fields(struct)[-1].end if struct else 0


def _name(prog_type: int | str) -> str:
    return prog_type if isinstance(prog_type, str) else name_of(PROG_TYPES, prog_type)


def access(
    prog_type: int | str,
    attach_type: int | str,
    off: int,
    size: int,
    *,
    write: bool = False,
    signed: bool = False,
    kernel: str = "6.18",
) -> Access | None:
    """What a load or store of `size` bytes at `off` of the context gives; None: it is not allowed.

    `signed`: a load that extends the sign. Types may be numbers of UAPI or names of `isa.tables`.
    """
    prog = _name(prog_type)
    attach = attach_type if isinstance(attach_type, str) else name_of(ATTACH_TYPES, attach_type)
    if off < 0 or size not in (1, 2, 4, 8):
        return None
    asked = _Asked(prog, attach, off, size, write, signed)
    rule = _RULES.get(prog)
    if rule is None:
        return None
    struct = CONTEXTS.get(prog)
    if struct:
        asked.field = _field(struct, off)
        since = _SINCE.get(f"{struct}.{asked.field}")
        if not asked.field or asked.field == "-" or (since and version(since) > version(kernel)):
            return None
        if off % size and prog != "perf_event":
            return None
    return rule(asked)


def readable(prog_type: int | str, attach_type: int | str, *, kernel: str = "6.18") -> list[str]:
    """The names of the fields that programs may read whole, in order."""
    return _named(prog_type, attach_type, kernel, write=False)


def writable(prog_type: int | str, attach_type: int | str, *, kernel: str = "6.18") -> list[str]:
    """The names of the fields that programs may write."""
    return _named(prog_type, attach_type, kernel, write=True)


def _named(prog_type: int | str, attach_type: int | str, kernel: str, *, write: bool) -> list[str]:
    struct = CONTEXTS.get(_name(prog_type))
    if not struct:
        return []
    return [
        field.name
        for field in fields(struct)
        if any(
            access(prog_type, attach_type, field.offset, size, write=write, kernel=kernel)
            for size in (8, 4, 2, 1)
        )
    ]


# ---- struct __sk_buff

_ADDRESSES = "family remote_ip4 local_ip4 remote_ip6 local_ip6 remote_port local_port"
_HIDDEN = {
    "socket_filter": f"tc_classid data data_meta data_end wire_len tstamp hwtstamp tstamp_type {_ADDRESSES}",
    "cgroup_skb": "tc_classid data_meta wire_len tstamp_type",
    "lwt": f"tc_classid data_meta tstamp wire_len hwtstamp tstamp_type {_ADDRESSES}",
    "sk_skb": "tc_classid data_meta tstamp wire_len hwtstamp mark tstamp_type",
    "sched_cls": _ADDRESSES,
}
_WRITABLE = {
    "socket_filter": "cb",
    "cgroup_skb": "mark priority cb tstamp",
    "lwt": "mark priority cb",
    "sk_skb": "tc_index priority",
    "sched_cls": "mark tc_index priority tc_classid cb tstamp queue_mapping",
}
_POINTERS = {"data": "packet", "data_end": "packet_end", "data_meta": "packet_meta"}


def _skb(asked: _Asked) -> Access | None:
    kind = "lwt" if asked.prog.startswith("lwt_") else asked.prog
    kind = "sched_cls" if kind == "sched_act" else kind
    name, size = asked.field, asked.size
    if name in _HIDDEN[kind].split() or (asked.write and name not in _WRITABLE[kind].split()):
        return None
    if name == "cb":
        end = next(field.end for field in fields("__sk_buff") if field.name == "cb")
        return Access() if asked.off + size <= end else None
    if name in _POINTERS:
        return None if asked.signed else asked.pointer(_POINTERS[name], 4)
    if name in ("remote_ip4", "local_ip4", "remote_ip6", "local_ip6"):
        return asked.exact(4)
    if name == "flow_keys":
        return None
    if name in ("tstamp", "hwtstamp"):
        return asked.exact(8)
    if name == "sk":
        return asked.pointer("sock_common", maybe_null=True)
    if name == "tstamp_type":
        return asked.exact(1)
    if asked.write:
        return asked.exact(4)
    return Access() if asked.narrow else None


def _flow_dissector(asked: _Asked) -> Access | None:
    if asked.field in ("data", "data_end"):
        return None if asked.signed else asked.pointer(_POINTERS[asked.field], 4)
    return asked.pointer("flow_keys") if asked.field == "flow_keys" else None


# ---- the other contexts of the network


def _xdp(asked: _Asked) -> Access | None:
    if asked.write or asked.size != 4:
        return None
    if asked.field == "egress_ifindex" and asked.attach != "xdp_devmap":
        return None
    if asked.field in _POINTERS:
        return None if asked.signed else Access(_POINTERS[asked.field])
    return Access()


def sock(off: int, size: int, *, common: bool = False) -> Access | None:
    """A load from `struct bpf_sock`, as a pointer to a socket (`common`: a sock_common) allows it."""
    name = _field("bpf_sock", off)
    if not name or name == "-" or off % size:
        return None
    if common and name in ("type", "protocol", "mark", "priority"):
        return None
    if name == "dst_port":
        return Access() if size <= 2 or size == 4 else None
    narrow = "state family type protocol src_port rx_queue_mapping src_ip4 src_ip6 dst_ip4 dst_ip6"
    first = next(field.offset for field in fields("bpf_sock") if field.name == name)
    if name in narrow.split() and (off == first or name.endswith(("ip4", "ip6"))):
        return Access() if size <= 4 else None
    return Access() if size == 4 else None


def tcp_sock(off: int, size: int) -> Access | None:
    """A load from `struct bpf_tcp_sock`."""
    name = _field("bpf_tcp_sock", off)
    if not name or off % size:
        return None
    wide = off in (80, 88)  # bytes_received, bytes_acked
    return Access() if size == (8 if wide else 4) else None


def xdp_sock(off: int, size: int) -> Access | None:
    """A load from `struct bpf_xdp_sock`."""
    return Access() if off == 0 and size == 4 else None


_SOCK_CREATE = ("cgroup_inet_sock_create", "cgroup_inet_sock_release")


def _cgroup_sock(asked: _Asked) -> Access | None:
    found = sock(asked.off, asked.size)
    if found is None:
        return None
    name = asked.field
    if name in ("bound_dev_if", "mark", "priority"):
        return found if asked.attach in _SOCK_CREATE else None
    if asked.write:
        return None
    only = {
        "src_ip4": ("cgroup_inet4_post_bind",),
        "src_ip6": ("cgroup_inet6_post_bind",),
        "src_port": ("cgroup_inet4_post_bind", "cgroup_inet6_post_bind"),
    }.get(name)
    if only and asked.attach not in only:
        if name == "src_port" and asked.off != 44:
            return found
        return None
    return found


_FAMILY = {
    "user_ip4": "inet4_bind inet4_connect inet4_getpeername inet4_getsockname udp4_sendmsg udp4_recvmsg",
    "user_ip6": "inet6_bind inet6_connect inet6_getpeername inet6_getsockname udp6_sendmsg udp6_recvmsg",
    "msg_src_ip4": "udp4_sendmsg",
    "msg_src_ip6": "udp6_sendmsg",
}


def _sock_addr(asked: _Asked) -> Access | None:
    name, size = asked.field, asked.size
    if name in _FAMILY and asked.attach.removeprefix("cgroup_") not in _FAMILY[name].split():
        return None
    if name in _FAMILY or name == "user_port":
        if size == 8:  # two words of an IPv6 address at once
            first = next(field for field in fields("bpf_sock_addr") if field.name == name)
            fits = name.endswith("ip6") and asked.off + 8 <= first.end
            return Access() if fits and asked.off % 8 == 0 else None
        return asked.exact(4) if asked.write else Access()
    if name == "sk":
        return asked.pointer("sock")
    return None if asked.write else asked.exact(4)


def _sock_ops(asked: _Asked) -> Access | None:
    name = asked.field
    if asked.write:
        return asked.exact(4) if asked.off in (4, 164) else None  # reply, sk_txhash
    if name in ("bytes_received", "bytes_acked", "skb_hwtstamp"):
        return asked.exact(8)
    if name == "sk":
        return asked.pointer("sock", maybe_null=True)
    if name in ("skb_data", "skb_data_end"):
        return asked.pointer("packet" if name == "skb_data" else "packet_end")
    if asked.off == 212:  # skb_tcp_flags
        return Access() if asked.narrow else None
    return asked.exact(4)


def _sk_msg(asked: _Asked) -> Access | None:
    if asked.write:
        return None
    if asked.field in ("data", "data_end"):
        return asked.pointer(_POINTERS[asked.field])
    return asked.pointer("sock") if asked.field == "sk" else asked.exact(4)


def _sk_reuseport(asked: _Asked) -> Access | None:
    name = asked.field
    if asked.write:
        return None
    if name in ("data", "data_end", "sk", "migrating_sk"):
        if asked.off % 8:
            return None
        kind = {"sk": "sock", "migrating_sk": "sock_common"}.get(name) or _POINTERS[name]
        return asked.pointer(kind, maybe_null=name == "migrating_sk")
    if name == "hash":
        return asked.exact(4)
    if name == "eth_protocol" and asked.size < 2:
        return None
    return Access() if asked.narrow else None


def _sk_lookup(asked: _Asked) -> Access | None:
    name = asked.field
    if asked.write:
        return None
    if name == "sk":
        return asked.pointer("sock", maybe_null=True)
    if name == "remote_port":
        return Access() if asked.narrow else None
    if name == "zeroes":
        return Access() if asked.size <= 2 else None
    return Access() if asked.narrow else None


def _netfilter(asked: _Asked) -> Access | None:
    found = asked.pointer("btf")
    if found:
        found.name = {"skb": "sk_buff", "state": "nf_hook_state"}[asked.field]
        found.trusted = True
    return found


# ---- cgroups


def _device(asked: _Asked) -> Access | None:
    if asked.write or asked.off + asked.size > 12:
        return None
    if asked.field == "access_type":
        return Access() if asked.narrow else None
    return asked.exact(4)


def _sysctl(asked: _Asked) -> Access | None:
    if asked.off + asked.size > 8:
        return None
    if asked.write:
        return asked.exact(4) if asked.field == "file_pos" else None
    return Access() if asked.narrow else None


def _sockopt(asked: _Asked) -> Access | None:
    name = asked.field
    getting = asked.attach == "cgroup_getsockopt"
    if asked.write:
        allowed = {"retval": getting, "optname": asked.attach == "cgroup_setsockopt", "optlen": True}
        allowed["level"] = allowed["optname"]
        return asked.exact(4) if allowed.get(name) else None
    if name in ("sk", "optval", "optval_end"):
        return asked.pointer({"sk": "sock", "optval": "packet", "optval_end": "packet_end"}[name])
    if name == "retval" and not getting:
        return None
    return asked.exact(4)


# ---- tracing


def _kprobe(asked: _Asked) -> Access | None:
    return None if asked.write or asked.off + asked.size > size_of("kprobe") else Access()


def _perf_event(asked: _Asked) -> Access | None:
    if asked.write or asked.off % asked.size:
        return None
    if asked.field in ("sample_period", "addr"):
        return Access()
    return asked.exact(8)


def _tracepoint(asked: _Asked) -> Access | None:
    if asked.write or not 8 <= asked.off < _TRACE_SIZE or asked.off % asked.size:
        return None
    return Access()


def _raw_tracepoint(asked: _Asked) -> Access | None:
    if asked.write or asked.off >= 8 * _RAW_ARGUMENTS or asked.off % asked.size:
        return None
    return Access()


def _raw_writable(asked: _Asked) -> Access | None:
    if asked.off == 0:
        return asked.pointer("tp_buffer")
    return _raw_tracepoint(asked)


def _syscall(asked: _Asked) -> Access | None:
    return None if asked.off >= 0xFFFF or asked.off % asked.size else Access()


def _lirc(asked: _Asked) -> Access | None:
    """The context is one number of four bytes."""
    return Access() if asked.off == 0 and asked.size == 4 and not asked.write else None


_RULES: dict[str, Callable[[_Asked], Access | None]] = {
    **dict.fromkeys(("socket_filter", "sched_cls", "sched_act", "cgroup_skb", "sk_skb"), _skb),
    **dict.fromkeys(("lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local"), _skb),
    "flow_dissector": _flow_dissector,
    "xdp": _xdp,
    "cgroup_sock": _cgroup_sock,
    "cgroup_sock_addr": _sock_addr,
    "sock_ops": _sock_ops,
    "sk_msg": _sk_msg,
    "sk_reuseport": _sk_reuseport,
    "sk_lookup": _sk_lookup,
    "netfilter": _netfilter,
    "cgroup_device": _device,
    "cgroup_sysctl": _sysctl,
    "cgroup_sockopt": _sockopt,
    "kprobe": _kprobe,
    "perf_event": _perf_event,
    "tracepoint": _tracepoint,
    "raw_tracepoint": _raw_tracepoint,
    "raw_tracepoint_writable": _raw_writable,
    "syscall": _syscall,
    "lirc_mode2": _lirc,
}
