/* Callbacks for every entry of a map, and for a number of turns. */
#include "../c/fixture.h"

struct sum { u64 total; u32 limit; };
MAP(HASH, counts, 1024, u32, u64);
u64 result;

static long add(void *map, u32 *key, u64 *value, struct sum *sum)
{
	sum->total += *value;
	return sum->total > sum->limit;
}

static long square(u32 turn, struct sum *sum)
{
	sum->total += (u64)turn * turn;
	return 0;
}

SEC("raw_tp/sys_enter")
int walk(void *ctx)
{
	struct sum sum = {0, 100};

	for_each(&counts, add, &sum, 0);
	loop(50, square, &sum, 0);
	result = sum.total;
	return 0;
}
