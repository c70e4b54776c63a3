"""`python -m probee.machine.ship`: make the types and tracepoint formats that come with probee.

They are cut from the running kernel's BTF and tracefs (needs root for the latter). Which types are kept is
decided here: what tracing and network programs commonly name.
"""

from __future__ import annotations

import lzma
import os
import re
import sys

from probee.btf import kernel_btf
from probee.btf.cut import cut
from probee.btf.kinds import DECL_TAG, ENUM, ENUM64, FUNC, STRUCT, TYPEDEF, UNION, VAR
from probee.btf.parser import Btf, BtfType
from probee.btf.shipped import FOLDER
from probee.sys import formats, tracefs

_STRUCTS = """
    task_struct mm_struct cred files_struct fdtable fs_struct file path dentry inode super_block
    vfsmount mount mountpoint nsproxy pid upid pid_namespace signal_struct sighand_struct
    thread_info css_set cgroup cgroup_subsys_state cgroup_root kernfs_node vm_area_struct
    user_struct user_namespace uts_namespace mnt_namespace ipc_namespace cgroup_namespace
    time_namespace ns_common address_space file_operations inode_operations super_operations
    file_system_type fs_context filename qstr iattr statx kstat open_how kernel_clone_args
    group_info ucounts rlimit fown_struct file_lock file_lock_core kernel_siginfo ksignal sigaction
    k_sigaction linux_binprm kernfs_open_file kernfs_iattrs kernfs_root seq_file pipe_inode_info
    linux_dirent64 eventpoll epitem io_kiocb io_ring_ctx mempolicy key module kset kobject device
    device_driver pci_dev sock sock_common socket inet_sock inet_connection_sock tcp_sock udp_sock
    tcp6_sock udp6_sock unix_sock unix_address request_sock inet_request_sock tcp_request_sock
    tcp_timewait_sock inet_timewait_sock ipv6_pinfo raw_sock packet_sock netlink_sock mptcp_sock
    socket_wq proto proto_ops sk_psock sk_buff skb_shared_info sk_buff_head net_device net
    netns_ipv4 net_device_ops napi_struct netdev_queue msghdr user_msghdr iov_iter iovec kiocb
    sockaddr sockaddr_in sockaddr_in6 sockaddr_un sockaddr_nl __kernel_sockaddr_storage in_addr
    in6_addr iphdr ipv6hdr tcphdr udphdr icmphdr icmp6hdr ethhdr vlan_hdr arphdr vlan_ethhdr
    tcp_options_received tcp_skb_cb inet_skb_parm nf_conn nf_conntrack_tuple nf_hook_state
    bpf_nf_ctx rtable dst_entry neighbour fib_info flowi flowi4 flowi6 nlmsghdr xfrm_state
    lwtunnel_state Qdisc qdisc_skb_cb sk_filter sock_reuseport bio bvec_iter bio_vec request
    request_queue gendisk block_device elevator_queue blk_mq_hw_ctx writeback_control perf_event
    pt_regs trace_entry ftrace_regs trace_event_call page folio kmem_cache work_struct rq cfs_rq
    rt_rq sched_entity sched_dl_entity task_group psi_group tty_struct hrtimer timer_list irqaction
    irq_desc irq_data softirq_action futex_q mutex semaphore rw_semaphore spinlock rcu_head
    list_head hlist_head hlist_node rb_node rb_root timespec64 rusage epoll_event xdp_buff xdp_frame
    xdp_rxq_info net_bridge_port bpf_map bpf_array bpf_htab bpf_prog bpf_prog_aux bpf_link
    bpf_iter_meta bpf_func_state bpf_cpumask cpumask bpf_sock bpf_sock_tuple __sk_buff xdp_md
    bpf_sock_addr bpf_sock_ops sk_msg_md sk_reuseport_md bpf_sockopt bpf_sysctl bpf_cgroup_dev_ctx
    bpf_sk_lookup bpf_perf_event_data bpf_perf_event_value bpf_raw_tracepoint_args bpf_flow_keys
    bpf_fib_lookup bpf_pidns_info bpf_tunnel_key bpf_spin_lock bpf_timer bpf_wq bpf_dynptr
    bpf_dynptr_kern bpf_list_head bpf_list_node bpf_rb_root bpf_rb_node bpf_refcount bpf_tcp_sock
    bpf_redir_neigh bpf_devmap_val bpf_cpumap_val bpf_sysctl_kern bpf_sock_addr_kern
    bpf_sock_ops_kern bpf_sockopt_kern bpf_sk_lookup_kern sk_reuseport_kern bpf_prog_info
    bpf_map_info bpf_local_storage bpf_cgroup_storage_key bpf_lpm_trie_key_u8 bpf_redirect_info
    bpf_iter_num bpf_iter_task bpf_iter_bits bpf_iter_css bpf_iter_css_task bpf_iter_task_vma
    btf_ptr bpf_attr tcp_congestion_ops rate_sample ack_sample Qdisc_ops bpf_dummy_ops
    bpf_dummy_ops_state bpf_struct_ops_tcp_congestion_ops bpf_struct_ops_Qdisc_ops
    bpf_struct_ops_bpf_dummy_ops bpf_struct_ops_common_value
"""
STRUCTS = frozenset(_STRUCTS.split())
FUNCTIONS = re.compile(
    "bpf_iter_|bpf_lsm_|bpf_fentry_test|bpf_modify_return_test|vfs_|ksys_|do_sys|do_filp|do_unlinkat|do_exit|"
    "do_nanosleep|do_mmap|do_munmap|do_execve|do_linkat|do_rmdir|do_mkdirat|do_renameat|filp_|path_openat|"
    "security_file_open|security_bprm_check|security_inode|security_socket|security_task_kill|"
    "tcp_|udp_|udpv6_|inet_csk_accept|inet_listen|inet_bind|inet_release|ip_rcv|ip_output|ip_queue_xmit|"
    "ip_local|__dev_queue_xmit|dev_hard_start_xmit|netif_receive_skb|napi_gro_receive|kfree_skb|consume_skb|"
    "__kfree_skb|skb_copy_datagram|sock_sendmsg|sock_recvmsg|sock_alloc|__sys_|unix_stream|blk_|"
    "submit_bio|finish_task_switch|try_to_wake_up|schedule$|wake_up_new_task|copy_process|kernel_clone|"
    "handle_mm_fault|oom_kill_process|mutex_lock|mutex_unlock|generic_file|filemap_|ext4_file_|ext4_sync|"
    "cap_capable|tty_write|pipe_read|pipe_write|kill_pid|send_signal|signal_|icmp_|arp_|nf_hook_slow|"
    "__x64_sys_|exit_mmap|mm_release|begin_new_exec|account_|shrink_|try_to_free_pages|get_page_from_freelist"
)
_BPF_ENUM = ("BPF_", "XDP_", "TC_", "TCP_", "SK_", "REQ_", "PERF_", "IPPROTO_", "NF_", "LINUX_")


def chosen(btf: Btf) -> set[int]:
    """The ids of the types that are kept."""
    ids: set[int] = set()
    functions: set[int] = set()
    tags: list[BtfType] = []
    for t in btf.own_types():
        name = t.name
        if (
            (
                t.kind in (STRUCT, UNION)
                and (name in STRUCTS or name.startswith(("trace_event_raw_", "bpf_iter__")))
            )
            or (t.kind == TYPEDEF and name.startswith("btf_trace_"))
            or t.kind == VAR
        ):
            ids.add(t.id)
        elif t.kind in (ENUM, ENUM64):
            if "bpf" in name or any(label.startswith(_BPF_ENUM) for label, _ in t.enumerators[:3]):
                ids.add(t.id)
        elif t.kind == FUNC and FUNCTIONS.match(name):
            functions.add(t.id)
        elif t.kind == DECL_TAG and name in ("bpf_kfunc", "bpf_fastcall"):
            tags.append(t)
            functions.add(t.type)
    ids |= functions
    ids.update(t.id for t in tags)
    return ids


def tracepoints() -> list[tuple[str, list[tracefs.Field]]]:
    """The fields of all tracepoints of the running kernel."""
    out = []
    for name in sorted(tracefs.events()):
        group, _, event = name.partition(":")
        if group in ("xfs", "btrfs"):  # hundreds that few programs name
            continue
        fields = tracefs.fields(group, event)
        out.append((name, [f for f in fields if not f.name.startswith("common_")]))
    return out


def main() -> int:
    btf = kernel_btf()
    _save(os.path.join(FOLDER, "kernel.btf.xz"), cut(btf, chosen(btf)))
    _save(formats.FILE, formats.write(tracepoints()))
    print(f"from Linux {os.uname().release} on {os.uname().machine}")
    return 0


def _save(path: str, data: bytes) -> None:
    packed = lzma.compress(data, check=lzma.CHECK_CRC32, preset=9 | lzma.PRESET_EXTREME)
    with open(path, "wb") as file:
        file.write(packed)
    print(f"{path}: {len(data)} bytes, {len(packed)} packed")


if __name__ == "__main__":
    sys.exit(main())
