#include "kernel.h"

struct Sample {
    s64 kernel;
    s64 user;
    u32 pid;
    char comm[16];
};

struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE);
    __uint(max_entries, 1024);
    __uint(key_size, 4);
    __uint(value_size, 127 * 8);
} stacks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, struct Sample);
    __type(value, u64);
} samples SEC(".maps");

const volatile u32 only_pid = 0;

SEC("perf_event")
int on_sample(void *ctx)
{
    u64 pid = bpf_get_current_pid_tgid() >> 32, *count, zero = 0;
    struct Sample key;

    if (pid == 0 || (only_pid && pid != only_pid))
        return 0;
    __builtin_memset(&key, 0, sizeof(key));
    key.pid = pid;
    bpf_get_current_comm(key.comm, sizeof(key.comm));
    key.kernel = bpf_get_stackid(ctx, &stacks, 0);
    key.user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
    count = find_or_make(&samples, &key, &zero);
    if (count)
        __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
    return 0;
}
