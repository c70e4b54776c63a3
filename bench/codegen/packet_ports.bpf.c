#include "packet.h"

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, u32);
    __type(value, u64);
} ports SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return XDP_PASS;
    struct iphdr *ip = (void *)(eth + 1);
    if ((void *)(ip + 1) > end)
        return XDP_PASS;
    struct udphdr *udp = behind_ip(ip);
    if (!udp || ip->protocol != IPPROTO_UDP || (void *)(udp + 1) > end)
        return XDP_PASS;
    u32 port = bpf_ntohs(udp->dest);
    u64 zero = 0;
    u64 *n = find_or_make(&ports, &port, &zero);
    if (n)
        __atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
    return XDP_PASS;
}
