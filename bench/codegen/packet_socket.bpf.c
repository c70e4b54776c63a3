#include "packet.h"

SEC("socket")
int dns(struct __sk_buff *skb)
{
    struct iphdr ip;
    struct udphdr udp;

    if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) || ip.ihl < 5)
        return 0;
    if (ip.protocol != IPPROTO_UDP)
        return 0;
    if (bpf_skb_load_bytes(skb, ip.ihl * 4, &udp, sizeof(udp)))
        return 0;
    if (udp.source == bpf_htons(53) || udp.dest == bpf_htons(53))
        return 65535;
    return 0;
}
