/* Many data sections, custom names, statics of the same name in functions. */
#include "prelude.h"

int in_custom SEC(".data.custom") = 4; const int constant SEC(".rodata.custom") = 5; u64 zero SEC(".data.more");
static int next(void) { static int calls = 10; return calls++; }
static int other(void) { static int calls = 20; return calls++; }
SEC("raw_tp/sys_enter") int mix(void *ctx) { zero += in_custom; return next() + other() + *(volatile int *)&constant; }
