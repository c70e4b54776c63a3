#include "packet.h"

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, u32);
    __type(value, u64);
} ports SEC(".maps");

SEC("cgroup/connect4")
int connect(struct bpf_sock_addr *ctx)
{
    if (ctx->user_ip4 == bpf_htonl(0x0a000001) && ctx->user_port == bpf_htons(80)) {
        ctx->user_ip4 = bpf_htonl(0x7f000001);
        ctx->user_port = bpf_htons(8080);
        return 1;
    }
    u32 port = bpf_ntohs(ctx->user_port);
    u64 zero = 0;
    u64 *n = find_or_make(&ports, &port, &zero);
    if (n)
        __atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
    return 1;
}
