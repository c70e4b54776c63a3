/* Netfilter, and programs run by system call. */
#include "../c/fixture.h"

struct nf { void *state, *skb; };
struct args { u64 value; u32 size; };
MAP(ARRAY, last, 1, u32, u64);

SEC("netfilter") int accept(struct nf *ctx) { return 1; }
SEC("netfilter") int drop(struct nf *ctx) { return 0; }
SEC("syscall")
int store(struct args *ctx)
{
	u32 zero = 0;
	u64 value = ctx->value;
	return map_update(&last, &zero, &value, 0);
}
SEC("raw_tp.w/sched_switch") int writable(u64 *ctx) { return 0; }
SEC("freplace/nobody") int extension(void *ctx) { return 0; }
