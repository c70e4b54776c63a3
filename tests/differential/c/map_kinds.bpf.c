/* One map of each plain kind, with flags, and a program that touches all of them. */
#include "fixture.h"

struct value { u64 count; char comm[16]; };
struct prefix { u32 length; u8 address[4]; };

MAP(ARRAY, array, 16, u32, struct value);
MAP(PERCPU_ARRAY, percpu_array, 4, u32, u64);
MAP(PERCPU_HASH, percpu_hash, 64, u64, struct value);
MAP(LRU_HASH, lru_hash, 128, u32, u32);
MAP(LRU_PERCPU_HASH, lru_percpu_hash, 128, u32, u64);
struct {
	NUMBER(type, LPM_TRIE);
	NUMBER(max_entries, 32);
	NUMBER(map_flags, 1);
	TYPE(key, struct prefix);
	TYPE(value, u32);
} trie SEC(".maps");
struct { NUMBER(type, QUEUE); NUMBER(max_entries, 8); TYPE(value, u64); } queue SEC(".maps");
struct { NUMBER(type, STACK); NUMBER(max_entries, 8); NUMBER(value_size, 8); } stack SEC(".maps");
struct { NUMBER(type, BLOOM_FILTER); NUMBER(max_entries, 100); NUMBER(map_extra, 3); TYPE(value, u64); } bloom
	SEC(".maps");
struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 7);
	NUMBER(map_flags, 1);
	NUMBER(key_size, 12);
	NUMBER(value_size, 3);
} a_map_with_a_name_longer_than_the_kernel_takes SEC(".maps");

SEC("raw_tp/sys_enter") int touch_all(void *ctx)
{
	u32 zero = 0;
	u64 key = 5, value = 0;
	struct prefix prefix = { 32, { 127, 0, 0, 1 } };
	char odd[12] = {};

	map_lookup(&array, &zero);
	map_lookup(&percpu_array, &zero);
	map_lookup(&percpu_hash, &key);
	map_lookup(&lru_hash, &zero);
	map_delete(&lru_percpu_hash, &zero);
	map_lookup(&trie, &prefix);
	map_push(&queue, &key, 0);
	map_pop(&stack, &value);
	map_peek(&bloom, &key);
	map_lookup(&a_map_with_a_name_longer_than_the_kernel_takes, odd);
	return 0;
}
