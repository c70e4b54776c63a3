#include "packet.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4096);
    __type(key, u32);
    __type(value, u64);
} seen SEC(".maps");

const volatile u32 closed = 7;

SEC("xdp")
int count(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end)
        return XDP_PASS;
    if (eth->h_proto != bpf_htons(ETH_P_8021Q) && eth->h_proto != bpf_htons(ETH_P_8021AD))
        return XDP_PASS;
    struct vlan *tag = (void *)(eth + 1);
    if ((void *)(tag + 1) > end)
        return XDP_PASS;
    u32 id = bpf_ntohs(tag->tci) & 0xfff;
    u64 *n = bpf_map_lookup_elem(&seen, &id);
    if (n)
        __atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
    u16 tci = bpf_ntohs(tag->tci);
    if ((tci & 0xfff) == closed && tci >> 13 < 4)
        return XDP_DROP;
    return XDP_PASS;
}
