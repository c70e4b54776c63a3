#include "kernel.h"

struct load {
    u64 average, calls, last;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, u32);
    __type(value, struct load);
} loads SEC(".maps");

SEC("raw_tp/sys_enter")
int update(void *ctx)
{
    u64 now = bpf_ktime_get_ns();
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct load *load = bpf_map_lookup_elem(&loads, &pid);

    if (!load) {
        struct load fresh = {.calls = 1, .last = now};

        pid = bpf_get_current_pid_tgid() >> 32;
        bpf_map_update_elem(&loads, &pid, &fresh, BPF_ANY);
        return 0;
    }
    load->average = (7 * load->average + (now - load->last)) >> 3;
    load->last = now;
    __atomic_fetch_add(&load->calls, 1, __ATOMIC_RELAXED);
    return 0;
}
