#include "kernel.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 256);
    __type(key, u32);
    __type(value, u64);
} sizes SEC(".maps");

u64 largest;

/* The registers as the architecture's bpf_tracing.h would name them. */
struct registers {
    u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
};

static __always_inline u64 log2_linear(u64 v, u32 bits)
{
    u64 n = log2_of(v);

    if (n < bits)
        return v;
    return ((n - bits + 1) << bits) + ((v >> (n - bits)) - (1 << bits));
}

SEC("uprobe/libc:malloc")
int on_malloc(struct registers *regs)
{
    u64 size = regs->di, *count;
    u32 bucket;

    if (size > largest)
        largest = size;
    bucket = log2_linear(size, 2);
    count = bpf_map_lookup_elem(&sizes, &bucket);
    if (count)
        __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
    return 0;
}
