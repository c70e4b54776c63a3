/* Atomic operations of 32 and 64 bits, with and without the old value. */
#include "fixture.h"

u64 wide;
u32 narrow;
u64 result[8];

SEC("raw_tp/sys_enter") int all(u64 *ctx)
{
	u64 x = ctx[1];

	__sync_fetch_and_add(&wide, x);
	__sync_fetch_and_or(&wide, 1);
	__sync_fetch_and_and(&narrow, ~1u);
	__sync_fetch_and_xor(&narrow, 5);
	result[0] = __sync_fetch_and_add(&wide, x);
	result[1] = __sync_fetch_and_or(&wide, x);
	result[2] = __sync_fetch_and_and(&narrow, (u32)x);
	result[3] = __sync_fetch_and_xor(&narrow, (u32)x);
	result[4] = __sync_lock_test_and_set(&wide, x);
	result[5] = __sync_val_compare_and_swap(&wide, x, 7);
	result[6] = __sync_val_compare_and_swap(&narrow, 7, (u32)x);
	return 0;
}
