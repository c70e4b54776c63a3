#include "kernel.h"

struct numbers {
    u64 of[8];
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct numbers);
} numbers SEC(".maps");

SEC("raw_tp/sys_enter")
int sort(struct bpf_raw_tracepoint_args *ctx)
{
    u32 zero = 0;
    struct numbers *n = bpf_map_lookup_elem(&numbers, &zero);

    if (!n)
        return 0;
    n->of[7] = ctx->args[1];
    for (int end = 0; end < 7; end++)
        for (int i = 0; i < 7 - end; i++)
            if (n->of[i] > n->of[i + 1]) {
                u64 x = n->of[i];

                n->of[i] = n->of[i + 1];
                n->of[i + 1] = x;
            }
    return 0;
}
