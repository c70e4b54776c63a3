/* Tail calls through an array that the object fills itself, and through one left empty. */
#include "fixture.h"

int first(void *ctx);
int second(void *ctx);

struct {
	NUMBER(type, PROG_ARRAY);
	NUMBER(max_entries, 4);
	NUMBER(key_size, 4);
	VALUES(values, int(void *));
} filled SEC(".maps") = { .values = { [1] = (void *)&first, [3] = (void *)&second } };
struct { NUMBER(type, PROG_ARRAY); NUMBER(max_entries, 2); NUMBER(key_size, 4); NUMBER(value_size, 4); } empty
	SEC(".maps");

u64 reached[3];

SEC("raw_tp/sched_switch") int entry(void *ctx)
{
	tail_call(ctx, &filled, 1);
	tail_call(ctx, &empty, 0);
	return 1;
}

SEC("raw_tp") int first(void *ctx)
{
	reached[0]++;
	tail_call(ctx, &filled, 3);
	return 2;
}

SEC("raw_tp") int second(void *ctx)
{
	reached[1]++;
	return 3;
}
