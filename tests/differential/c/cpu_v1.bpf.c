/* The first instruction set: no 32-bit jumps, no unsigned less-than. */
/* cflags: -mcpu=v1 */
#include "fixture.h"

MAP(ARRAY, table, 8, u32, u32);

SEC("socket") int v1(void *ctx)
{
	u32 first = 0, second = 1;
	u32 *a = map_lookup(&table, &first), *b = map_lookup(&table, &second);

	if (!a || !b)
		return 0;
	if (*a < *b)
		return *a * 3;
	return (int)*a < 100 ? *b / 7 : *a << 2;
}
