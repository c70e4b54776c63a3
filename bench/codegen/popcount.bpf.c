#include "kernel.h"

u64 bits;

SEC("raw_tp/sys_enter")
int count(struct bpf_raw_tracepoint_args *ctx)
{
    u64 left = ctx->args[1] ^ bpf_ktime_get_ns(), found = 0;

    for (int i = 0; i < 64 && left; i++) {
        left &= left - 1;
        found++;
    }
    bits = found;
    return 0;
}
