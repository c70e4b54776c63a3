#include "kernel.h"

struct trace_event_raw_sys_enter {
    long id;
    unsigned long args[6];
} CORE;

struct trace_event_raw_sys_exit {
    long id;
    long ret;
} CORE;

struct Open {
    u64 time_ns;
    u32 pid;
    s32 ret;
    char comm[16];
    char path[256];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, u64);
} started SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} opens SEC(".maps");

const volatile u32 only_pid = 0;
u64 dropped;

SEC("tp/syscalls/sys_enter_openat")
int on_enter(struct trace_event_raw_sys_enter *args)
{
    u64 id = bpf_get_current_pid_tgid();
    u32 tid = id;
    u64 path;

    if (only_pid && id >> 32 != only_pid)
        return 0;
    path = args->args[1];
    bpf_map_update_elem(&started, &tid, &path, BPF_ANY);
    return 0;
}

SEC("tp/syscalls/sys_exit_openat")
int on_exit(struct trace_event_raw_sys_exit *args)
{
    u64 id = bpf_get_current_pid_tgid();
    u32 tid = id;
    u64 *found = bpf_map_lookup_elem(&started, &tid);
    struct Open *e;
    u64 path;

    if (!found)
        return 0;
    path = *found;
    bpf_map_delete_elem(&started, &tid);
    if (!path)
        return 0;
    e = bpf_ringbuf_reserve(&opens, sizeof(*e), 0);
    if (!e) {
        __atomic_fetch_add(&dropped, 1, __ATOMIC_RELAXED);
        return 0;
    }
    e->time_ns = bpf_ktime_get_ns();
    e->pid = id >> 32;
    e->ret = args->ret;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    __builtin_memset(e->path, 0, sizeof(e->path));
    bpf_probe_read_user_str(e->path, sizeof(e->path), (void *)path);
    bpf_ringbuf_submit(e, 0);
    return 0;
}
