/* Data sections with names of their own, hidden and static variables, weak ones. */
#include "fixture.h"

int shared SEC(".data.shared") = 3;
HIDDEN int inside SEC(".data.inside") = 4;
static volatile int mine SEC(".data.mine") = 5;
const volatile int limit SEC(".rodata.limits") = 6;
u64 zeroes[4] SEC(".bss.zeroes");
WEAK int maybe = 8;
HIDDEN int unseen = 9;
const volatile char greeting[12] = "hello";

SEC("raw_tp/sys_enter") int sum(void *ctx)
{
	zeroes[1] += shared + inside + mine + limit;
	return maybe + unseen + greeting[1];
}
