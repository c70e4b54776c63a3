/* Kernel functions: called, called by a flavour of their name, weak and missing, and asked for. */
/* libbpf 1.4 */
/* feature rcu_kfuncs */
#include "fixture.h"

#define KSYM __attribute__((section(".ksyms")))
struct bpf_cpumask;
extern struct task_struct *bpf_task_acquire(struct task_struct *p) KSYM;
extern void bpf_task_release(struct task_struct *p) KSYM;
extern struct task_struct *bpf_task_from_pid___wanted(s32 pid) KSYM WEAK;
extern void bpf_no_such_function(int x) KSYM WEAK;
extern void bpf_rcu_read_lock(void) KSYM;
extern void bpf_rcu_read_unlock(void) KSYM;

SEC("tp_btf/task_newtask") int tasks(u64 *ctx)
{
	struct task_struct *found;

	if (bpf_no_such_function)
		bpf_no_such_function(3);
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	found = bpf_task_from_pid___wanted(1);
	if (found)
		bpf_task_release(found);
	return 0;
}
