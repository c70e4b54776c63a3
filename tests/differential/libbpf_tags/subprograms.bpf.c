/* Static and global subprograms, shared by programs, in both sections' orders. */
static __attribute__((noinline)) u64 twice(u64 x) { asm volatile(""); return x + ktime(); }
static __attribute__((noinline)) u64 four(u64 x) { return twice(x) * twice(x + 1); }
__attribute__((noinline)) int global(u32 x) { asm volatile(""); return x * 3; }
SEC("raw_tp/sys_enter") int first(u64 *ctx) { return four(ctx[0]) + global(5); }
SEC("raw_tp/sys_exit") int second(u64 *ctx) { return twice(ctx[1]); }
SEC("tp/sched/sched_switch") int third(void *ctx) { return global(9) + global(10); }
