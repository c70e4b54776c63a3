/* Long straight code, switches and packed structs. */
#include "fixture.h"

struct packed { u8 a; u32 b; u16 c; u64 d; } __attribute__((packed));
MAP(ARRAY, values, 64, u32, struct packed);

SEC("tp/syscalls/sys_exit_read") int long_code(u64 *ctx)
{
	struct packed *p;
	u32 key, i;
	u64 total = 0;

	for (i = 0; i < 12; i++) {
		key = i * 5;
		p = map_lookup(&values, &key);
		if (!p)
			continue;
		switch (p->a & 7) {
		case 0: total += p->b; break;
		case 1: total ^= p->c; break;
		case 2: total -= p->d; break;
		case 3: total <<= p->a & 31; break;
		case 5: p->b = total; break;
		default: p->d = total >> 3;
		}
	}
	return total;
}
