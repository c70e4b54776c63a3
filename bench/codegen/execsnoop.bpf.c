#include "kernel.h"

struct trace_event_raw_sched_process_exec {
    u32 __data_loc_filename;
    int pid;
} CORE;

struct Exec {
    u64 time_ns;
    u32 pid;
    u32 ppid;
    char comm[16];
    char filename[256];
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} execs SEC(".maps");

u64 dropped;

SEC("tp/sched/sched_process_exec")
int on_exec(struct trace_event_raw_sched_process_exec *args)
{
    struct task_struct *task = current_task();
    struct Exec *e = bpf_ringbuf_reserve(&execs, sizeof(*e), 0);

    if (!e) {
        __atomic_fetch_add(&dropped, 1, __ATOMIC_RELAXED);
        return 0;
    }
    e->time_ns = bpf_ktime_get_ns();
    e->pid = args->pid;
    e->ppid = task->real_parent->tgid;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    __builtin_memset(e->filename, 0, sizeof(e->filename));
    bpf_probe_read_kernel_str(e->filename, sizeof(e->filename), (void *)args + (u16)args->__data_loc_filename);
    bpf_ringbuf_submit(e, 0);
    return 0;
}
