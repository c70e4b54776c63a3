/* The other half of first.bpf.c. */
#include "../c/fixture.h"

struct later;
struct shared { u64 count; struct task_struct *task; struct later *next; };
extern struct { NUMBER(type, HASH); NUMBER(max_entries, 64); TYPE(key, u32); TYPE(value, struct shared); } table SEC(".maps");
extern u64 total;
extern const volatile u32 limit;
int outside = 3;
static u64 own = 17;

int pick(u32 x)
{
	own += 2 * x;
	return x * 3;
}

NOINLINE int helper(u32 x)
{
	struct task_struct *task = current_task();
	u32 pid = 0;

	READ(pid, task->tgid);
	own++;
	return pid + x;
}

static NOINLINE int local_part(u32 x)
{
	own -= x;
	return own & 7;
}

SEC("raw_tp/sys_enter")
int second(void *ctx)
{
	static const char text[] = "second %d";
	u32 key = 1;
	struct shared *s = map_lookup(&table, &key);

	total += local_part(helper(3) + limit);
	if (s)
		s->count--;
	trace_printk(text, sizeof(text), own);
	return 0;
}
