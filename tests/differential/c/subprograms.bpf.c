/* Static, global, hidden and weak subprograms, shared between programs, called in several orders. */
#include "fixture.h"

u64 calls;

static NOINLINE int leaf(int x)
{
	calls += x;
	return x + 1;
}
static NOINLINE int middle(int x)
{
	return leaf(x) * leaf(x + 2);
}
NOINLINE int global_leaf(int x)
{
	calls ^= x;
	return x;
}
NOINLINE int global_middle(int x)
{
	return global_leaf(x) + middle(x) + leaf(x);
}
NOINLINE HIDDEN int hidden(int x)
{
	return global_leaf(x - 1) ^ 3;
}
NOINLINE WEAK int weak(int x)
{
	calls--;
	return hidden(x);
}

SEC("tp/sched/sched_wakeup") int top_down(void *ctx)
{
	return global_middle(1) + weak(2);
}
SEC("tp/sched/sched_wakeup") int bottom_up(void *ctx)
{
	return leaf(3) + weak(4) + global_leaf(5);
}
SEC("tp/sched/sched_waking") int only_one(void *ctx)
{
	return middle(6);
}
SEC("socket") int none(void *ctx)
{
	return 0;
}
