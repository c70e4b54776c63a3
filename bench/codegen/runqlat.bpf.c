#include "kernel.h"

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 65536);
    __type(key, u32);
    __type(value, u64);
} queued SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 64);
    __type(key, u32);
    __type(value, u64);
} waits SEC(".maps");

static __always_inline void enqueue(struct task_struct *task)
{
    u32 pid = task->pid;
    u64 now = bpf_ktime_get_ns();

    bpf_map_update_elem(&queued, &pid, &now, BPF_ANY);
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
    enqueue(task);
    return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempted, struct task_struct *previous, struct task_struct *following)
{
    u64 *found, *count, since;
    u32 pid, bucket;

    if (previous->__state == 0 && previous->pid)
        enqueue(previous);
    pid = following->pid;
    found = bpf_map_lookup_elem(&queued, &pid);
    if (!found)
        return 0;
    since = *found;
    bpf_map_delete_elem(&queued, &pid);
    if (!since)
        return 0;
    bucket = log2_of((bpf_ktime_get_ns() - since) / 1000);
    count = bpf_map_lookup_elem(&waits, &bucket);
    if (count)
        *count += 1;
    return 0;
}
