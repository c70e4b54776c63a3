#include "kernel.h"

struct trace_event_raw_sched_process_exec {
    int pid;
} CORE;

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, u64);
} counts SEC(".maps");

SEC("tp/sched/sched_process_exec")
int on_exec(struct trace_event_raw_sched_process_exec *args)
{
    u32 pid = args->pid;
    u64 zero = 0;
    u64 *count = find_or_make(&counts, &pid, &zero);

    if (count)
        __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
    return 0;
}
