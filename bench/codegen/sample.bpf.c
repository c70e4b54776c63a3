#include "kernel.h"

struct sample {
    u64 time, number;
    u32 pid, cpu;
    char comm[16];
};

const volatile u32 rate = 64;

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 * 1024);
} samples SEC(".maps");

u64 dropped;

SEC("raw_tp/sys_enter")
int sample(struct bpf_raw_tracepoint_args *ctx)
{
    struct sample *s;

    if (bpf_get_prandom_u32() % rate)
        return 0;
    s = bpf_ringbuf_reserve(&samples, sizeof(*s), 0);
    if (!s) {
        __atomic_fetch_add(&dropped, 1, __ATOMIC_RELAXED);
        return 0;
    }
    s->time = bpf_ktime_get_ns();
    s->number = ctx->args[1];
    s->pid = bpf_get_current_pid_tgid() >> 32;
    s->cpu = bpf_get_smp_processor_id();
    bpf_get_current_comm(s->comm, sizeof(s->comm));
    bpf_ringbuf_submit(s, 0);
    return 0;
}
