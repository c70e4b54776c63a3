#include "packet.h"

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10000);
    __type(key, u32);
    __type(value, u64);
} blocked SEC(".maps");

SEC("xdp")
int block(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return XDP_PASS;
    struct iphdr *ip = (void *)(eth + 1);
    if ((void *)(ip + 1) > end || !behind_ip(ip))
        return XDP_DROP;
    u32 source = bpf_ntohl(ip->saddr);
    return bpf_map_lookup_elem(&blocked, &source) ? XDP_DROP : XDP_PASS;
}
