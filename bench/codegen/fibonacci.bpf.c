#include "kernel.h"

const volatile u32 rounds = 40;
u64 result;

SEC("raw_tp/sys_enter")
int fibonacci(struct bpf_raw_tracepoint_args *ctx)
{
    u64 a = 0, b = 1;
    u32 n = rounds;

    for (u32 i = 0; i < n; i++) {
        u64 next = a + b;

        a = b;
        b = next;
    }
    result = a ^ ctx->args[1];
    return 0;
}
