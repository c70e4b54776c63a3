/* Variables of the kernel by type and per CPU, a weak one that is missing, and addresses without type. */
/* symbol init_task */
/* variable bpf_prog_active */
#include "fixture.h"

#define KSYM __attribute__((section(".ksyms")))
static void *(*per_cpu_ptr)(const void *variable, u32 cpu) = (void *)153;
static void *(*this_cpu_ptr)(const void *variable) = (void *)154;

struct rq { unsigned int nr_running; int cpu; } RELOCATED;
extern const struct rq runqueues KSYM;
extern const int bpf_prog_active KSYM;
extern const int no_such_variable KSYM WEAK;
extern const void init_task KSYM;
extern const void no_such_address KSYM WEAK;
u64 seen;

SEC("raw_tp/sys_enter") int look(void *ctx)
{
	const struct rq *rq = per_cpu_ptr(&runqueues, 0);
	const int *active = this_cpu_ptr(&bpf_prog_active);

	if (rq)
		seen += rq->cpu;
	if (&no_such_variable)
		seen += 1000;
	return (active ? *active : 0) + ((u64)&init_task >> 63) + (&no_such_address != 0);
}
