/* An arena with global variables in it. */
/* libbpf 1.4, feature arena */
/* cflags: -mcpu=v3 */
#include "fixture.h"

#define __arena __attribute__((address_space(1)))
#define ENUM_ULONG(name, value) enum { __concat(name) = value }

struct {
	NUMBER(type, 33);
	NUMBER(map_flags, 1 << 10);
	NUMBER(max_entries, 10);
} arena SEC(".maps");

int __arena counter = 7;
u64 __arena table[3] = { 1, 2, 3 };

SEC("syscall") int use(void *ctx)
{
	counter += 1;
	table[1] = counter;
	return counter;
}
