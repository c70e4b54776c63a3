#include "kernel.h"

struct pt_regs;

struct trace_event_raw_sys_exit {
    long id;
    long ret;
} CORE;

struct Key {
    u32 pid;
    u32 number;
};

struct Total {
    u64 calls;
    u64 nanoseconds;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, u64);
} started SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, struct Key);
    __type(value, struct Total);
} totals SEC(".maps");

SEC("tp_btf/sys_enter")
int BPF_PROG(on_enter, struct pt_regs *regs, long number)
{
    u32 tid = bpf_get_current_pid_tgid();
    u64 now = bpf_ktime_get_ns();

    bpf_map_update_elem(&started, &tid, &now, BPF_ANY);
    return 0;
}

SEC("tp/raw_syscalls/sys_exit")
int on_exit(struct trace_event_raw_sys_exit *args)
{
    u64 id = bpf_get_current_pid_tgid();
    u32 tid = id;
    u64 *found = bpf_map_lookup_elem(&started, &tid);
    struct Total *total;
    struct Key key;
    u64 since;

    if (!found || args->id < 0)
        return 0;
    since = *found;
    if (!since)
        return 0;
    key.pid = id >> 32;
    key.number = args->id;
    total = bpf_map_lookup_elem(&totals, &key);
    if (total) {
        __atomic_fetch_add(&total->calls, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&total->nanoseconds, bpf_ktime_get_ns() - since, __ATOMIC_RELAXED);
    } else {
        struct Total first = {.calls = 1, .nanoseconds = bpf_ktime_get_ns() - since};

        bpf_map_update_elem(&totals, &key, &first, BPF_ANY);
    }
    return 0;
}
