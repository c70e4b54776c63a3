/* Direct packet access in XDP, tc and a cgroup. */
#include "prelude.h"

SEC("xdp") int first(u32 *ctx) {
    u8 *data = (void *)(long)ctx[0], *end = (void *)(long)ctx[1];
    return data + 14 > end ? 1 : data[12] == 8 ? 2 : 1;
}
SEC("tc") int mark(u32 *ctx) { ctx[2] = 5; return 0; }
SEC("cgroup_skb/egress") int pass(u32 *ctx) { return ctx[0] > 100; }
