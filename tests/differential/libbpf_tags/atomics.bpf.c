/* Atomic operations that give back the old value. */
u64 word; u32 half;
SEC("raw_tp/sys_enter") int swap(u64 *ctx) {
    u64 old = __sync_fetch_and_add(&word, 3) + __sync_fetch_and_or(&half, 1);
    old += __sync_val_compare_and_swap(&word, 4, 5);
    return old + __sync_lock_test_and_set(&half, 9);
}
