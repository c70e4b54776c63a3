/* Sizes that the loader chooses or mends, flags, and fields of single types of maps. */
/* libbpf 1.0 */
/* feature bloom_filter, feature user_ringbuf */
#include "fixture.h"

struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 5000); } odd_ring SEC(".maps");
struct { NUMBER(type, USER_RINGBUF); NUMBER(max_entries, 1); } user_ring SEC(".maps");
struct { NUMBER(type, PERF_EVENT_ARRAY); NUMBER(key_size, 4); NUMBER(value_size, 4); } events SEC(".maps");
struct {
	NUMBER(type, BLOOM_FILTER); NUMBER(max_entries, 100); NUMBER(map_extra, 3); TYPE(value, u64);
} bloom SEC(".maps");
struct {
	NUMBER(type, HASH); NUMBER(max_entries, 100); NUMBER(map_flags, 1 | 4); NUMBER(numa_node, 0);
	TYPE(key, u32); TYPE(value, u64);
} on_node SEC(".maps");
struct {
	NUMBER(type, ARRAY); NUMBER(max_entries, 3); NUMBER(map_flags, 1 << 10); TYPE(key, u32); TYPE(value, u64);
} mapped SEC(".maps");
struct {
	NUMBER(type, LPM_TRIE); NUMBER(max_entries, 3); NUMBER(map_flags, 1); NUMBER(key_size, 8); NUMBER(value_size, 8);
} prefixes SEC(".maps");
struct inner { NUMBER(type, HASH); NUMBER(max_entries, 4); TYPE(key, u32); TYPE(value, u64); };
struct inner one SEC(".maps"), two SEC(".maps");
struct {
	NUMBER(type, HASH_OF_MAPS); NUMBER(max_entries, 3); TYPE(key, u32); VALUES(values, struct inner);
} by_number SEC(".maps") = { .values = { 0, &one, &two } };

SEC("raw_tp/sys_enter") int use(void *ctx)
{
	u32 key = 1;
	u64 value = 2;
	void *inner = map_lookup(&by_number, &key);

	map_update(&on_node, &key, &value, 0);
	map_push(&bloom, &value, 0);
	perf_output(ctx, &events, 0xffffffff, &value, 8);
	return inner && map_lookup(inner, &key) && map_lookup(&mapped, &key);
}
