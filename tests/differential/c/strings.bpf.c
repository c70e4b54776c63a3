/* String literals and printk formats in read-only sections without names. */
#include "fixture.h"

static NOINLINE int length(const char *text)
{
	int n = 0;

	for (; n < 16; n++)
		if (!text[n])
			break;
	return n;
}

SEC("tp/sched/sched_process_exit") int say(void *ctx)
{
	static const char format[] = "pid %d says %s";
	static const char again[] = "again";
	char local[] = "a string on the stack";

	trace_printk(format, sizeof(format), (u32)pid_tgid(), "hello");
	trace_printk(again, sizeof(again));
	trace_printk(local, sizeof(local));
	return length("literal") + length(again);
}
