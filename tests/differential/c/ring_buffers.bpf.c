/* Ring buffers both ways and a perf buffer. */
#include "fixture.h"

struct event { u64 time; u32 pid; char comm[16]; };
struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 64 * 1024); } events SEC(".maps");
struct { NUMBER(type, USER_RINGBUF); NUMBER(max_entries, 4096); } commands SEC(".maps");
struct { NUMBER(type, PERF_EVENT_ARRAY); NUMBER(key_size, 4); NUMBER(value_size, 4); } perf SEC(".maps");
static long (*drain)(void *map, void *fn, void *ctx, u64 flags) = (void *)209;

static long on_command(void *dynptr, void *ctx)
{
	return 0;
}

SEC("tp/syscalls/sys_enter_getpid") int fill(void *ctx)
{
	struct event *e = ring_reserve(&events, sizeof(*e), 0);
	struct event on_stack = {};

	perf_output(ctx, &perf, 0xffffffff, &on_stack, sizeof(on_stack));
	if (!e)
		return 0;
	e->time = ktime();
	e->pid = pid_tgid() >> 32;
	get_comm(e->comm, sizeof(e->comm));
	ring_submit(e, 0);
	drain(&commands, on_command, 0, 0);
	return 0;
}
