/* Parsing with a bounded loop and a table in .rodata. */
#include "../c/fixture.h"

struct xdp_md { u32 data, data_end; };
static const u16 lengths[16] = {0, 8, 16, 24, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24};
MAP(PERCPU_HASH, kinds, 64, u32, u64);

SEC("xdp")
int options(struct xdp_md *ctx)
{
	u8 *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u32 total = 0;
	for (int i = 0; i < 40; i++) {
		if (at + 1 > end)
			break;
		u32 kind = *at & 15;
		u64 one = 1, *n = map_lookup(&kinds, &kind);
		switch (kind) {
		case 0: return 1;
		case 1: total += 3; break;
		case 2: total ^= 0x55; break;
		case 3: total <<= 1; break;
		default: total += lengths[kind];
		}
		if (n)
			++*n;
		else
			map_update(&kinds, &kind, &one, 0);
		at += 1;
	}
	return total & 1 ? 1 : 2;
}
