/* Nested types, bit fields, enums and arrays of arrays, as keys, values and globals. */
#include "../c/fixture.h"

enum kind { QUIET, LOUD = 7, NEGATIVE = -3 };
struct inner { u8 low : 3, high : 5; u16 pairs[2][3]; };
struct value { enum kind kind; union { u32 word; u8 bytes[4]; struct inner parts; }; struct inner many[4]; };
typedef struct { u32 a; u64 b; } anonymous;
MAP(LRU_PERCPU_HASH, values, 256, anonymous, struct value);
struct value initial = {.kind = LOUD, .bytes = {1, 2, 3, 4}};
const enum kind loudest = LOUD;
static struct value table[3] = {{.kind = QUIET}, {.kind = NEGATIVE}};

SEC("socket")
int keep(void *ctx)
{
	anonymous key = {.a = 1, .b = 2};
	struct value v = initial;

	v.parts.high = 9;
	v.many[2].pairs[1][2] = table[1].kind;
	if (v.kind == loudest)
		map_update(&values, &key, &v, 0);
	return v.many[2].pairs[1][2];
}
