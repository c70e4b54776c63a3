/* CO-RE: existence, sizes, ids and shapes of types; what is missing guards what would fail. */
#include "fixture.h"

struct pid_namespace { unsigned int level; } RELOCATED;
struct no_such_type_anywhere { int field; } RELOCATED;
struct task_struct___old { int state_that_never_was; } RELOCATED;
struct list_head { struct list_head *next, *prev; } RELOCATED;
struct list_head___odd { int next; } RELOCATED;
typedef u64 no_such_typedef_anywhere;
typedef int pid_t;
union no_union { int a; } RELOCATED;

#define ID(type, how) __builtin_btf_type_id(*(type *)0, how)
#define EXISTS(type, how) __builtin_preserve_type_info(*(type *)0, how)
u64 out[16];

SEC("raw_tp/sched_switch") int types(u64 *ctx)
{
	struct task_struct___old *task = (void *)ctx[1];
	struct no_such_type_anywhere *none = (void *)ctx[1];

	out[0] = ID(struct task_struct, 0);
	out[1] = ID(struct task_struct, 1);
	out[2] = EXISTS(struct task_struct, 0);
	out[3] = EXISTS(struct no_such_type_anywhere, 0);
	out[4] = EXISTS(struct pid_namespace, 1);
	out[5] = EXISTS(struct no_such_type_anywhere, 1);
	out[6] = EXISTS(struct list_head, 2);
	out[7] = EXISTS(struct list_head___odd, 2);
	out[8] = EXISTS(no_such_typedef_anywhere, 0);
	out[9] = EXISTS(pid_t, 1);
	out[10] = EXISTS(union no_union, 0);
	if (__builtin_preserve_field_info(task->state_that_never_was, 2))
		out[11] = task->state_that_never_was;
	if (EXISTS(struct no_such_type_anywhere, 0))
		READ(out[12], none->field);
	return 0;
}
