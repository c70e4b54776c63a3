/* Stack traces from a sampling program. */
#include "fixture.h"

struct key { u32 pid; s32 kernel, user; };
struct {
	NUMBER(type, STACK_TRACE);
	NUMBER(max_entries, 1024);
	NUMBER(key_size, 4);
	NUMBER(value_size, 127 * 8);
} traces SEC(".maps");
MAP(HASH, counts, 10000, struct key, u64);

SEC("perf_event") int sample(void *ctx)
{
	struct key key = { pid_tgid() >> 32, stackid(ctx, &traces, 0), stackid(ctx, &traces, 256) };
	u64 one = 1, *old = map_lookup(&counts, &key);

	if (old)
		*old += 1;
	else
		map_update(&counts, &key, &one, 0);
	return 0;
}
