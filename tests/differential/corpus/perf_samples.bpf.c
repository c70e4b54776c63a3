/* A profiler: user and kernel stacks of what runs, counted. */
#include "../c/fixture.h"

struct where { u32 pid; int kernel, user; char comm[16]; };
MAP(HASH, counts, 16384, struct where, u64);
struct { NUMBER(type, STACK_TRACE); NUMBER(max_entries, 16384); NUMBER(key_size, 4); NUMBER(value_size, 127 * 8); } stacks SEC(".maps");
static long (*get_stack)(void *ctx, void *to, u32 size, u64 flags) = (void *)67;
struct buffer { u64 at[64]; };
MAP(PERCPU_ARRAY, scratch, 1, u32, struct buffer);
u64 deepest;

SEC("perf_event")
int sample(void *ctx)
{
	struct where key = {.pid = pid_tgid() >> 32};
	key.kernel = stackid(ctx, &stacks, 0);
	key.user = stackid(ctx, &stacks, 256);
	get_comm(key.comm, sizeof(key.comm));
	u64 one = 1, *n = map_lookup(&counts, &key);
	if (n)
		__sync_fetch_and_add(n, 1);
	else
		map_update(&counts, &key, &one, 1);
	u32 zero = 0;
	struct buffer *b = map_lookup(&scratch, &zero);
	if (b) {
		long size = get_stack(ctx, b, sizeof(*b), 0);
		if (size > 0 && size > (long)deepest)
			deepest = size;
	}
	return 0;
}
