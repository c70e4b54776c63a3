/* Half of a program: what it leaves open is in second.bpf.c. */
#include "../c/fixture.h"

struct shared { u64 count; struct task_struct *task; struct later *next; };
struct later { int x; };
MAP(HASH, table, 64, u32, struct shared);
u64 total = 5;
const volatile u32 limit = 7;
static u64 own = 11;

int helper(u32 x);
extern int outside SEC(".data");

__attribute__((weak)) int pick(u32 x)
{
	own += x;
	return x + 1;
}

static NOINLINE int local_part(u32 x)
{
	own ^= x;
	return own & 3;
}

SEC("raw_tp/sys_enter")
int first(void *ctx)
{
	static const char text[] = "first %d";
	u32 key = 1;
	struct shared *s = map_lookup(&table, &key);

	total += helper(key) + pick(2) + local_part(limit);
	outside++;
	if (s)
		s->count++;
	trace_printk(text, sizeof(text), own);
	return 0;
}

/* Run by BPF_PROG_TEST_RUN: what the halves make of each other. */
SEC("raw_tp")
int sum(void *ctx)
{
	return pick(10) * 1000 + outside * 10 + (limit & 7);
}
