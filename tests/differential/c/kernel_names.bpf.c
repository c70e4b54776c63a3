/* Names that the kernel provides: configuration, variables, functions. */
#include "fixture.h"

extern unsigned int LINUX_KERNEL_VERSION SEC(".kconfig");
extern int CONFIG_HZ SEC(".kconfig");
extern bool CONFIG_NEVER_HEARD_OF SEC(".kconfig") WEAK;
extern const int never_a_variable SEC(".ksyms") WEAK;
extern const void bpf_prog_put SEC(".ksyms") WEAK;
extern struct task_struct *bpf_task_from_pid(s32 pid) SEC(".ksyms");
extern void bpf_task_release(struct task_struct *task) SEC(".ksyms");
extern void bpf_never_heard_of(int x) SEC(".ksyms") WEAK;

u64 out[4];

SEC("tp_btf/task_newtask") int names(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1);

	out[0] = LINUX_KERNEL_VERSION + CONFIG_HZ + CONFIG_NEVER_HEARD_OF;
	out[1] = (u64)&never_a_variable;
	out[2] = (u64)&bpf_prog_put;
	/* Asked for, not called: what stands in for a call that is not there differs between libbpf's versions. */
	if (bpf_never_heard_of)
		out[3] = 1;
	if (task)
		bpf_task_release(task);
	return 0;
}
