/* cflags: -mcpu=v1 */
/* Compiled for the oldest instruction set, without jumps on 32 bits. */
#include "../c/fixture.h"

struct stats { u64 packets, bytes; };
MAP(PERCPU_HASH, by_protocol, 256, u32, struct stats);
struct __sk_buff { u32 len, pkt_type, mark, queue, protocol; };

SEC("socket")
int account(struct __sk_buff *skb)
{
	u32 key = skb->protocol;
	struct stats *s = map_lookup(&by_protocol, &key), first = {1, skb->len};
	if (s) {
		s->packets++;
		s->bytes += skb->len;
	} else {
		map_update(&by_protocol, &key, &first, 0);
	}
	return key > 100 && key < 2000 ? -1 : 0;
}
