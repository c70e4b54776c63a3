/* Work handed over in queues, stacks and by user space. */
#include "../c/fixture.h"

struct { NUMBER(type, QUEUE); NUMBER(max_entries, 32); TYPE(value, u64); } waiting SEC(".maps");
struct { NUMBER(type, STACK); NUMBER(max_entries, 32); TYPE(value, u64); } done SEC(".maps");
struct { NUMBER(type, BLOOM_FILTER); NUMBER(max_entries, 1000); NUMBER(map_extra, 3); TYPE(value, u32); } known SEC(".maps");
struct { NUMBER(type, USER_RINGBUF); NUMBER(max_entries, 4096); } orders SEC(".maps");
static long (*drain)(void *map, void *fn, void *ctx, u64 flags) = (void *)209;
u64 total;

SEC("tp/sched/sched_process_exit")
int work(void *ctx)
{
	u64 item;
	for (int i = 0; i < 4; i++) {
		if (map_pop(&waiting, &item))
			break;
		map_push(&done, &item, 0);
	}
	return 0;
}

SEC("tp/sched/sched_process_fork")
int remember(void *ctx)
{
	u32 pid = pid_tgid() >> 32;
	if (map_peek(&known, &pid))
		map_push(&known, &pid, 0);
	return 0;
}

static long take(void *record, void *ctx) { total++; return 0; }
SEC("syscall") int take_orders(void *ctx) { return drain(&orders, take, 0, 0); }
