/* Storage that belongs to a task. */
#include "fixture.h"

struct state { u64 start; u32 depth; };
struct { NUMBER(type, TASK_STORAGE); NUMBER(map_flags, 1); TYPE(key, int); TYPE(value, struct state); } states
	SEC(".maps");

SEC("tp_btf/sys_enter") int enter(void *ctx)
{
	struct state *s = task_storage(&states, current_task(), 0, 1);

	if (s) {
		s->start = ktime();
		s->depth++;
	}
	return 0;
}
