"""ELF section names and the program types they stand for: libbpf's convention.

Source: libbpf's program types page (the kernel's `Documentation/bpf/libbpf/program_types.rst`).
"""

from __future__ import annotations

from probee.isa.tables import ATTACH_TYPES, PROG_TYPES

# Flags of a section.
EXTRAS = 1  # "name/rest" is allowed: what to attach to
SLEEPABLE = 4  # loaded with BPF_F_SLEEPABLE
ATTACH_BTF = 8  # the rest names a BTF function or type: attach_btf_id
XDP_FRAGS = 16  # loaded with BPF_F_XDP_HAS_FRAGS
ATTACH_TYPE_OPTIONAL = 32  # kernels before expected_attach_type take the program too

_P = {name: number for name, (number, _) in PROG_TYPES.items()}
_A = {name: number for name, (number, _) in ATTACH_TYPES.items()}

_KPROBE, _TRACING, _XDP, _CGROUP_ADDR = _P["kprobe"], _P["tracing"], _P["xdp"], _P["cgroup_sock_addr"]
_TRACEPOINT, _RAW_TP, _LSM = _P["tracepoint"], _P["raw_tracepoint"], _P["lsm"]
_RAW_TP_W, _SCHED_CLS, _SK_SKB = _P["raw_tracepoint_writable"], _P["sched_cls"], _P["sk_skb"]
_CGROUP_SOCK, _CGROUP_SKB, _SOCKOPT = _P["cgroup_sock"], _P["cgroup_skb"], _P["cgroup_sockopt"]
_BTF = EXTRAS | ATTACH_BTF
_OPT = ATTACH_TYPE_OPTIONAL

# Section name (before the first "/" that starts the target) -> (program type, attach type, flags).
SECTIONS: dict[str, tuple[int, int, int]] = {
    "socket": (_P["socket_filter"], 0, 0),
    "sk_reuseport/migrate": (_P["sk_reuseport"], _A["sk_reuseport_select_or_migrate"], 0),
    "sk_reuseport": (_P["sk_reuseport"], _A["sk_reuseport_select"], 0),
    "kprobe": (_KPROBE, 0, EXTRAS),
    "kretprobe": (_KPROBE, 0, EXTRAS),
    "uprobe": (_KPROBE, 0, EXTRAS),
    "uprobe.s": (_KPROBE, 0, EXTRAS | SLEEPABLE),
    "uretprobe": (_KPROBE, 0, EXTRAS),
    "uretprobe.s": (_KPROBE, 0, EXTRAS | SLEEPABLE),
    "kprobe.multi": (_KPROBE, _A["trace_kprobe_multi"], EXTRAS),
    "kretprobe.multi": (_KPROBE, _A["trace_kprobe_multi"], EXTRAS),
    "kprobe.session": (_KPROBE, _A["trace_kprobe_session"], EXTRAS),
    "uprobe.multi": (_KPROBE, _A["trace_uprobe_multi"], EXTRAS),
    "uretprobe.multi": (_KPROBE, _A["trace_uprobe_multi"], EXTRAS),
    "uprobe.session": (_KPROBE, _A["trace_uprobe_session"], EXTRAS),
    "uprobe.multi.s": (_KPROBE, _A["trace_uprobe_multi"], EXTRAS | SLEEPABLE),
    "uretprobe.multi.s": (_KPROBE, _A["trace_uprobe_multi"], EXTRAS | SLEEPABLE),
    "uprobe.session.s": (_KPROBE, _A["trace_uprobe_session"], EXTRAS | SLEEPABLE),
    "ksyscall": (_KPROBE, 0, EXTRAS),
    "kretsyscall": (_KPROBE, 0, EXTRAS),
    "usdt": (_KPROBE, 0, EXTRAS),
    "usdt.s": (_KPROBE, 0, EXTRAS | SLEEPABLE),
    "tcx/ingress": (_SCHED_CLS, _A["tcx_ingress"], 0),
    "tcx/egress": (_SCHED_CLS, _A["tcx_egress"], 0),
    "tc/ingress": (_SCHED_CLS, _A["tcx_ingress"], _OPT),
    "tc/egress": (_SCHED_CLS, _A["tcx_egress"], _OPT),
    "tc": (_SCHED_CLS, 0, 0),
    "classifier": (_SCHED_CLS, 0, 0),
    "action": (_P["sched_act"], 0, 0),
    "netkit/primary": (_SCHED_CLS, _A["netkit_primary"], 0),
    "netkit/peer": (_SCHED_CLS, _A["netkit_peer"], 0),
    "tracepoint": (_TRACEPOINT, 0, EXTRAS),
    "tp": (_TRACEPOINT, 0, EXTRAS),
    "raw_tracepoint": (_RAW_TP, 0, EXTRAS),
    "raw_tp": (_RAW_TP, 0, EXTRAS),
    "raw_tracepoint.w": (_RAW_TP_W, 0, EXTRAS),
    "raw_tp.w": (_RAW_TP_W, 0, EXTRAS),
    "tp_btf": (_TRACING, _A["trace_raw_tp"], _BTF),
    "fentry": (_TRACING, _A["trace_fentry"], _BTF),
    "fentry.s": (_TRACING, _A["trace_fentry"], _BTF | SLEEPABLE),
    "fmod_ret": (_TRACING, _A["modify_return"], _BTF),
    "fmod_ret.s": (_TRACING, _A["modify_return"], _BTF | SLEEPABLE),
    "fexit": (_TRACING, _A["trace_fexit"], _BTF),
    "fexit.s": (_TRACING, _A["trace_fexit"], _BTF | SLEEPABLE),
    "freplace": (_P["ext"], 0, _BTF),
    "lsm": (_LSM, _A["lsm_mac"], _BTF),
    "lsm.s": (_LSM, _A["lsm_mac"], _BTF | SLEEPABLE),
    "lsm_cgroup": (_LSM, _A["lsm_cgroup"], _BTF),
    "iter": (_TRACING, _A["trace_iter"], _BTF),
    "iter.s": (_TRACING, _A["trace_iter"], _BTF | SLEEPABLE),
    "syscall": (_P["syscall"], 0, SLEEPABLE),
    "xdp.frags/devmap": (_XDP, _A["xdp_devmap"], XDP_FRAGS),
    "xdp/devmap": (_XDP, _A["xdp_devmap"], 0),
    "xdp.frags/cpumap": (_XDP, _A["xdp_cpumap"], XDP_FRAGS),
    "xdp/cpumap": (_XDP, _A["xdp_cpumap"], 0),
    "xdp.frags": (_XDP, _A["xdp"], XDP_FRAGS),
    "xdp": (_XDP, _A["xdp"], _OPT),
    "perf_event": (_P["perf_event"], 0, EXTRAS),
    "lwt_in": (_P["lwt_in"], 0, 0),
    "lwt_out": (_P["lwt_out"], 0, 0),
    "lwt_xmit": (_P["lwt_xmit"], 0, 0),
    "lwt_seg6local": (_P["lwt_seg6local"], 0, 0),
    "sockops": (_P["sock_ops"], _A["cgroup_sock_ops"], _OPT),
    "sk_skb/stream_parser": (_SK_SKB, _A["sk_skb_stream_parser"], _OPT),
    "sk_skb/stream_verdict": (_SK_SKB, _A["sk_skb_stream_verdict"], _OPT),
    "sk_skb/verdict": (_SK_SKB, _A["sk_skb_verdict"], _OPT),
    "sk_skb": (_SK_SKB, 0, 0),
    "sk_msg": (_P["sk_msg"], _A["sk_msg_verdict"], _OPT),
    "lirc_mode2": (_P["lirc_mode2"], _A["lirc_mode2"], _OPT),
    "flow_dissector": (_P["flow_dissector"], _A["flow_dissector"], _OPT),
    "cgroup_skb/ingress": (_CGROUP_SKB, _A["cgroup_inet_ingress"], _OPT),
    "cgroup_skb/egress": (_CGROUP_SKB, _A["cgroup_inet_egress"], _OPT),
    "cgroup/skb": (_CGROUP_SKB, 0, 0),
    "cgroup/sock_create": (_CGROUP_SOCK, _A["cgroup_inet_sock_create"], 0),
    "cgroup/sock_release": (_CGROUP_SOCK, _A["cgroup_inet_sock_release"], 0),
    "cgroup/sock": (_CGROUP_SOCK, _A["cgroup_inet_sock_create"], _OPT),
    "cgroup/post_bind4": (_CGROUP_SOCK, _A["cgroup_inet4_post_bind"], 0),
    "cgroup/post_bind6": (_CGROUP_SOCK, _A["cgroup_inet6_post_bind"], 0),
    "cgroup/bind4": (_CGROUP_ADDR, _A["cgroup_inet4_bind"], 0),
    "cgroup/bind6": (_CGROUP_ADDR, _A["cgroup_inet6_bind"], 0),
    "cgroup/connect4": (_CGROUP_ADDR, _A["cgroup_inet4_connect"], 0),
    "cgroup/connect6": (_CGROUP_ADDR, _A["cgroup_inet6_connect"], 0),
    "cgroup/connect_unix": (_CGROUP_ADDR, _A["cgroup_unix_connect"], 0),
    "cgroup/sendmsg4": (_CGROUP_ADDR, _A["cgroup_udp4_sendmsg"], 0),
    "cgroup/sendmsg6": (_CGROUP_ADDR, _A["cgroup_udp6_sendmsg"], 0),
    "cgroup/sendmsg_unix": (_CGROUP_ADDR, _A["cgroup_unix_sendmsg"], 0),
    "cgroup/recvmsg4": (_CGROUP_ADDR, _A["cgroup_udp4_recvmsg"], 0),
    "cgroup/recvmsg6": (_CGROUP_ADDR, _A["cgroup_udp6_recvmsg"], 0),
    "cgroup/recvmsg_unix": (_CGROUP_ADDR, _A["cgroup_unix_recvmsg"], 0),
    "cgroup/getpeername4": (_CGROUP_ADDR, _A["cgroup_inet4_getpeername"], 0),
    "cgroup/getpeername6": (_CGROUP_ADDR, _A["cgroup_inet6_getpeername"], 0),
    "cgroup/getpeername_unix": (_CGROUP_ADDR, _A["cgroup_unix_getpeername"], 0),
    "cgroup/getsockname4": (_CGROUP_ADDR, _A["cgroup_inet4_getsockname"], 0),
    "cgroup/getsockname6": (_CGROUP_ADDR, _A["cgroup_inet6_getsockname"], 0),
    "cgroup/getsockname_unix": (_CGROUP_ADDR, _A["cgroup_unix_getsockname"], 0),
    "cgroup/sysctl": (_P["cgroup_sysctl"], _A["cgroup_sysctl"], 0),
    "cgroup/getsockopt": (_SOCKOPT, _A["cgroup_getsockopt"], 0),
    "cgroup/setsockopt": (_SOCKOPT, _A["cgroup_setsockopt"], 0),
    "cgroup/dev": (_P["cgroup_device"], _A["cgroup_device"], _OPT),
    "struct_ops": (_P["struct_ops"], 0, EXTRAS),
    "struct_ops.s": (_P["struct_ops"], 0, EXTRAS | SLEEPABLE),
    "sk_lookup": (_P["sk_lookup"], _A["sk_lookup"], 0),
    "netfilter": (_P["netfilter"], _A["netfilter"], 0),
}


def match(section: str) -> tuple[str, str] | None:
    """The key of `SECTIONS` a section name belongs to and what follows it (its target).

    A leading "?" (libbpf: do not load by itself) is skipped. None if no program type goes by that name.

    >>> match("tp/sched/sched_switch")
    ('tp', 'sched/sched_switch')
    >>> match("perf_event")
    ('perf_event', '')
    """
    name = section[1:] if section.startswith("?") else section
    if name in SECTIONS:
        return name, ""
    at = name.find("/")
    if at > 0:
        key = name[:at]
        entry = SECTIONS.get(key)
        if entry is not None and entry[2] & EXTRAS:
            return key, name[at + 1 :]
    return None
