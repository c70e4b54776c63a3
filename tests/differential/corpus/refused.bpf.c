/* Programs that every verifier refuses, each for its own reason: the same verdict is asked for, not only tags. */
#include "../c/fixture.h"

struct xdp_md { u32 data, data_end; };
MAP(ARRAY, numbers, 4, u32, u64);

SEC("xdp") int beyond_the_packet(struct xdp_md *ctx) { return *(u8 *)(long)ctx->data; }
SEC("xdp") int null_value(struct xdp_md *ctx) { u32 key = ctx->data; u64 *v = map_lookup(&numbers, &key); return *v; }
SEC("xdp") int beyond_the_value(struct xdp_md *ctx) { u32 key = 0; u64 *v = map_lookup(&numbers, &key); return v ? v[ctx->data & 7] : 0; }
SEC("xdp") int wrong_context(struct xdp_md *ctx) { return ((u32 *)ctx)[100]; }
SEC("xdp") int helper_of_another_type(struct xdp_md *ctx) { return stackid(ctx, &numbers, 0); }
SEC("socket") int uninitialised(void *ctx) { int x; asm volatile("%0 = r7" : "=r"(x)); return x; }
SEC("tp/sched/sched_switch") int endless(void *ctx) { u64 n = ktime(); while (n) asm volatile("" : "+r"(n)); return 0; }
SEC("xdp") int fine(struct xdp_md *ctx) { return 2; }
