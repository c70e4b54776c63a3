#include "kernel.h"

struct trace_event_raw_sys_enter {
    unsigned long args[6];
} CORE;

SEC("tp/syscalls/sys_enter_openat")
int on_open(struct trace_event_raw_sys_enter *args)
{
    char comm[16], path[256] __attribute__((aligned(8))) = {};

    bpf_get_current_comm(comm, sizeof(comm));
    bpf_probe_read_user_str(path, sizeof(path), (void *)args->args[1]);
    bpf_printk("%s %llu opens %s", comm, bpf_get_current_pid_tgid() >> 32, path);
    return 0;
}
