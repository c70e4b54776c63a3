/* Variables of all sorts: zero, initialised, constant, static, in sections of their own, aligned, weak. */
#include "fixture.h"

u64 zero;
int initialised = 42;
const volatile u32 tunable = 7;
const volatile char path[16] = "/etc/passwd";
static int hidden_counter;
static volatile u64 hidden_start = 3;
struct { u32 a; u64 b[3]; char c; } structure = { 1, { 2, 3, 4 }, 'x' };
u8 tail __attribute__((aligned(64)));
WEAK u32 weak_value = 9;
u32 custom SEC(".data.custom") = 5;
const volatile u16 custom_const SEC(".rodata.mine") = 11;

SEC("tp/sched/sched_switch") int use(void *ctx)
{
	zero += initialised + tunable + path[3];
	structure.b[2]++;
	structure.c = tail;
	zero ^= custom + custom_const + weak_value;
	hidden_counter++;
	return hidden_counter + hidden_start;
}
