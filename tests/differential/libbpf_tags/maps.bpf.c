/* One map of each common type, all used. */
HASH(hash, u32, u64, 16);
ARRAY(array, u64, 4);
RINGBUF(ring, 4096);
MAP(5, 8, u32, u64) percpu_hash SEC(".maps");
MAP(6, 2, u32, u64) percpu_array SEC(".maps");
MAP(9, 8, u32, u64) lru SEC(".maps");
SEC("raw_tp/sys_enter") int all(void *ctx) {
    u32 key = 1;
    count(&hash, 1); count(&percpu_hash, 2); count(&lru, 3);
    u64 *a = map_lookup(&array, &key), *b = map_lookup(&percpu_array, &key);
    if (a && b) *a += *b;
    u64 *e = ringbuf_reserve(&ring, 8, 0);
    if (e) { *e = ktime(); ringbuf_submit(e, 0); }
    return 0;
}
