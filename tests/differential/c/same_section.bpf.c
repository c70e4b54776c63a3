/* Several programs in one section. */
#include "prelude.h"

SEC("xdp") int one(u32 *ctx) { return 1; }
static __attribute__((noinline)) int beside(u32 x) { asm volatile(""); return x & 1; }
SEC("xdp") int two(u32 *ctx) { return beside(ctx[3]) + 1; }
SEC("xdp") int three(u32 *ctx) { return beside(ctx[4]) + beside(7); }
