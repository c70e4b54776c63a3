/* Who executes what: a record for each exec, filtered by a constant that user space may set. */
#include "../c/fixture.h"

struct record { u64 time; u32 pid, ppid; char comm[16], file[128]; };
struct exec_args { u64 common; u32 filename; int pid, old_pid; };

struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 262144); } records SEC(".maps");
const volatile u32 only_parent = 0;
u64 lost;

SEC("tp/sched/sched_process_exec")
int on_exec(struct exec_args *args)
{
	struct task_struct *task = current_task(), *parent = 0;
	u32 ppid = 0;

	READ(parent, task->real_parent);
	READ(ppid, parent->tgid);
	if (only_parent && ppid != only_parent)
		return 0;
	struct record *r = ring_reserve(&records, sizeof(*r), 0);
	if (!r) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	r->time = ktime();
	r->pid = pid_tgid() >> 32;
	r->ppid = ppid;
	get_comm(r->comm, sizeof(r->comm));
	read_kernel_str(r->file, sizeof(r->file), (char *)args + (args->filename & 0xffff));
	ring_submit(r, 0);
	return 0;
}
