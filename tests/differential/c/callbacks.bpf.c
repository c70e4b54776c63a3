/* Addresses of functions: for_each, loop, a callback that calls and one that sets another. */
#include "fixture.h"

MAP(HASH, table, 32, u32, u64);
u64 sum;

static NOINLINE u64 weigh(u64 x)
{
	return x * 3 + sum;
}
static long each(void *map, u32 *key, u64 *value, void *ctx)
{
	sum += weigh(*value);
	return 0;
}
static long step(u32 index, void *ctx)
{
	sum += index;
	for_each(&table, each, 0, 0);
	return 0;
}
SEC("tp/sched/sched_process_fork") int walk(void *ctx)
{
	loop(10, step, 0, 0);
	return for_each(&table, each, 0, 0);
}
SEC("tp/sched/sched_process_fork") int count(void *ctx)
{
	return loop(3, step, 0, 0);
}
