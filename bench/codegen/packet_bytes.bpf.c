#include "packet.h"

struct traffic {
    u64 packets, bytes;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 256);
    __type(key, u8);
    __type(value, struct traffic);
} traffic SEC(".maps");

SEC("cgroup_skb/egress")
int count(struct __sk_buff *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct iphdr *ip = data;

    if ((void *)(ip + 1) > end || !behind_ip(ip))
        return 1;
    u8 protocol = ip->protocol;
    struct traffic *t = bpf_map_lookup_elem(&traffic, &protocol);
    if (t) {
        __atomic_fetch_add(&t->packets, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&t->bytes, ctx->len, __ATOMIC_RELAXED);
    } else {
        struct traffic first = {.packets = 1, .bytes = ctx->len};

        bpf_map_update_elem(&traffic, &protocol, &first, BPF_ANY);
    }
    return 1;
}
