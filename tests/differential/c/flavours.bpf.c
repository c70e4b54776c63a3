/* CO-RE: two flavours of a type, one of which is not the kernel's. */
#include "fixture.h"

struct task_struct___before { long state; } RELOCATED;
struct task_struct___now { unsigned int __state; } RELOCATED;

SEC("tp_btf/sched_switch") int state(u64 *ctx)
{
	void *task = (void *)ctx[1];
	struct task_struct___now *now = task;
	struct task_struct___before *before = task;

	if (__builtin_preserve_field_info(now->__state, 2))
		return now->__state;
	return before->state;
}
