/* Which socket takes a connection: sk_lookup by port, reuseport by a counter. */
#include "../c/fixture.h"

struct lookup { union { void *sk; u64 cookie; }; u32 family, protocol, remote_ip4, remote_ip6[4]; u16 remote_port, pad; u32 local_ip4, local_ip6[4], local_port, ingress_ifindex; };
struct reuseport { void *data, *end; u32 len, eth_protocol, ip_protocol, bind_inany, hash; };
static long (*assign)(void *ctx, void *sk, u64 flags) = (void *)124;
static long (*release)(void *sk) = (void *)86;
static long (*select)(void *ctx, void *map, void *key, u64 flags) = (void *)82;
struct { NUMBER(type, 15); NUMBER(max_entries, 4); TYPE(key, u32); TYPE(value, u64); } listeners SEC(".maps");
struct { NUMBER(type, 20); NUMBER(max_entries, 4); TYPE(key, u32); TYPE(value, u64); } group SEC(".maps");
u32 turn;

SEC("sk_lookup")
int by_port(struct lookup *ctx)
{
	u32 key = ctx->local_port & 3;
	void *sk = ctx->local_port < 7000 ? 0 : map_lookup(&listeners, &key);
	if (!sk)
		return 1;
	long failed = assign(ctx, sk, 0);
	release(sk);
	return failed ? 0 : 1;
}

SEC("sk_reuseport")
int in_turn(struct reuseport *ctx)
{
	u32 key = ++turn & 3;
	return select(ctx, &group, &key, 0) ? 0 : 1;
}
SEC("sk_reuseport/migrate") int stay(struct reuseport *ctx) { return 1; }
