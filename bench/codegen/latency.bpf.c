#include "kernel.h"

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, u64);
} started SEC(".maps");

u64 longest, total;

SEC("raw_tp/sys_enter")
int enter(void *ctx)
{
    u32 tid = bpf_get_current_pid_tgid();
    u64 now = bpf_ktime_get_ns();

    bpf_map_update_elem(&started, &tid, &now, BPF_ANY);
    return 0;
}

SEC("raw_tp/sys_exit")
int leave(void *ctx)
{
    u32 tid = bpf_get_current_pid_tgid();
    u64 *found = bpf_map_lookup_elem(&started, &tid), at, took;

    if (!found)
        return 0;
    at = *found;
    took = bpf_ktime_get_ns() - at;
    __atomic_fetch_add(&total, took, __ATOMIC_RELAXED);
    if (took > longest)
        longest = took;
    tid = bpf_get_current_pid_tgid();
    bpf_map_delete_elem(&started, &tid);
    return 0;
}
