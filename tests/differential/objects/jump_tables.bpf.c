/* Switch statements that the compiler makes tables of, in a program and in a subprogram. */
/* libbpf 1.7, feature insn_array */
/* cflags: -mcpu=v4 */
#include "fixture.h"

u64 a, b, c, d;

#define BODY(x) switch (x) { \
	case 0: a += 3; break; case 1: b ^= a; break; case 2: c *= 7; break; case 3: d -= b; break; \
	case 4: a = c + 1; break; case 5: b = 9; break; case 6: c = d; break; case 7: d += 11; break; \
	case 8: a *= 5; break; case 9: b *= c; break; case 10: c -= 2; break; case 11: d ^= 99; break; \
	case 12: a <<= 1; break; case 13: b |= 64; break; case 14: c = a - b; break; case 15: d = 1; break; \
	case 16: a ^= d; break; case 17: b -= 4; break; case 18: c += 13; break; case 19: d *= 3; break; \
	}

static NOINLINE void inside(u32 x) { asm volatile(""); BODY(x) }

SEC("raw_tp/sys_enter") int choose(u64 *ctx)
{
	u32 x = pid_tgid() & 31;

	BODY(x)
	inside(x >> 1);
	return 0;
}
