/* Addresses of functions: bpf_for_each_map_elem, bpf_loop. */
HASH(values, u32, u64, 16);
static long (*for_each)(void *, void *, void *, u64) = (void *)164;
static long (*loop)(u32, void *, void *, u64) = (void *)181;
static long visit(void *map, u32 *key, u64 *value, u64 *sum) { *sum += *value + *key; return 0; }
static long turn(u32 index, u64 *sum) { *sum += index; return *sum > 1000; }
SEC("raw_tp/sys_enter") int walk(void *ctx) {
    u64 sum = 0;
    for_each(&values, visit, &sum, 0);
    loop(100, turn, &sum, 0);
    return sum;
}
