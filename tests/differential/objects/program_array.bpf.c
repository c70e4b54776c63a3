/* A program array with programs in it from the start. */
#include "fixture.h"

int last(void *ctx);
int middle(void *ctx);
struct {
	NUMBER(type, PROG_ARRAY);
	NUMBER(max_entries, 4);
	TYPE(key, u32);
	VALUES(values, int (void *));
} jumps SEC(".maps") = { .values = { [1] = (void *)&middle, [3] = (void *)&last } };

SEC("xdp") int last(void *ctx) { return 2; }
SEC("xdp") int middle(void *ctx) { tail_call(ctx, &jumps, 3); return 1; }
SEC("xdp") int start(void *ctx) { tail_call(ctx, &jumps, 1); return 0; }
