#include "packet.h"

SEC("tc")
int mark(struct __sk_buff *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return TC_ACT_OK;
    struct iphdr *ip = (void *)(eth + 1);
    if ((void *)(ip + 1) > end)
        return TC_ACT_OK;
    struct udphdr *udp = behind_ip(ip);
    if (!udp || ip->protocol != IPPROTO_UDP || (void *)(udp + 1) > end)
        return TC_ACT_OK;
    if (udp->dest == bpf_htons(53) || udp->source == bpf_htons(53)) {
        ctx->mark = 53;
        ctx->priority = 6;
    }
    return TC_ACT_OK;
}
