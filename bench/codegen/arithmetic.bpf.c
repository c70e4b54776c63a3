#include "kernel.h"

u64 result;
s64 average;
const volatile u32 rounds = 100;

static __always_inline u64 fnv1a(u64 data)
{
    u64 h = 0xcbf29ce484222325;

    for (int i = 0; i < 8; i++)
        h = (h ^ (u8)(data >> (8 * i))) * 0x100000001b3;
    return h;
}

static __always_inline s64 clamp(s64 x, s64 low, s64 high)
{
    s64 y = x < high ? x : high;

    return y > low ? y : low;
}

/* Division that floors; the machine has none for signed numbers before cpu v4. */
static __always_inline s64 floor_div(s64 a, u64 n)
{
    s64 sign = a >> 63;

    return (u64)(a ^ sign) / n ^ sign;
}

static __always_inline s64 floor_mod(s64 a, u64 n)
{
    s64 sign = a >> 63;

    return ((u64)(a ^ sign) % n ^ sign) + (n & sign);
}

SEC("raw_tp/sys_enter")
int mix(void *ctx)
{
    u64 now = bpf_ktime_get_ns(), total = 0;
    u32 n = rounds;
    s64 delta;

    for (u32 i = 0; i < n; i++)
        total += fnv1a(now + i) % 1000;
    result = total;
    delta = (s64)now - (s64)total;
    average = clamp(floor_div(delta, 7), -1000, 1000) + floor_mod(delta, 60);
    return 0;
}
