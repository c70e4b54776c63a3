"""Which programs may call which helpers, on which kernels.

Learnt from Linux 5.10, 6.1, 6.12 and 6.18: `@6.12` says that of those four, 6.12 is the first that lets
these programs call the helper (without it: as soon as there was the helper), `>6.1` that it is so even
though a group that is held has the helper earlier.
"""

from __future__ import annotations

from probee.isa.tables import HELPERS, PROG_TYPES

# name of a group -> (groups it holds, its helpers)
_GROUPS: dict[str, tuple[str, str]] = {
    "base": (
        "",
        """
        map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem
        map_lookup_percpu_elem get_prandom_u32 get_smp_processor_id get_numa_node_id tail_call ktime_get_ns
        ktime_get_boot_ns ktime_get_tai_ns ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard
        ringbuf_query strncmp strtol@6.1 strtoul@6.1 get_current_pid_tgid@6.12 get_ns_current_pid_tgid@6.12
        spin_lock spin_unlock jiffies64 per_cpu_ptr this_cpu_ptr timer_init timer_set_callback timer_start
        timer_cancel kptr_xchg for_each_map_elem loop user_ringbuf_drain ringbuf_reserve_dynptr
        ringbuf_submit_dynptr ringbuf_discard_dynptr dynptr_from_mem dynptr_read dynptr_write dynptr_data
        cgrp_storage_get@6.12 cgrp_storage_delete@6.12 get_current_cgroup_id@6.12
        get_current_ancestor_cgroup_id@6.12 trace_printk get_current_task get_current_task_btf
        probe_read_user probe_read_kernel probe_read_user_str probe_read_kernel_str snprintf_btf snprintf
        task_pt_regs trace_vprintk
        get_current_uid_gid@6.18 get_current_comm@6.18 get_cgroup_classid@6.18 perf_event_read@6.18
        perf_event_read_value@6.18 current_task_under_cgroup@6.18 send_signal@6.18 send_signal_thread@6.18
        get_task_stack@6.18 copy_from_user@6.18 copy_from_user_task@6.18 task_storage_get@6.18
        task_storage_delete@6.18 get_branch_snapshot@6.18 find_vma@6.18
        """,
    ),
    "sk_base": (
        "base",
        """
        skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock skc_to_udp6_sock
        skc_to_unix_sock skc_to_mptcp_sock ktime_get_coarse_ns
        """,
    ),
    "tracing_base": (
        "base",
        """
        get_current_pid_tgid get_current_uid_gid get_current_comm perf_event_read current_task_under_cgroup
        probe_write_user probe_read probe_read_str cgrp_storage_get cgrp_storage_delete get_current_cgroup_id
        get_current_ancestor_cgroup_id@6.1 send_signal send_signal_thread perf_event_read_value
        get_ns_current_pid_tgid get_task_stack copy_from_user copy_from_user_task task_storage_get
        task_storage_delete get_func_ip get_branch_snapshot find_vma perf_event_output get_stackid get_stack
        spin_lock>6.1 spin_unlock>6.1
        """,
    ),
    "raw_tracing": (
        "tracing_base",
        """
        skb_output xdp_output skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock
        skc_to_tcp_request_sock skc_to_udp6_sock skc_to_unix_sock skc_to_mptcp_sock sk_storage_get@6.1
        sk_storage_delete@6.1 sock_from_file get_socket_cookie@6.1 xdp_get_buff_len d_path
        """,
    ),
    "cgroup_common": ("", "get_local_storage get_retval set_retval"),
    "cgroup_storage": ("", "get_local_storage"),
    "cgroup_current": (
        "",
        """
        get_current_uid_gid@6.1 get_current_pid_tgid@6.1 get_current_comm@6.1 get_current_cgroup_id@6.1
        get_current_ancestor_cgroup_id@6.1 get_cgroup_classid@6.1 current_task_under_cgroup@6.12
        """,
    ),
    "sk_filter": (
        "sk_base",
        "skb_load_bytes skb_load_bytes_relative get_socket_cookie get_socket_uid perf_event_output",
    ),
    "socket_filter": ("sk_filter", "get_netns_cookie@6.18"),
    "kprobe": ("tracing_base", "override_return get_attach_cookie"),
    "tracepoint": ("tracing_base", "get_attach_cookie"),
    "perf_event": ("tracing_base", "perf_prog_read_value read_branch_records get_attach_cookie"),
    "raw_tracepoint": ("tracing_base", "get_attach_cookie@6.12"),
    "raw_tracepoint_writable": ("raw_tracepoint", ""),
    "tracing": (
        "raw_tracing",
        """
        seq_printf seq_write seq_printf_btf get_func_arg get_func_ret get_func_arg_cnt get_attach_cookie@6.1
        setsockopt@6.1 getsockopt@6.1
        """,
    ),
    "lsm": (
        "raw_tracing cgroup_common",
        """
        inode_storage_get inode_storage_delete sk_storage_get sk_storage_delete bprm_opts_set ima_inode_hash
        ima_file_hash get_attach_cookie@6.1 setsockopt@6.1 getsockopt@6.1 get_func_arg get_func_ret
        get_func_arg_cnt
        """,
    ),
    "syscall": ("raw_tracing", "sys_bpf btf_find_by_name_kind sys_close kallsyms_lookup_name"),
    "sched_cls": (
        "sk_base",
        """
        skb_store_bytes skb_load_bytes skb_load_bytes_relative skb_pull_data csum_diff csum_update csum_level
        l3_csum_replace l4_csum_replace clone_redirect get_cgroup_classid skb_vlan_push skb_vlan_pop
        skb_change_proto skb_change_type skb_adjust_room skb_change_tail skb_change_head skb_get_tunnel_key
        skb_set_tunnel_key skb_get_tunnel_opt skb_set_tunnel_opt redirect redirect_neigh redirect_peer
        get_route_realm get_hash_recalc set_hash_invalid set_hash perf_event_output skb_under_cgroup
        get_socket_cookie get_netns_cookie@6.18 get_socket_uid fib_lookup check_mtu sk_fullsock sk_storage_get
        sk_storage_delete skb_get_xfrm_state skb_cgroup_classid skb_cgroup_id skb_ancestor_cgroup_id
        sk_lookup_tcp sk_lookup_udp sk_release tcp_sock get_listener_sock skc_lookup_tcp tcp_check_syncookie
        skb_ecn_set_ce tcp_gen_syncookie sk_assign skb_set_tstamp tcp_raw_gen_syncookie_ipv4
        tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6
        """,
    ),
    "sched_act": ("sched_cls", ""),
    "xdp": (
        "sk_base",
        """
        perf_event_output csum_diff xdp_adjust_head xdp_adjust_meta redirect redirect_map xdp_adjust_tail
        xdp_get_buff_len xdp_load_bytes xdp_store_bytes fib_lookup check_mtu sk_lookup_udp sk_lookup_tcp
        sk_release skc_lookup_tcp tcp_check_syncookie tcp_gen_syncookie tcp_raw_gen_syncookie_ipv4
        tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6
        """,
    ),
    "cgroup_skb": (
        "sk_filter cgroup_storage",
        """
        sk_fullsock sk_storage_get sk_storage_delete skb_cgroup_id skb_ancestor_cgroup_id sk_cgroup_id
        sk_ancestor_cgroup_id sk_lookup_tcp sk_lookup_udp sk_release skc_lookup_tcp tcp_sock get_listener_sock
        skb_ecn_set_ce get_netns_cookie@6.18
        """,
    ),
    "cgroup_sock": (
        "base cgroup_common cgroup_current",
        """
        get_current_uid_gid get_current_pid_tgid get_current_comm get_current_cgroup_id
        get_current_ancestor_cgroup_id get_cgroup_classid get_socket_cookie get_netns_cookie perf_event_output
        sk_storage_get ktime_get_coarse_ns
        """,
    ),
    "cgroup_sock_addr": (
        "sk_base cgroup_common cgroup_current",
        """
        get_current_uid_gid get_current_pid_tgid get_current_comm get_current_cgroup_id
        get_current_ancestor_cgroup_id get_cgroup_classid bind get_socket_cookie get_netns_cookie
        perf_event_output sk_lookup_tcp sk_lookup_udp sk_release skc_lookup_tcp sk_storage_get
        sk_storage_delete setsockopt getsockopt
        """,
    ),
    "sock_ops": (
        "sk_base cgroup_storage",
        """
        setsockopt getsockopt sock_ops_cb_flags_set sock_map_update sock_hash_update get_socket_cookie
        perf_event_output sk_storage_get sk_storage_delete get_netns_cookie@6.1 load_hdr_opt store_hdr_opt
        reserve_hdr_opt tcp_sock
        """,
    ),
    "sk_skb": (
        "sk_base",
        """
        skb_store_bytes skb_load_bytes skb_pull_data skb_change_tail skb_change_head skb_adjust_room
        get_socket_cookie get_socket_uid sk_redirect_map sk_redirect_hash perf_event_output sk_lookup_tcp
        sk_lookup_udp sk_release skc_lookup_tcp
        """,
    ),
    "cgroup_device": (
        "base cgroup_common cgroup_current",
        "get_current_uid_gid get_current_cgroup_id perf_event_output",
    ),
    "sk_msg": (
        "sk_base",
        """
        msg_redirect_map msg_redirect_hash msg_apply_bytes msg_cork_bytes msg_pull_data msg_push_data
        msg_pop_data perf_event_output get_current_uid_gid get_current_pid_tgid sk_storage_get
        sk_storage_delete get_netns_cookie@6.1 get_current_cgroup_id get_current_ancestor_cgroup_id
        get_cgroup_classid
        """,
    ),
    "lwt_out": (
        "sk_base",
        """
        skb_load_bytes skb_pull_data csum_diff get_cgroup_classid get_route_realm get_hash_recalc
        perf_event_output skb_under_cgroup
        """,
    ),
    "lwt_in": ("lwt_out", "lwt_push_encap"),
    "lwt_xmit": (
        "lwt_out",
        """
        skb_get_tunnel_key skb_set_tunnel_key skb_get_tunnel_opt skb_set_tunnel_opt redirect clone_redirect
        skb_change_tail skb_change_head skb_store_bytes csum_update csum_level l3_csum_replace
        l4_csum_replace set_hash_invalid lwt_push_encap
        """,
    ),
    "lwt_seg6local": ("lwt_out", "lwt_seg6_store_bytes lwt_seg6_action lwt_seg6_adjust_srh"),
    "lirc_mode2": (
        "",
        """
        rc_repeat rc_keydown rc_pointer_rel map_lookup_elem map_update_elem map_delete_elem map_push_elem
        map_pop_elem map_peek_elem ktime_get_ns ktime_get_boot_ns tail_call get_prandom_u32 trace_printk
        """,
    ),
    "sk_reuseport": (
        "base",
        """
        sk_select_reuseport skb_load_bytes skb_load_bytes_relative get_socket_cookie@6.1
        ktime_get_coarse_ns
        """,
    ),
    "flow_dissector": ("sk_base", "skb_load_bytes"),
    "cgroup_sysctl": (
        "base cgroup_common cgroup_current",
        """
        get_current_uid_gid get_current_cgroup_id strtol strtoul sysctl_get_name sysctl_get_current_value
        sysctl_get_new_value sysctl_set_new_value ktime_get_coarse_ns perf_event_output
        """,
    ),
    "cgroup_sockopt": (
        "base cgroup_common cgroup_current",
        """
        get_current_uid_gid get_current_cgroup_id get_netns_cookie@6.1 sk_storage_get sk_storage_delete
        setsockopt@6.1 getsockopt@6.1 tcp_sock perf_event_output
        """,
    ),
    "sk_lookup": ("sk_base", "perf_event_output sk_assign sk_release"),
    "netfilter": ("base", ""),
    "struct_ops": ("base", ""),
    "struct_ops/tcp_congestion_ops": (
        "base",
        "tcp_send_ack sk_storage_get sk_storage_delete setsockopt@6.1 getsockopt@6.1 ktime_get_coarse_ns@6.1",
    ),
    "struct_ops/sched_ext_ops": ("base", "task_storage_get task_storage_delete"),
}
# Helpers that only some attach types of a program type have: (type, helper) -> attach types.
_CONNECT = "cgroup_inet4_connect cgroup_inet6_connect"
_SOCKOPT = (
    f"{_CONNECT} cgroup_inet4_bind cgroup_inet6_bind cgroup_unix_connect cgroup_udp4_recvmsg "
    "cgroup_udp6_recvmsg cgroup_unix_recvmsg cgroup_udp4_sendmsg cgroup_udp6_sendmsg cgroup_unix_sendmsg "
    "cgroup_inet4_getpeername cgroup_inet6_getpeername cgroup_inet4_getsockname cgroup_inet6_getsockname"
)
_TRAMPOLINE = "trace_fentry trace_fexit modify_return lsm_mac lsm_cgroup trace_fsession"
_ONLY: dict[tuple[str, str], str] = {
    ("cgroup_sock_addr", "bind"): _CONNECT,
    ("cgroup_sock_addr", "setsockopt"): _SOCKOPT,
    ("cgroup_sock_addr", "getsockopt"): _SOCKOPT,
    ("cgroup_sockopt", "setsockopt"): "cgroup_setsockopt",
    ("cgroup_sockopt", "getsockopt"): "cgroup_setsockopt",
    ("tracing", "seq_printf"): "trace_iter",
    ("tracing", "seq_write"): "trace_iter",
    ("tracing", "seq_printf_btf"): "trace_iter",
    ("tracing", "setsockopt"): "trace_iter",
    ("tracing", "getsockopt"): "trace_iter",
    ("tracing", "get_func_arg"): _TRAMPOLINE,
    ("tracing", "get_func_ret"): _TRAMPOLINE,
    ("tracing", "get_func_arg_cnt"): _TRAMPOLINE,
    ("tracing", "get_attach_cookie"): f"trace_raw_tp {_TRAMPOLINE}",
    ("lsm", "get_local_storage"): "lsm_cgroup",
    ("lsm", "get_retval"): "lsm_cgroup",
    ("lsm", "set_retval"): "lsm_cgroup",
    ("lsm", "setsockopt"): "lsm_cgroup",
    ("lsm", "getsockopt"): "lsm_cgroup",
}
# These attach types have no return value to read or set.
_NO_RETVAL = (
    "cgroup_inet_ingress cgroup_inet_egress cgroup_sock_ops cgroup_udp4_recvmsg cgroup_udp6_recvmsg "
    "cgroup_unix_recvmsg cgroup_inet4_getpeername cgroup_inet6_getpeername cgroup_unix_getpeername "
    "cgroup_inet4_getsockname cgroup_inet6_getsockname cgroup_unix_getsockname"
)


def version(text: str) -> tuple[int, ...]:
    """`"6.12"` as numbers that compare: `(6, 12)`."""
    found = _VERSIONS.get(text)
    if found is None:
        found = _VERSIONS[text] = tuple(int(part) for part in text.split("."))
    return found


_VERSIONS: dict[str, tuple[int, ...]] = {}


def _found(group: str, cache: dict[str, dict[str, str]]) -> dict[str, str]:
    """A group's helpers, each with the first kernel that lets its programs call it."""
    known = cache.get(group)
    if known is not None:
        return known
    held, own = _GROUPS[group]
    entries = [(name, since) for part in held.split() for name, since in _found(part, cache).items()]
    later = {}
    for word in own.split():
        name, _, told = word.partition("@")
        name, _, held_back = name.partition(">")
        if held_back:
            later[name] = held_back
        entries.append((name, told or HELPERS[name][1]))
    found: dict[str, str] = {}
    for name, since in entries:
        if name not in found or version(since) < version(found[name]):
            found[name] = since
    found.update(later)
    cache[group] = found
    return found


_CACHE: dict[str, dict[str, str]] = {}


def since(name: str, prog_type: str, attach_type: str = "", *, struct_ops: str = "") -> str:
    """The first Linux version that lets programs of a type call a helper; "" if none does.

    `struct_ops`: the struct that a struct_ops program's function belongs to.
    """
    group = f"struct_ops/{struct_ops}" if f"struct_ops/{struct_ops}" in _GROUPS else prog_type
    if group not in _GROUPS:
        return ""
    only = _ONLY.get((prog_type, name))
    if only is not None and attach_type and attach_type not in only.split():
        return ""
    if name in ("get_retval", "set_retval") and attach_type in _NO_RETVAL.split():
        return ""
    return _found(group, _CACHE).get(name, "")


def allowed(name: str, prog_type: str, attach_type: str = "", *, kernel: str, struct_ops: str = "") -> bool:
    """Whether Linux `kernel` ("5.10", "6.18", …) lets programs of a type call a helper.

    Without an attach type: whether any of the type's programs may.
    """
    first = since(name, prog_type, attach_type, struct_ops=struct_ops)
    return bool(first) and version(first) <= version(kernel)


def callers(name: str, *, kernel: str = "") -> list[str]:
    """The program types that may call a helper, on one kernel or on any."""
    return [
        kind
        for kind in PROG_TYPES
        if since(name, kind) and (not kernel or allowed(name, kind, kernel=kernel))
    ]
