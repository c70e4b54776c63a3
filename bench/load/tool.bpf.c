/* A tool as they are written in the field: seven programs on BTF tracepoints, over a hundred CO-RE relocations. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct event {
    __u64 time, start, cgroup, bytes, sector;
    __u32 kind, pid, tid, ppid, uid, gid, netns, mntns, pidns, flags, policy;
    __s32 prio, nice, code;
    __u16 family, sport, dport, state;
    __u8 from[16], to[16];
    char comm[16], parent[16], disk[32], file[64];
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} events SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u32);
    __type(value, __u64);
} seen SEC(".maps");

const volatile __u32 only_pid = 0;
__u64 lost = 0;

static __always_inline struct event *begin(struct task_struct *task, __u32 kind)
{
    __u32 pid = BPF_CORE_READ(task, tgid);
    if (only_pid && pid != only_pid)
        return NULL;
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) {
        __sync_fetch_and_add(&lost, 1);
        return NULL;
    }
    __builtin_memset(e, 0, sizeof(*e));
    e->kind = kind;
    e->time = bpf_ktime_get_ns();
    e->pid = pid;
    e->tid = BPF_CORE_READ(task, pid);
    e->ppid = BPF_CORE_READ(task, real_parent, tgid);
    e->uid = BPF_CORE_READ(task, cred, uid.val);
    e->gid = BPF_CORE_READ(task, cred, gid.val);
    e->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
    e->mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
    e->pidns = BPF_CORE_READ(task, nsproxy, pid_ns_for_children, ns.inum);
    e->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
    e->start = BPF_CORE_READ(task, start_time);
    e->flags = BPF_CORE_READ(task, flags);
    e->policy = BPF_CORE_READ(task, policy);
    e->prio = BPF_CORE_READ(task, prio);
    e->nice = BPF_CORE_READ(task, static_prio);
    BPF_CORE_READ_STR_INTO(&e->comm, task, comm);
    BPF_CORE_READ_STR_INTO(&e->parent, task, real_parent, comm);
    return e;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, pid_t old, struct linux_binprm *binary)
{
    struct event *e = begin(task, 1);
    if (!e)
        return 0;
    bpf_probe_read_kernel_str(e->file, sizeof(e->file), BPF_CORE_READ(binary, filename));
    bpf_ringbuf_submit(e, 0);
    return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
    struct event *e = begin(task, 2);
    if (!e)
        return 0;
    e->code = BPF_CORE_READ(task, exit_code) >> 8;
    e->bytes = BPF_CORE_READ(task, signal, nr_threads);
    bpf_ringbuf_submit(e, 0);
    return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
    struct event *e = begin(child, 3);
    if (!e)
        return 0;
    e->bytes = BPF_CORE_READ(parent, mm, total_vm);
    bpf_ringbuf_submit(e, 0);
    return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    __u32 tid = BPF_CORE_READ(next, pid);
    __u64 now = bpf_ktime_get_ns(), *at = bpf_map_lookup_elem(&seen, &tid);
    if (at && now - *at > 1000000000ULL) {
        struct event *e = begin(next, 4);
        if (e) {
            e->bytes = now - *at;
            bpf_ringbuf_submit(e, 0);
        }
    }
    tid = BPF_CORE_READ(prev, pid);
    bpf_map_update_elem(&seen, &tid, &now, BPF_ANY);
    return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, const struct sock *sk, int from, int to)
{
    struct event *e = begin((struct task_struct *)bpf_get_current_task(), 5);
    if (!e)
        return 0;
    e->state = to;
    e->family = BPF_CORE_READ(sk, __sk_common.skc_family);
    e->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
    e->dport = BPF_CORE_READ(sk, __sk_common.skc_dport);
    if (e->family == 2) {
        BPF_CORE_READ_INTO(&e->from, sk, __sk_common.skc_rcv_saddr);
        BPF_CORE_READ_INTO(&e->to, sk, __sk_common.skc_daddr);
    } else {
        BPF_CORE_READ_INTO(&e->from, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
        BPF_CORE_READ_INTO(&e->to, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
    }
    bpf_ringbuf_submit(e, 0);
    return 0;
}

static __always_inline int request(struct request *rq, __u32 kind)
{
    struct event *e = begin((struct task_struct *)bpf_get_current_task(), kind);
    if (!e)
        return 0;
    e->bytes = BPF_CORE_READ(rq, __data_len);
    e->sector = BPF_CORE_READ(rq, __sector);
    e->flags = BPF_CORE_READ(rq, cmd_flags);
    BPF_CORE_READ_STR_INTO(&e->disk, rq, q, disk, disk_name);
    bpf_ringbuf_submit(e, 0);
    return 0;
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(on_issue, struct request *rq)
{
    return request(rq, 6);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_complete, struct request *rq, int error, unsigned int bytes)
{
    return request(rq, 7);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
