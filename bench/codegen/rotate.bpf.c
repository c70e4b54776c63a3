#include "kernel.h"

u64 result;

static __always_inline u64 rotate(u64 x, u64 n)
{
    return (x << n) | (x >> (64 - n));
}

SEC("raw_tp/sys_enter")
int mix(struct bpf_raw_tracepoint_args *ctx)
{
    u64 a = bpf_ktime_get_ns(), b = ctx->args[1];
    u64 c = 0x736f6d6570736575, d = 0x646f72616e646f6d;

    for (int i = 0; i < 6; i++) {
        a += b;
        b = rotate(b, 13) ^ a;
        a = rotate(a, 32);
        c += d;
        d = rotate(d, 16) ^ c;
        a += d;
        d = rotate(d, 21) ^ a;
        c += b;
        b = rotate(b, 17) ^ c;
        c = rotate(c, 32);
    }
    result = a ^ b ^ c ^ d;
    return 0;
}
