/* Functions that are verified by themselves, weak and hidden ones, and a context by tag. */
#include "fixture.h"

NOINLINE int twice(int x) { asm volatile(""); return 2 * x; }
WEAK NOINLINE int thrice(int x) { asm volatile(""); return 3 * x; }
HIDDEN NOINLINE int hidden(int x) { asm volatile(""); return twice(x) + 1; }
static NOINLINE int local(int x) { asm volatile(""); return thrice(hidden(x)); }
NOINLINE int of_context(void *ctx __attribute__((btf_decl_tag("arg:ctx"))), int x)
{
	return twice(x) + (ctx != 0);
}

SEC("raw_tp/sys_enter") int first(void *ctx) { return local(1) + of_context(ctx, 3); }
SEC("xdp") int second(void *ctx) { return of_context(ctx, 1) & 1; }
SEC("tc") int third(void *ctx) { return hidden(2) & 1; }
