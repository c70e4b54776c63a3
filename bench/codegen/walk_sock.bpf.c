#include "walks.h"

struct net_device {
    unsigned int mtu;
    possible_net_t nd_net;
} CORE;

struct sock_common {
    unsigned short skc_family;
    volatile unsigned char skc_state;
    possible_net_t skc_net;
} CORE;

struct sock {
    struct sock_common __sk_common;
    int sk_rcvbuf;
    u32 sk_mark;
} CORE;

struct sk_buff {
    struct net_device *dev;
    struct sock *sk;
    unsigned int truesize;
} CORE;

struct Sender {
    u32 namespace;
    u32 socket_namespace;
    u32 truesize;
    u32 mtu;
    u32 receive_buffer;
    u32 mark;
    u16 family;
    u16 state;
    u64 packets;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct Sender);
} seen SEC(".maps");

extern void *bpf_cast_to_kern_ctx(void *) __ksym;

SEC("tc")
int look(struct __sk_buff *ctx)
{
    u32 key = 0;
    struct Sender *s = bpf_map_lookup_elem(&seen, &key);
    struct sk_buff *skb;
    struct net_device *device;
    struct sock *sk;

    if (!s)
        return 0;
    skb = bpf_cast_to_kern_ctx(ctx);
    s->truesize = skb->truesize;
    device = skb->dev;
    s->mtu = device->mtu;
    s->namespace = device->nd_net.net->ns.inum;
    sk = skb->sk;
    if (!sk)
        return 0;
    s->family = sk->__sk_common.skc_family;
    s->state = sk->__sk_common.skc_state;
    s->socket_namespace = sk->__sk_common.skc_net.net->ns.inum;
    s->receive_buffer = sk->sk_rcvbuf;
    s->mark = sk->sk_mark;
    __atomic_fetch_add(&s->packets, 1, __ATOMIC_RELAXED);
    return 0;
}
