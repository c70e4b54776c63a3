/* CO-RE: bit fields by offset, size, shifts and sign, and plain fields asked the same. */
#include "fixture.h"

struct task_struct___bits {
	unsigned int in_execve : 1;
	unsigned int sched_migrated : 1;
	int exit_state;
	unsigned int no_new_privs___none : 1;
} RELOCATED;

#define INFO(field, what) __builtin_preserve_field_info(task->field, what)
u64 out[3];

#define READ_BITS(to, field) ({ \
	u64 bits = 0; \
	read_kernel(&bits, INFO(field, 1), (const char *)task + INFO(field, 0)); \
	bits <<= INFO(field, 4); \
	to = INFO(field, 3) ? (u64)((s64)bits >> INFO(field, 5)) : bits >> INFO(field, 5); \
})

SEC("tp/sched/sched_process_exit") int bits(void *ctx)
{
	struct task_struct___bits *task = (void *)current_task();

	READ_BITS(out[0], in_execve);
	READ_BITS(out[1], sched_migrated);
	READ_BITS(out[2], exit_state);
	return INFO(exit_state, 2) + INFO(no_new_privs___none, 2) * 2;
}
