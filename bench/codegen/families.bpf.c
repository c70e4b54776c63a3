#include "kernel.h"

struct trace_event_raw_sys_enter {
    long id;
} CORE;

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 8);
    __type(key, u32);
    __type(value, u64);
} families SEC(".maps");

static u32 family(u64 number)
{
    switch (number) {
    case 0: case 1: case 17: case 18: case 19: case 20:
        return 1;
    case 2: case 257: case 437:
        return 2;
    case 3:
        return 3;
    case 41 ... 59:
        return 4;
    case 435:
        return 5;
    }
    return 0;
}

SEC("tp/raw_syscalls/sys_enter")
int on_enter(struct trace_event_raw_sys_enter *args)
{
    char comm[16] __attribute__((aligned(8)));
    u64 *count;
    u32 key;

    bpf_get_current_comm(comm, sizeof(comm));
    if (__builtin_memcmp(comm, "python3", sizeof("python3")))
        return 0;
    key = family(args->id);
    count = bpf_map_lookup_elem(&families, &key);
    if (count)
        *count += 1;
    return 0;
}
