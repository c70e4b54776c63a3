#include "packet.h"

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 16);
    __type(key, u32);
    __type(value, u64);
} chosen SEC(".maps");

SEC("xdp")
int spread(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return XDP_PASS;
    struct iphdr *ip = (void *)(eth + 1);
    if ((void *)(ip + 1) > end)
        return XDP_PASS;
    struct tcphdr *tcp = behind_ip(ip);
    if (!tcp || ip->protocol != IPPROTO_TCP || (void *)(tcp + 1) > end)
        return XDP_PASS;
    u64 h = (u64)(bpf_ntohl(ip->saddr) ^ bpf_ntohl(ip->daddr)) * 0x9e3779b1;
    h ^= (u64)bpf_ntohs(tcp->source) << 16 | bpf_ntohs(tcp->dest);
    h *= 0x85ebca6b;
    u32 key = ((u32)h >> 16) & 15;
    u64 *n = bpf_map_lookup_elem(&chosen, &key);
    if (n)
        *n += 1;
    return XDP_PASS;
}
