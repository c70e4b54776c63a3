#include "kernel.h"

struct bucket {
    u64 tokens, filled;
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1024);
    __type(key, u32);
    __type(value, struct bucket);
} buckets SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 2);
    __type(key, u32);
    __type(value, u64);
} passed SEC(".maps");

#define SIZE 100ull
#define PER_TOKEN 10000000ull

SEC("raw_tp/sys_enter")
int limit(void *ctx)
{
    u64 now = bpf_ktime_get_ns(), fresh, *n;
    u32 uid = bpf_get_current_uid_gid(), key;
    struct bucket *bucket = bpf_map_lookup_elem(&buckets, &uid);

    if (!bucket) {
        struct bucket full = {.tokens = SIZE, .filled = now};

        uid = bpf_get_current_uid_gid();
        bpf_map_update_elem(&buckets, &uid, &full, BPF_ANY);
        return 0;
    }
    fresh = (now - bucket->filled) / PER_TOKEN;
    if (fresh) {
        u64 tokens = bucket->tokens + fresh;

        bucket->tokens = tokens < SIZE ? tokens : SIZE;
        bucket->filled = now;
    }
    if (bucket->tokens) {
        __atomic_fetch_add(&bucket->tokens, -1, __ATOMIC_RELAXED);
        key = 1;
    } else {
        key = 0;
    }
    n = bpf_map_lookup_elem(&passed, &key);
    if (n)
        *n += 1;
    return 0;
}
