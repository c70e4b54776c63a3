/* What only cpu v4 has: signed division, sign extensions, unconditional byte swaps, acquire and release. */
/* cflags: -mcpu=v4 */
#include "fixture.h"

s32 numbers[8];
s8 byte;
u64 flag;

SEC("raw_tp/sys_enter") int v4(s64 *ctx)
{
	s64 x = ctx[1], y = ctx[0] | 1;

	numbers[0] = x / y;
	numbers[1] = x % 7;
	numbers[2] = (s32)x / 3;
	numbers[3] = byte + (s8)x + (s16)y;
	numbers[4] = __builtin_bswap32((u32)x);
	flag = __builtin_bswap64(x) + (s64)(s32)y;
	__atomic_store_n(&flag, 1, __ATOMIC_RELEASE);
	return __atomic_load_n(&flag, __ATOMIC_ACQUIRE) + numbers[x & 3];
}
