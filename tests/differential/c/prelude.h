/* What C programs in the tests share: conventions of libbpf and a few helpers by number. */
#pragma once
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef int s32; typedef long long s64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define CORE __attribute__((preserve_access_index))
static void *(*map_lookup)(void *, const void *) = (void *)1;
static long (*map_update)(void *, const void *, const void *, u64) = (void *)2;
static u64 (*ktime)(void) = (void *)5;
static long (*printk)(const char *, u32, ...) = (void *)6;
static u32 (*random32)(void) = (void *)7;
static long (*tail_call)(void *, void *, u32) = (void *)12;
static u64 (*pid_tgid)(void) = (void *)14;
static long (*redirect)(u32, u64) = (void *)23;
static long (*probe_read_kernel)(void *, u32, const void *) = (void *)113;
static void *(*ringbuf_reserve)(void *, u64, u64) = (void *)131;
static void (*ringbuf_submit)(void *, u64) = (void *)132;
#define MAP(t, n, k, v) struct { __uint(type, t); __uint(max_entries, n); __type(key, k); __type(value, v); }
#define HASH(name, k, v, n) MAP(1, n, k, v) name SEC(".maps")
#define ARRAY(name, v, n) MAP(2, n, u32, v) name SEC(".maps")
#define RINGBUF(name, n) struct { __uint(type, 27); __uint(max_entries, n); } name SEC(".maps")
/* As a statement it is an instruction that every kernel knows; clang makes the one of Linux 5.12 of the builtin. */
#define __sync_fetch_and_add(at, value) ((void)__atomic_fetch_add(at, value, __ATOMIC_RELAXED))
static inline void count(void *map, u32 key) {
    u64 one = 1, *old = map_lookup(map, &key);
    if (old) __sync_fetch_and_add(old, 1); else map_update(map, &key, &one, 0);
}
#if defined(__TARGET_ARCH_x86)
#define RETURN_VALUE(ctx) (((u64 *)(ctx))[10])
#else
#define RETURN_VALUE(ctx) (((u64 *)(ctx))[0])
#endif
char LICENSE[] SEC("license") = "GPL";
