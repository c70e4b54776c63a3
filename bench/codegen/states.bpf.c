#include "kernel.h"

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, u32);
    __type(value, u32);
} states SEC(".maps");

u64 cycles;

SEC("raw_tp/sys_enter")
int step(struct bpf_raw_tracepoint_args *ctx)
{
    u32 tid = bpf_get_current_pid_tgid(), next;
    s64 number = ctx->args[1];
    u32 *found = bpf_map_lookup_elem(&states, &tid), state;

    if (!found) {
        if (number == 257) {
            tid = bpf_get_current_pid_tgid();
            next = 1;
            bpf_map_update_elem(&states, &tid, &next, BPF_ANY);
        }
        return 0;
    }
    state = *found;
    switch (number) {
    case 0:
    case 1:
        if (state == 1) {
            tid = bpf_get_current_pid_tgid();
            next = 2;
            bpf_map_update_elem(&states, &tid, &next, BPF_ANY);
        }
        break;
    case 3:
        if (state == 2)
            __atomic_fetch_add(&cycles, 1, __ATOMIC_RELAXED);
        tid = bpf_get_current_pid_tgid();
        bpf_map_delete_elem(&states, &tid);
    }
    return 0;
}
