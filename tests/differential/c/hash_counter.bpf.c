/* A hash map counted up from a tracepoint: lookup, update, atomic add. */
#include "fixture.h"

MAP(HASH, runs, 10240, u32, u64);

SEC("tracepoint/sched/sched_process_exec") int on_exec(void *ctx)
{
	u32 pid = pid_tgid() >> 32;
	u64 one = 1, *seen = map_lookup(&runs, &pid);

	if (seen)
		__sync_fetch_and_add(seen, 1);
	else
		map_update(&runs, &pid, &one, 1);
	return 0;
}
