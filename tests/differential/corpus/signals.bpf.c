/* Which process may not run: a policy in a map, a signal for who breaks it. */
#include "../c/fixture.h"

struct rule { char comm[16]; };
MAP(HASH, denied, 64, struct rule, u32);
static long (*send_signal)(u32 number) = (void *)109;
u64 killed;

SEC("raw_tp/sched_process_exec")
int judge(u64 *ctx)
{
	struct rule rule = {};
	u32 *signal;

	get_comm(rule.comm, sizeof(rule.comm));
	signal = map_lookup(&denied, &rule);
	if (!signal)
		return 0;
	__sync_fetch_and_add(&killed, 1);
	send_signal(*signal & 63);
	return 0;
}
