/* CO-RE: offsets of fields by address and by direct load, through anonymous structs, arrays and pointers. */
#include "fixture.h"

u64 out[6];
char name[16];

SEC("tp/sched/sched_process_exec") int by_read(void *ctx)
{
	struct task_struct *task = current_task(), *parent;
	struct mm_struct *mm;
	char third;

	READ(parent, task->real_parent);
	READ(out[0], parent->start_time);
	READ(mm, task->mm);
	READ(out[1], mm->start_code);
	READ(out[2], mm->total_vm);
	READ(third, task->comm[3]);
	out[3] = third;
	return read_kernel_str(name, sizeof(name), __builtin_preserve_access_index(&parent->comm));
}

SEC("tp_btf/sched_process_exec") int by_load(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];

	out[4] = task->real_parent->tgid;
	out[5] = task->mm ? task->mm->total_vm : task->flags;
	return task->comm[2];
}
