#include "kernel.h"

struct trace_event_raw_block_rq {
    u32 dev;
    u64 sector;
    u32 nr_sector;
} CORE;

struct trace_event_raw_block_rq_completion {
    u32 dev;
    u64 sector;
    u32 nr_sector;
} CORE;

struct Request {
    u32 device;
    u32 sectors;
    u64 sector;
};

struct Bucket {
    u32 device;
    u32 slot;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, struct Request);
    __type(value, u64);
} issued SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
    __uint(max_entries, 4096);
    __type(key, struct Bucket);
    __type(value, u64);
} times SEC(".maps");

SEC("tp/block/block_rq_issue")
int on_issue(struct trace_event_raw_block_rq *args)
{
    struct Request request = {.device = args->dev, .sectors = args->nr_sector, .sector = args->sector};
    u64 now = bpf_ktime_get_ns();

    bpf_map_update_elem(&issued, &request, &now, BPF_ANY);
    return 0;
}

SEC("tp/block/block_rq_complete")
int on_complete(struct trace_event_raw_block_rq_completion *args)
{
    struct Request request = {.device = args->dev, .sectors = args->nr_sector, .sector = args->sector};
    u64 *since = bpf_map_lookup_elem(&issued, &request), *count, zero = 0;
    struct Bucket bucket;

    if (!since)
        return 0;
    bucket.device = args->dev;
    bucket.slot = log2_of((bpf_ktime_get_ns() - *since) / 1000);
    count = find_or_make(&times, &bucket, &zero);
    if (count)
        *count += 1;
    bpf_map_delete_elem(&issued, &request);
    return 0;
}
