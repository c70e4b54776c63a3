/* Maps in a map. */
struct inner { __uint(type, 2); __uint(max_entries, 2); __type(key, u32); __type(value, u64); };
struct inner left SEC(".maps"), right SEC(".maps");
struct {
    __uint(type, 12); __uint(max_entries, 4); __type(key, u32); __array(values, struct inner);
} outer SEC(".maps") = {.values = {[0] = (void *)&left, [3] = (void *)&right}};
SEC("raw_tp/sys_enter") int find(u64 *ctx) {
    u32 at = ctx[1] & 3, key = 1; void *map = map_lookup(&outer, &at);
    u64 *value = map ? map_lookup(map, &key) : 0;
    return value ? *value : -1;
}
