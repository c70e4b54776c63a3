/* Bytes of a cgroup in both directions, kept for each of its sockets too. */
#include "../c/fixture.h"

struct __sk_buff { u32 len, pkt_type, mark, queue, protocol; };
struct bytes { u64 in, out; };
static void *(*cgroup_storage)(void *map, u64 flags) = (void *)81;
static u64 (*cookie)(void *ctx) = (void *)46;
struct storage_key { u64 cgroup; u32 attach_type; };
struct { NUMBER(type, 19); TYPE(key, struct storage_key); TYPE(value, struct bytes); } totals SEC(".maps");
MAP(HASH, sockets, 1024, u64, struct bytes);

INLINE int account(struct __sk_buff *skb, bool out)
{
	struct bytes *sum = cgroup_storage(&totals, 0), first = {};
	u64 key = cookie(skb);
	__sync_fetch_and_add(out ? &sum->out : &sum->in, skb->len);
	struct bytes *own = map_lookup(&sockets, &key);
	if (own)
		__sync_fetch_and_add(out ? &own->out : &own->in, skb->len);
	else
		map_update(&sockets, &key, &first, 1);
	return 1;
}
SEC("cgroup_skb/ingress") int in(struct __sk_buff *skb) { return account(skb, 0); }
SEC("cgroup_skb/egress") int out(struct __sk_buff *skb) { return account(skb, 1); }
SEC("cgroup/skb") int either(struct __sk_buff *skb) { return skb->len < 65536; }
