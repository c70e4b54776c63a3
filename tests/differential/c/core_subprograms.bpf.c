/* CO-RE relocations in subprograms, which move when they are appended. */
#include "fixture.h"

static NOINLINE u64 parent_of(struct task_struct *task)
{
	struct task_struct *parent = 0;

	READ(parent, task->real_parent);
	return (u64)parent;
}
NOINLINE u64 tgid_of(u64 task)
{
	int tgid = 0;

	READ(tgid, ((struct task_struct *)task)->tgid);
	return tgid;
}
SEC("tp/sched/sched_process_exec") int first(void *ctx)
{
	return tgid_of(parent_of(current_task()));
}
SEC("raw_tp/sched_process_exit") int second(void *ctx)
{
	struct task_struct *task = current_task();

	return tgid_of(parent_of(task)) + task->flags + (parent_of(task) & 1);
}
