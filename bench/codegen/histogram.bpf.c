#include "kernel.h"

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 32);
    __type(key, u32);
    __type(value, u64);
} linear SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 64);
    __type(key, u32);
    __type(value, u64);
} logarithmic SEC(".maps");

u64 last;

SEC("raw_tp/sys_enter")
int measure(void *ctx)
{
    u64 now = bpf_ktime_get_ns(), delta = now - last, *n;
    u64 step = delta / 1000;
    u32 key = step < 31 ? step : 31;

    last = now;
    n = bpf_map_lookup_elem(&linear, &key);
    if (n)
        *n += 1;
    key = log2_of(delta);
    n = bpf_map_lookup_elem(&logarithmic, &key);
    if (n)
        *n += 1;
    return 0;
}
