/* Maps of maps, static inner ones included. */
#include "fixture.h"

struct inner { NUMBER(type, ARRAY); NUMBER(max_entries, 4); TYPE(key, u32); TYPE(value, u64); };
struct inner one SEC(".maps"), two SEC(".maps");
struct {
	NUMBER(type, ARRAY_OF_MAPS);
	NUMBER(max_entries, 3);
	TYPE(key, u32);
	VALUES(values, struct inner);
} outer SEC(".maps") = { .values = { &one, 0, &two } };
struct {
	NUMBER(type, HASH_OF_MAPS);
	NUMBER(max_entries, 10);
	TYPE(key, u64);
	VALUES(values, struct { NUMBER(type, HASH); NUMBER(max_entries, 2); NUMBER(key_size, 4); NUMBER(value_size, 16); });
} by_id SEC(".maps");

SEC("socket") int look(void *ctx)
{
	u32 index = 2, slot = 1;
	u64 id = 7;
	void *inner = map_lookup(&outer, &index), *other = map_lookup(&by_id, &id);

	if (inner && map_lookup(inner, &slot))
		return 1;
	return other && map_lookup(other, &index) ? 2 : 0;
}
