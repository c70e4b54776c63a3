"""ELF section names and the program types they stand for: libbpf's convention.

Source: libbpf's program types page (the kernel's `Documentation/bpf/libbpf/program_types.rst`).
"""

from __future__ import annotations

# Flags of a section.
EXTRAS = 1  # "name/rest" is allowed: what to attach to
USDT = 2  # loaded for a uprobe.multi link where the kernel has those
SLEEPABLE = 4  # loaded with BPF_F_SLEEPABLE
ATTACH_BTF = 8  # the rest names a BTF function or type: attach_btf_id
XDP_FRAGS = 16  # loaded with BPF_F_XDP_HAS_FRAGS
ATTACH_TYPE_OPTIONAL = 32  # kernels before expected_attach_type take the program too

_BTF = EXTRAS | ATTACH_BTF
_OPT = ATTACH_TYPE_OPTIONAL

# Section name (before the "/" that starts the target) -> (program type, attach type, flags). The numbers are
# those of `tables`, which is not imported here: starting a program has no other need of it.
SECTIONS: dict[str, tuple[int, int, int]] = {
    "socket": (1, 0, 0),  # socket_filter
    "sk_reuseport/migrate": (21, 40, 0),  # sk_reuseport, sk_reuseport_select_or_migrate
    "sk_reuseport": (21, 39, 0),  # sk_reuseport, sk_reuseport_select
    "kprobe": (2, 0, EXTRAS),  # kprobe
    "kretprobe": (2, 0, EXTRAS),  # kprobe
    "uprobe": (2, 0, EXTRAS),  # kprobe
    "uprobe.s": (2, 0, EXTRAS | SLEEPABLE),  # kprobe
    "uretprobe": (2, 0, EXTRAS),  # kprobe
    "uretprobe.s": (2, 0, EXTRAS | SLEEPABLE),  # kprobe
    "kprobe.multi": (2, 42, EXTRAS),  # kprobe, trace_kprobe_multi
    "kretprobe.multi": (2, 42, EXTRAS),  # kprobe, trace_kprobe_multi
    "kprobe.session": (2, 56, EXTRAS),  # kprobe, trace_kprobe_session
    "uprobe.multi": (2, 48, EXTRAS),  # kprobe, trace_uprobe_multi
    "uretprobe.multi": (2, 48, EXTRAS),  # kprobe, trace_uprobe_multi
    "uprobe.session": (2, 57, EXTRAS),  # kprobe, trace_uprobe_session
    "uprobe.multi.s": (2, 48, EXTRAS | SLEEPABLE),  # kprobe, trace_uprobe_multi
    "uretprobe.multi.s": (2, 48, EXTRAS | SLEEPABLE),  # kprobe, trace_uprobe_multi
    "uprobe.session.s": (2, 57, EXTRAS | SLEEPABLE),  # kprobe, trace_uprobe_session
    "ksyscall": (2, 0, EXTRAS),  # kprobe
    "kretsyscall": (2, 0, EXTRAS),  # kprobe
    "usdt": (2, 0, EXTRAS | USDT),  # kprobe
    "usdt.s": (2, 0, EXTRAS | USDT | SLEEPABLE),  # kprobe
    "tcx/ingress": (3, 46, 0),  # sched_cls, tcx_ingress
    "tcx/egress": (3, 47, 0),  # sched_cls, tcx_egress
    "tc/ingress": (3, 46, 0),  # sched_cls, tcx_ingress
    "tc/egress": (3, 47, 0),  # sched_cls, tcx_egress
    "tc": (3, 0, 0),  # sched_cls
    "classifier": (3, 0, 0),  # sched_cls
    "action": (4, 0, 0),  # sched_act
    "netkit/primary": (3, 54, 0),  # sched_cls, netkit_primary
    "netkit/peer": (3, 55, 0),  # sched_cls, netkit_peer
    "tracepoint": (5, 0, EXTRAS),  # tracepoint
    "tp": (5, 0, EXTRAS),  # tracepoint
    "tracepoint.s": (5, 0, EXTRAS | SLEEPABLE),  # tracepoint
    "tp.s": (5, 0, EXTRAS | SLEEPABLE),  # tracepoint
    "raw_tracepoint": (17, 0, EXTRAS),  # raw_tracepoint
    "raw_tp": (17, 0, EXTRAS),  # raw_tracepoint
    "raw_tracepoint.s": (17, 0, EXTRAS | SLEEPABLE),  # raw_tracepoint
    "raw_tp.s": (17, 0, EXTRAS | SLEEPABLE),  # raw_tracepoint
    "raw_tracepoint.w": (24, 0, EXTRAS),  # raw_tracepoint_writable
    "raw_tp.w": (24, 0, EXTRAS),  # raw_tracepoint_writable
    "tp_btf": (26, 23, _BTF),  # tracing, trace_raw_tp
    "tp_btf.s": (26, 23, _BTF | SLEEPABLE),  # tracing, trace_raw_tp
    "fentry": (26, 24, _BTF),  # tracing, trace_fentry
    "fentry.s": (26, 24, _BTF | SLEEPABLE),  # tracing, trace_fentry
    "fmod_ret": (26, 26, _BTF),  # tracing, modify_return
    "fmod_ret.s": (26, 26, _BTF | SLEEPABLE),  # tracing, modify_return
    "fexit": (26, 25, _BTF),  # tracing, trace_fexit
    "fexit.s": (26, 25, _BTF | SLEEPABLE),  # tracing, trace_fexit
    "fsession": (26, 58, _BTF),  # tracing, trace_fsession
    "fsession.s": (26, 58, _BTF | SLEEPABLE),  # tracing, trace_fsession
    "fentry.multi": (26, 59, EXTRAS),  # tracing, trace_fentry_multi
    "fentry.multi.s": (26, 59, EXTRAS | SLEEPABLE),  # tracing, trace_fentry_multi
    "fexit.multi": (26, 60, EXTRAS),  # tracing, trace_fexit_multi
    "fexit.multi.s": (26, 60, EXTRAS | SLEEPABLE),  # tracing, trace_fexit_multi
    "fsession.multi": (26, 61, EXTRAS),  # tracing, trace_fsession_multi
    "fsession.multi.s": (26, 61, EXTRAS | SLEEPABLE),  # tracing, trace_fsession_multi
    "freplace": (28, 0, _BTF),  # ext
    "lsm": (29, 27, _BTF),  # lsm, lsm_mac
    "lsm.s": (29, 27, _BTF | SLEEPABLE),  # lsm, lsm_mac
    "lsm_cgroup": (29, 43, _BTF),  # lsm, lsm_cgroup
    "iter": (26, 28, _BTF),  # tracing, trace_iter
    "iter.s": (26, 28, _BTF | SLEEPABLE),  # tracing, trace_iter
    "syscall": (31, 0, SLEEPABLE),  # syscall
    "xdp.frags/devmap": (6, 33, XDP_FRAGS),  # xdp, xdp_devmap
    "xdp/devmap": (6, 33, 0),  # xdp, xdp_devmap
    "xdp.frags/cpumap": (6, 35, XDP_FRAGS),  # xdp, xdp_cpumap
    "xdp/cpumap": (6, 35, 0),  # xdp, xdp_cpumap
    "xdp.frags": (6, 37, XDP_FRAGS),  # xdp, xdp
    "xdp": (6, 37, _OPT),  # xdp, xdp
    "perf_event": (7, 0, EXTRAS),  # perf_event
    "lwt_in": (10, 0, 0),  # lwt_in
    "lwt_out": (11, 0, 0),  # lwt_out
    "lwt_xmit": (12, 0, 0),  # lwt_xmit
    "lwt_seg6local": (19, 0, 0),  # lwt_seg6local
    "sockops": (13, 3, _OPT),  # sock_ops, cgroup_sock_ops
    "sk_skb/stream_parser": (14, 4, _OPT),  # sk_skb, sk_skb_stream_parser
    "sk_skb/stream_verdict": (14, 5, _OPT),  # sk_skb, sk_skb_stream_verdict
    "sk_skb/verdict": (14, 38, _OPT),  # sk_skb, sk_skb_verdict
    "sk_skb": (14, 0, 0),  # sk_skb
    "sk_msg": (16, 7, _OPT),  # sk_msg, sk_msg_verdict
    "lirc_mode2": (20, 16, _OPT),  # lirc_mode2, lirc_mode2
    "flow_dissector": (22, 17, _OPT),  # flow_dissector, flow_dissector
    "cgroup_skb/ingress": (8, 0, _OPT),  # cgroup_skb, cgroup_inet_ingress
    "cgroup_skb/egress": (8, 1, _OPT),  # cgroup_skb, cgroup_inet_egress
    "cgroup/skb": (8, 0, 0),  # cgroup_skb
    "cgroup/sock_create": (9, 2, 0),  # cgroup_sock, cgroup_inet_sock_create
    "cgroup/sock_release": (9, 34, 0),  # cgroup_sock, cgroup_inet_sock_release
    "cgroup/sock": (9, 2, _OPT),  # cgroup_sock, cgroup_inet_sock_create
    "cgroup/post_bind4": (9, 12, 0),  # cgroup_sock, cgroup_inet4_post_bind
    "cgroup/post_bind6": (9, 13, 0),  # cgroup_sock, cgroup_inet6_post_bind
    "cgroup/bind4": (18, 8, 0),  # cgroup_sock_addr, cgroup_inet4_bind
    "cgroup/bind6": (18, 9, 0),  # cgroup_sock_addr, cgroup_inet6_bind
    "cgroup/connect4": (18, 10, 0),  # cgroup_sock_addr, cgroup_inet4_connect
    "cgroup/connect6": (18, 11, 0),  # cgroup_sock_addr, cgroup_inet6_connect
    "cgroup/connect_unix": (18, 49, 0),  # cgroup_sock_addr, cgroup_unix_connect
    "cgroup/sendmsg4": (18, 14, 0),  # cgroup_sock_addr, cgroup_udp4_sendmsg
    "cgroup/sendmsg6": (18, 15, 0),  # cgroup_sock_addr, cgroup_udp6_sendmsg
    "cgroup/sendmsg_unix": (18, 50, 0),  # cgroup_sock_addr, cgroup_unix_sendmsg
    "cgroup/recvmsg4": (18, 19, 0),  # cgroup_sock_addr, cgroup_udp4_recvmsg
    "cgroup/recvmsg6": (18, 20, 0),  # cgroup_sock_addr, cgroup_udp6_recvmsg
    "cgroup/recvmsg_unix": (18, 51, 0),  # cgroup_sock_addr, cgroup_unix_recvmsg
    "cgroup/getpeername4": (18, 29, 0),  # cgroup_sock_addr, cgroup_inet4_getpeername
    "cgroup/getpeername6": (18, 30, 0),  # cgroup_sock_addr, cgroup_inet6_getpeername
    "cgroup/getpeername_unix": (18, 52, 0),  # cgroup_sock_addr, cgroup_unix_getpeername
    "cgroup/getsockname4": (18, 31, 0),  # cgroup_sock_addr, cgroup_inet4_getsockname
    "cgroup/getsockname6": (18, 32, 0),  # cgroup_sock_addr, cgroup_inet6_getsockname
    "cgroup/getsockname_unix": (18, 53, 0),  # cgroup_sock_addr, cgroup_unix_getsockname
    "cgroup/sysctl": (23, 18, 0),  # cgroup_sysctl, cgroup_sysctl
    "cgroup/getsockopt": (25, 21, 0),  # cgroup_sockopt, cgroup_getsockopt
    "cgroup/setsockopt": (25, 22, 0),  # cgroup_sockopt, cgroup_setsockopt
    "cgroup/dev": (15, 6, _OPT),  # cgroup_device, cgroup_device
    "struct_ops": (27, 0, EXTRAS),  # struct_ops
    "struct_ops.s": (27, 0, EXTRAS | SLEEPABLE),  # struct_ops
    "sk_lookup": (30, 36, 0),  # sk_lookup, sk_lookup
    "netfilter": (32, 45, 0),  # netfilter, netfilter
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
