/* An XDP firewall: longest prefix match on the source, counters by verdict, VLAN tags looked through. */
#include "../c/fixture.h"

struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
struct ether { u8 to[6], from[6]; u16 type; } __attribute__((packed));
struct vlan { u16 tag, type; } __attribute__((packed));
struct ipv4 { u8 version, tos; u16 length, id, fragment; u8 ttl, protocol; u16 sum; u32 from, to; };
struct prefix { u32 length, address; };

struct { NUMBER(type, LPM_TRIE); NUMBER(max_entries, 1024); NUMBER(map_flags, 1); TYPE(key, struct prefix); TYPE(value, u32); } blocked SEC(".maps");
MAP(PERCPU_ARRAY, verdicts, 8, u32, u64);

INLINE int say(u32 verdict)
{
	u64 *count = map_lookup(&verdicts, &verdict);
	if (count)
		++*count;
	return verdict;
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ether *eth = at;

	if ((void *)(eth + 1) > end)
		return say(0);
	u16 type = eth->type;
	at = eth + 1;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (type != 0x0081 && type != 0xa888)
			break;
		struct vlan *tag = at;
		if ((void *)(tag + 1) > end)
			return say(0);
		type = tag->type;
		at = tag + 1;
	}
	if (type != 0x0008)
		return say(2);
	struct ipv4 *ip = at;
	if ((void *)(ip + 1) > end)
		return say(0);
	struct prefix key = {32, ip->from};
	return say(map_lookup(&blocked, &key) ? 1 : 2);
}

SEC("xdp.frags")
int firewall_of_jumbo_frames(struct xdp_md *ctx)
{
	return say(ctx->data_end - ctx->data < 14 ? 1 : 2);
}
