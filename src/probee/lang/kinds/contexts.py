"""The contexts of network, socket and cgroup programs: UAPI structs, and what is in network byte order.

Source: linux/bpf.h, which never changes a field's place. Types besides the integers: `be16`, `be32` are in
network byte order; `net16` is such a number of 16 bits in a field of 32; `x[n]` is an array; `sock`, `keys`
lead to `struct bpf_sock`, `struct bpf_flow_keys`; `data` is an end of the packet, reached by reading.
"""

from __future__ import annotations

from ..types import I32, U8, U16, U32, U64, VOID, Array, Member, NetInt, Ptr, Space, Struct, Type

_LAYOUTS: dict[str, tuple[int, str]] = {
    "__sk_buff": (
        192,
        """
        len 0 u32, pkt_type 4 u32, mark 8 u32, queue_mapping 12 u32, protocol 16 net16,
        vlan_present 20 u32, vlan_tci 24 u32, vlan_proto 28 net16, priority 32 u32,
        ingress_ifindex 36 u32, ifindex 40 u32, tc_index 44 u32, cb 48 u32[5], hash 68 u32,
        tc_classid 72 u32, data 76 u32, data_end 80 u32, napi_id 84 u32, family 88 u32,
        remote_ip4 92 be32, local_ip4 96 be32, remote_ip6 100 be32[4], local_ip6 116 be32[4],
        remote_port 132 be32, local_port 136 u32, data_meta 140 u32, flow_keys 144 keys, tstamp 152 u64,
        wire_len 160 u32, gso_segs 164 u32, sk 168 sock, gso_size 176 u32, tstamp_type 180 u8,
        hwtstamp 184 u64
        """,
    ),
    "xdp_md": (
        24,
        """
        data 0 u32, data_end 4 u32, data_meta 8 u32, ingress_ifindex 12 u32, rx_queue_index 16 u32,
        egress_ifindex 20 u32
        """,
    ),
    "bpf_sock": (
        80,
        """
        bound_dev_if 0 u32, family 4 u32, type 8 u32, protocol 12 u32, mark 16 u32, priority 20 u32,
        src_ip4 24 be32, src_ip6 28 be32[4], src_port 44 u32, dst_port 48 be16, dst_ip4 52 be32,
        dst_ip6 56 be32[4], state 72 u32, rx_queue_mapping 76 i32
        """,
    ),
    "bpf_sock_addr": (
        72,
        """
        user_family 0 u32, user_ip4 4 be32, user_ip6 8 be32[4], user_port 24 net16, family 28 u32,
        type 32 u32, protocol 36 u32, msg_src_ip4 40 be32, msg_src_ip6 44 be32[4], sk 64 sock
        """,
    ),
    "bpf_sock_ops": (
        224,
        """
        op 0 u32, args 4 u32[4], reply 4 u32, replylong 4 u32[4], family 20 u32, remote_ip4 24 be32,
        local_ip4 28 be32, remote_ip6 32 be32[4], local_ip6 48 be32[4], remote_port 64 be32,
        local_port 68 u32, is_fullsock 72 u32, snd_cwnd 76 u32, srtt_us 80 u32,
        bpf_sock_ops_cb_flags 84 u32, state 88 u32, rtt_min 92 u32, snd_ssthresh 96 u32,
        rcv_nxt 100 u32, snd_nxt 104 u32, snd_una 108 u32, mss_cache 112 u32, ecn_flags 116 u32,
        rate_delivered 120 u32, rate_interval_us 124 u32, packets_out 128 u32, retrans_out 132 u32,
        total_retrans 136 u32, segs_in 140 u32, data_segs_in 144 u32, segs_out 148 u32,
        data_segs_out 152 u32, lost_out 156 u32, sacked_out 160 u32, sk_txhash 164 u32,
        bytes_received 168 u64, bytes_acked 176 u64, sk 184 sock, skb_data 192 data,
        skb_data_end 200 data, skb_len 208 u32, skb_tcp_flags 212 u32, skb_hwtstamp 216 u64
        """,
    ),
    "sk_msg_md": (
        80,
        """
        data 0 data, data_end 8 data, family 16 u32, remote_ip4 20 be32, local_ip4 24 be32,
        remote_ip6 28 be32[4], local_ip6 44 be32[4], remote_port 60 be32, local_port 64 u32,
        size 68 u32, sk 72 sock
        """,
    ),
    "sk_reuseport_md": (
        56,
        """
        data 0 data, data_end 8 data, len 16 u32, eth_protocol 20 net16, ip_protocol 24 u32,
        bind_inany 28 u32, hash 32 u32, sk 40 sock, migrating_sk 48 sock
        """,
    ),
    "bpf_sk_lookup": (
        72,
        """
        sk 0 sock, family 8 u32, protocol 12 u32, remote_ip4 16 be32, remote_ip6 20 be32[4],
        remote_port 36 be16, local_ip4 40 be32, local_ip6 44 be32[4], local_port 60 u32,
        ingress_ifindex 64 u32
        """,
    ),
    "bpf_sysctl": (8, "write 0 u32, file_pos 4 u32"),
    "bpf_sockopt": (
        40,
        """
        sk 0 sock, optval 8 data, optval_end 16 data, level 24 i32, optname 28 i32, optlen 32 i32,
        retval 36 i32
        """,
    ),
    "bpf_cgroup_dev_ctx": (12, "access_type 0 u32, major 4 u32, minor 8 u32"),
    "bpf_flow_keys": (
        56,
        """
        nhoff 0 u16, thoff 2 u16, addr_proto 4 u16, is_frag 6 u8, is_first_frag 7 u8, is_encap 8 u8,
        ip_proto 9 u8, n_proto 10 be16, sport 12 be16, dport 14 be16, ipv4_src 16 be32,
        ipv4_dst 20 be32, ipv6_src 16 be32[4], ipv6_dst 32 be32[4], flags 48 u32, flow_label 52 be32
        """,
    ),
}

_TYPES: dict[str, Type] = {
    "u8": U8,
    "u16": U16,
    "u32": U32,
    "u64": U64,
    "i32": I32,
    "be16": NetInt(16),
    "be32": NetInt(32),
    "net16": NetInt(16, 32, 16),
}

_made: dict[str, Struct] = {}


def layout(name: str) -> Struct:
    """The struct of a context, by its name in linux/bpf.h."""
    if name not in _made:
        size, text = _LAYOUTS[name]
        members = []
        for line in text.split(","):
            field, offset, kind = line.split()
            members.append(Member(field, _type(kind), int(offset) * 8))
        _made[name] = Struct(name, size, tuple(members))
    return _made[name]


def _type(kind: str) -> Type:
    of, bracket, count = kind.partition("[")
    if bracket:
        return Array(_TYPES[of], int(count.rstrip("]")))
    if kind == "sock":
        return Ptr(layout("bpf_sock"), Space.CONTEXT, True)
    if kind == "keys":
        return Ptr(layout("bpf_flow_keys"), Space.PACKET)
    if kind == "data":
        return Ptr(VOID, Space.PACKET)
    return _TYPES[kind]
