/* CO-RE: fields that are narrower or wider in the kernel, loads and stores change their width. */
#include "fixture.h"

struct task_struct___narrow {
	u64 flags;
	u16 nvcsw;
	u32 start_time;
	u8 ptrace;
} RELOCATED;

u64 out;

SEC("tp_btf/sched_wakeup") int widths(u64 *ctx)
{
	struct task_struct___narrow *task = (void *)ctx[0];

	out = task->flags;
	out += task->nvcsw;
	out += task->ptrace;
	return task->start_time;
}
