/* A congestion control of TCP, as struct_ops. */
#include "../c/fixture.h"

struct tcp_sock { u32 snd_cwnd; u32 snd_ssthresh; } RELOCATED;
struct sock { int filler; } RELOCATED;
struct tcp_congestion_ops {
	u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
	u32 (*undo_cwnd)(struct sock *sk);
	char name[16];
};

SEC("struct_ops/ssthresh") u32 fixed_threshold(u64 *ctx) { return 10; }
SEC("struct_ops/cong_avoid") void avoid(u64 *ctx) { }
SEC("struct_ops/undo_cwnd") u32 undo(u64 *ctx)
{
	struct tcp_sock *tp = (void *)ctx[0];
	return tp ? 10 : 0;
}

SEC(".struct_ops")
struct tcp_congestion_ops probee_fixed = {
	.ssthresh = (void *)fixed_threshold,
	.cong_avoid = (void *)avoid,
	.undo_cwnd = (void *)undo,
	.name = "probee_fixed",
};
