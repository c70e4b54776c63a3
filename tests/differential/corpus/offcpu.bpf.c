/* Time off the CPU by kernel stack, of tasks that switch away. */
#include "../c/fixture.h"

struct where { u32 tgid; int stack; };
MAP(HASH, since, 10240, u32, u64);
MAP(HASH, total, 10240, struct where, u64);
struct { NUMBER(type, STACK_TRACE); NUMBER(max_entries, 1024); NUMBER(key_size, 4); NUMBER(value_size, 1016); } stacks SEC(".maps");
MAP(TASK_STORAGE, marks, 0, int, u64);

SEC("tp_btf/sched_switch")
int on_switch(u64 *ctx)
{
	struct task_struct *prev = (void *)ctx[1], *next = (void *)ctx[2];
	u32 tid = 0;
	u64 now = ktime();

	READ(tid, prev->pid);
	map_update(&since, &tid, &now, 0);
	READ(tid, next->pid);
	u64 *at = map_lookup(&since, &tid);
	if (!at)
		return 0;
	struct where key = {.stack = stackid(ctx, &stacks, 0)};
	READ(key.tgid, next->tgid);
	u64 *sum = map_lookup(&total, &key), zero = 0;
	if (!sum) {
		map_update(&total, &key, &zero, 1);
		sum = map_lookup(&total, &key);
	}
	if (sum)
		__sync_fetch_and_add(sum, now - *at);
	map_delete(&since, &tid);
	return 0;
}
