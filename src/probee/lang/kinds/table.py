"""What each kind of network, socket and cgroup program may do: fields, packet, results.

Sources: the kernel's `…_is_valid_access` functions (net/core/filter.c, kernel/bpf/cgroup.c) and the ranges of
results that its verifier demands.
"""

from __future__ import annotations

from . import verdicts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

READ, WRITE, COPY = "read", "write", "copy"  # what programs may do with packets; COPY: by helpers only


class NetKind:
    """A kind of program. `default` is the result of a program that does not say one.

    `hidden` are fields of the context that it has not, `writable` those it may assign. `packet` is READ,
    WRITE, COPY or "" for none, `ends` the fields with the packet's ends. `results` are allowed results by
    name, and `range` what the kernel demands.
    """

    __slots__ = ("context", "default", "ends", "hidden", "packet", "range", "results", "word", "writable")

    def __init__(
        self,
        word: str,
        context: str,
        results: type | None,
        default: int,
        *,
        range: tuple[int, int] | None = None,
        writable: str = "",
        hidden: str = "",
        packet: str = "",
        ends: tuple[str, str] = ("data", "data_end"),
    ) -> None:
        self.word = word
        self.context = context
        self.results: Mapping[str, int] = (
            {n: v for n, v in vars(results).items() if isinstance(v, int)} if results is not None else {}
        )
        self.default = default
        self.range = range
        self.writable = frozenset(writable.split())
        self.hidden = frozenset(hidden.split()) | set(ends)
        self.packet = packet
        self.ends = ends


_SOCKET = "family remote_ip4 local_ip4 remote_ip6 local_ip6 remote_port local_port"
_SKB = f"data_meta flow_keys tstamp_type tc_classid {_SOCKET}"
_LWT = f"tc_classid tstamp wire_len hwtstamp flow_keys data_meta tstamp_type {_SOCKET}"
_FLOW = """
    len pkt_type mark queue_mapping protocol vlan_present vlan_tci vlan_proto priority ingress_ifindex ifindex
    tc_index cb hash napi_id tstamp wire_len gso_segs sk gso_size hwtstamp
"""
_TC_WRITES = "mark tc_index priority tc_classid cb tstamp queue_mapping"
_ALLOW = (0, 1)


def _tc(word: str) -> NetKind:
    hidden = f"flow_keys {_SOCKET}"
    return NetKind(word, "__sk_buff", verdicts.TC, -1, writable=_TC_WRITES, hidden=hidden, packet=WRITE)


def _xdp(word: str) -> NetKind:
    hidden = "data_meta"
    if "devmap" not in word:
        hidden += " egress_ifindex"
    return NetKind(word, "xdp_md", verdicts.XDP, 2, hidden=hidden, packet=WRITE)


def _cgroup(word: str, context: str, top: int = 1, **more: str) -> NetKind:
    results = verdicts.CGROUP
    return NetKind(word, context, results, 1, range=(0, top), ends=("", ""), **more)


_ADDR4 = "msg_src_ip4 msg_src_ip6 user_ip6"
_ADDR6 = "msg_src_ip4 msg_src_ip6 user_ip4"
_UNIX = "user_ip4 user_ip6 user_port msg_src_ip4 msg_src_ip6"


def _address(verb: str, version: str) -> NetKind:
    """cgroup/connect4 and the like."""
    hidden = {"4": _ADDR4, "6": _ADDR6, "unix": _UNIX}[version]
    writable = {"4": "user_ip4 user_port", "6": "user_ip6 user_port", "unix": ""}[version]
    if verb == "sendmsg" and version != "unix":
        hidden = hidden.replace(f"msg_src_ip{version}", "")
        writable += f" msg_src_ip{version}"
    lowest = 1 if verb in ("recvmsg", "getpeername", "getsockname") else 0
    kind = _cgroup(f"cgroup/{verb}", "bpf_sock_addr", hidden=hidden, writable=writable)
    kind.range = (lowest, 3 if verb == "bind" and version != "unix" else 1)
    return kind


_SOCK_WRITES = "bound_dev_if mark priority"
_POST = "bound_dev_if mark priority rx_queue_mapping state dst_port dst_ip4 dst_ip6"
_OPS_WRITES = "reply replylong sk_txhash"


def find(section: str) -> NetKind | None:
    """The kind of program of an ELF section; None if it is none of the network's."""
    if section not in _known:
        _known[section] = _make(section)
    return _known[section]


_known: dict[str, NetKind | None] = {}


def _make(section: str) -> NetKind | None:
    word, _, rest = section.partition("/")
    if word in ("xdp", "xdp.frags"):
        return _xdp(f"XDP {rest}".strip())
    if word in ("tc", "tcx", "netkit", "classifier", "action"):
        return _tc(word)
    if word == "cgroup_skb":
        hidden = "tc_classid data_meta wire_len flow_keys tstamp_type"
        top = 3 if rest == "egress" else 1
        writable = "mark priority cb tstamp"
        kind = NetKind("cgroup_skb", "__sk_buff", verdicts.CGROUP, 1, range=(0, top), packet=READ)
        kind.hidden |= frozenset(hidden.split())
        kind.writable = frozenset(writable.split())
        return kind
    if word == "cgroup":
        return _make_cgroup(rest)
    match section:
        case "socket":
            hidden = f"{_SKB} tstamp wire_len hwtstamp"
            return NetKind("socket filter", "__sk_buff", None, -1, writable="cb", hidden=hidden, packet=COPY)
        case "sockops":
            return NetKind(
                "sockops",
                "bpf_sock_ops",
                None,
                1,
                range=_ALLOW,
                writable=_OPS_WRITES,
                packet=READ,
                ends=("skb_data", "skb_data_end"),
            )
        case "sk_msg":
            return NetKind("sk_msg", "sk_msg_md", verdicts.SK, 1, packet=WRITE)
        case "sk_skb/stream_parser" | "sk_skb/stream_verdict" | "sk_skb/verdict" | "sk_skb":
            results = None if section.endswith("parser") else verdicts.SK
            hidden = "tc_classid data_meta tstamp wire_len hwtstamp flow_keys tstamp_type mark"
            writes = "tc_index priority"
            return NetKind("sk_skb", "__sk_buff", results, 1, writable=writes, hidden=hidden, packet=WRITE)
        case "sk_lookup":
            return NetKind("sk_lookup", "bpf_sk_lookup", verdicts.SK, 1, range=_ALLOW, ends=("", ""))
        case "sk_reuseport" | "sk_reuseport/migrate":
            hidden = "" if "/" in section else "migrating_sk"
            return NetKind(
                "sk_reuseport", "sk_reuseport_md", verdicts.SK, 1, range=_ALLOW, hidden=hidden, packet=READ
            )
        case "flow_dissector":
            hidden = f"tc_classid data_meta tstamp_type {_SOCKET} {_FLOW}"
            return NetKind("flow_dissector", "__sk_buff", verdicts.FLOW, 129, hidden=hidden, packet=READ)
        case "lwt_in" | "lwt_out" | "lwt_xmit" | "lwt_seg6local":
            access = WRITE if word == "lwt_xmit" else READ
            return NetKind(
                word, "__sk_buff", verdicts.LWT, 0, writable="mark priority cb", hidden=_LWT, packet=access
            )
    return None


def _make_cgroup(what: str) -> NetKind | None:
    for verb in ("bind", "connect", "sendmsg", "recvmsg", "getpeername", "getsockname"):
        if what.startswith(verb):
            return _address(verb, what[len(verb) :].lstrip("_"))
    match what:
        case "sock_create" | "sock_release" | "sock":
            hidden = "state dst_port dst_ip4 dst_ip6 src_ip4 src_ip6 src_port rx_queue_mapping"
            return _cgroup(f"cgroup/{what}", "bpf_sock", hidden=hidden, writable=_SOCK_WRITES)
        case "post_bind4":
            return _cgroup("cgroup/post_bind4", "bpf_sock", hidden=f"{_POST} src_ip6")
        case "post_bind6":
            return _cgroup("cgroup/post_bind6", "bpf_sock", hidden=f"{_POST} src_ip4")
        case "sysctl":
            return _cgroup("cgroup/sysctl", "bpf_sysctl", writable="file_pos")
        case "dev":
            return _cgroup("cgroup/dev", "bpf_cgroup_dev_ctx")
        case "getsockopt" | "setsockopt":
            kind = _cgroup(f"cgroup/{what}", "bpf_sockopt")
            kind.packet, kind.ends = WRITE, ("optval", "optval_end")
            kind.hidden = frozenset(kind.ends) | ({"retval"} if what == "setsockopt" else frozenset())
            writes = "optlen retval" if what == "getsockopt" else "level optname optlen"
            kind.writable = frozenset(writes.split())
            return kind
    return None
