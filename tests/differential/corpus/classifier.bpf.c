/* tc in its old and new sections: marks by port, counts by protocol, rewrites a byte. */
#include "../c/fixture.h"

struct __sk_buff { u32 len, pkt_type, mark, queue, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end; };
static long (*load_bytes)(const void *skb, u32 offset, void *to, u32 size) = (void *)26;
static long (*store_bytes)(void *skb, u32 offset, const void *from, u32 size, u64 flags) = (void *)9;
static long (*l3_csum)(void *skb, u32 offset, u64 from, u64 to, u64 flags) = (void *)10;
MAP(LRU_HASH, flows, 4096, u32, u64);

NOINLINE int count(struct __sk_buff *skb)
{
	u32 key = skb->hash;
	u64 one = 1, *n = map_lookup(&flows, &key);
	if (n)
		__sync_fetch_and_add(n, 1);
	else
		map_update(&flows, &key, &one, 0);
	return 0;
}

SEC("tc")
int mark(struct __sk_buff *skb)
{
	u8 ttl = 0, less;
	if (skb->protocol != 0x0008 || load_bytes(skb, 14 + 8, &ttl, 1))
		return 0;
	less = ttl - 1;
	l3_csum(skb, 14 + 10, ttl, less, 2);
	store_bytes(skb, 14 + 8, &less, 1, 0);
	skb->mark = 7;
	return count(skb);
}
SEC("tcx/ingress") int inward(struct __sk_buff *skb) { return count(skb) ? 2 : -1; }
SEC("tcx/egress") int outward(struct __sk_buff *skb) { skb->cb[0] = skb->len; return count(skb) ? 2 : -1; }
SEC("netkit/primary") int primary(struct __sk_buff *skb) { return count(skb) ? 2 : -1; }
SEC("netkit/peer") int peer(struct __sk_buff *skb) { return count(skb) ? 2 : -1; }
SEC("action") int an_action(struct __sk_buff *skb) { return count(skb) ? 2 : 0; }
SEC("lwt_in") int inbound_route(struct __sk_buff *skb) { return count(skb); }
SEC("lwt_out") int outbound_route(struct __sk_buff *skb) { return count(skb); }
SEC("lwt_xmit") int transmit(struct __sk_buff *skb) { return count(skb); }
SEC("socket") int whole(struct __sk_buff *skb) { return count(skb) ? 0 : skb->len; }
SEC("flow_dissector") int dissect(struct __sk_buff *skb) { return 129; }
