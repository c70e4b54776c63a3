/* Sockets spliced by sockmap: parser, verdicts, messages, and sock_ops that fills the map. */
#include "../c/fixture.h"

struct __sk_buff { u32 len, pkt_type, mark, queue, protocol; };
struct msg { void *data, *data_end; u32 family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port, size; };
struct ops { u32 op, args[4], family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port; };
static long (*sk_redirect)(void *skb, void *map, void *key, u64 flags) = (void *)72;
static long (*msg_redirect)(void *msg, void *map, void *key, u64 flags) = (void *)71;
static long (*hash_update)(void *ops, void *map, void *key, u64 flags) = (void *)70;
struct { NUMBER(type, SOCKHASH); NUMBER(max_entries, 64); TYPE(key, u32); TYPE(value, u64); } sockets SEC(".maps");

SEC("sk_skb/stream_parser") int parse(struct __sk_buff *skb) { return skb->len; }
SEC("sk_skb/stream_verdict") int verdict(struct __sk_buff *skb) { u32 key = 1; return sk_redirect(skb, &sockets, &key, 1); }
SEC("sk_skb/verdict") int verdict_alone(struct __sk_buff *skb) { u32 key = 2; return sk_redirect(skb, &sockets, &key, 0); }
SEC("sk_msg") int message(struct msg *msg) { u32 key = msg->remote_port; return msg->size > 65536 ? 0 : msg_redirect(msg, &sockets, &key, 1); }
SEC("sockops") int fill(struct ops *ops) { u32 key = ops->remote_port; if (ops->op == 4 || ops->op == 5) hash_update(ops, &sockets, &key, 0); return 1; }
