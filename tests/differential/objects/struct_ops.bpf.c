/* A congestion control for TCP, by a link and without, and one that is not made by itself. */
/* libbpf 1.4, feature struct_ops_link */
#include "fixture.h"

struct sock;
struct ack_sample;
struct tcp_congestion_ops___mine {
	u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
	void (*init)(struct sock *sk);
	u32 (*undo_cwnd)(struct sock *sk);
	void (*member_of_no_kernel)(struct sock *sk);
	u32 flags;
	char name[16];
	u32 zero_of_no_kernel;
};
struct tcp_sock { u32 snd_cwnd; u32 snd_ssthresh; } RELOCATED;

u64 made;

SEC("struct_ops/ssthresh") u32 ssthresh(u64 *ctx) { return 10; }
SEC("struct_ops/cong_avoid") int cong_avoid(u64 *ctx) { return 0; }
SEC("struct_ops/init") int init(u64 *ctx) { __sync_fetch_and_add(&made, 1); return 0; }
SEC("struct_ops/undo_cwnd") u32 undo_cwnd(u64 *ctx) { return 10; }

SEC(".struct_ops") struct tcp_congestion_ops___mine plain = {
	.ssthresh = (void *)ssthresh, .cong_avoid = (void *)cong_avoid, .init = (void *)init,
	.undo_cwnd = (void *)undo_cwnd, .name = "probee_plain",
};
SEC(".struct_ops.link") struct tcp_congestion_ops___mine linked = {
	.ssthresh = (void *)ssthresh, .cong_avoid = (void *)cong_avoid, .init = (void *)init,
	.undo_cwnd = (void *)undo_cwnd, .name = "probee_linked",
};
SEC("?.struct_ops") struct tcp_congestion_ops___mine later = { .ssthresh = (void *)ssthresh, .name = "probee_later" };
