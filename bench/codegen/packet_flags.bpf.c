#include "packet.h"

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1024);
    __type(key, u32);
    __type(value, u64);
} starts SEC(".maps");

SEC("tc")
int syn(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return TC_ACT_UNSPEC;
    struct iphdr *ip = (void *)(eth + 1);
    if ((void *)(ip + 1) > end)
        return TC_ACT_UNSPEC;
    struct tcphdr *tcp = behind_ip(ip);
    if (!tcp || ip->protocol != IPPROTO_TCP || bpf_ntohs(ip->frag_off) & 0x1fff)
        return TC_ACT_UNSPEC;
    if ((void *)(tcp + 1) > end || tcp->doff < 5)
        return TC_ACT_SHOT;
    if (tcp->syn && !tcp->ack) {
        u32 from = bpf_ntohl(ip->saddr);
        u64 zero = 0;
        u64 *n = find_or_make(&starts, &from, &zero);
        if (n)
            __atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
    }
    return TC_ACT_UNSPEC;
}
