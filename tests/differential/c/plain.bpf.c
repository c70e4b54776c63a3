/* The smallest programs: no map, no relocation. */
#include "prelude.h"

SEC("raw_tp/sys_enter") int zero(void *ctx) { return 0; }
SEC("tp/sched/sched_switch") int answer(u64 *ctx) { return ctx[1] ? 42 : 43; }
SEC("socket") int length(u32 *ctx) { return ctx[0]; }
