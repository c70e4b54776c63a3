/* XDP redirects through devmap and cpumap, with a second program in each. */
#include "../c/fixture.h"

struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
static long (*redirect_map)(void *map, u64 key, u64 flags) = (void *)51;
struct target { u32 ifindex, program; };
struct queue { u32 size, program; };

struct { NUMBER(type, 14); NUMBER(max_entries, 8); NUMBER(key_size, 4); NUMBER(value_size, 8); } devices SEC(".maps");
struct { NUMBER(type, 16); NUMBER(max_entries, 8); NUMBER(key_size, 4); NUMBER(value_size, 8); } cpus SEC(".maps");
struct { NUMBER(type, 25); NUMBER(max_entries, 8); NUMBER(key_size, 4); NUMBER(value_size, 8); } by_hash SEC(".maps");

SEC("xdp") int to_device(struct xdp_md *ctx) { return redirect_map(&devices, ctx->ingress_ifindex & 7, 2); }
SEC("xdp") int to_cpu(struct xdp_md *ctx) { return redirect_map(&cpus, ctx->rx_queue_index & 7, 0); }
SEC("xdp") int to_all(struct xdp_md *ctx) { return redirect_map(&by_hash, 0, 8 | 16); }
SEC("xdp/devmap") int at_device(struct xdp_md *ctx) { return ctx->egress_ifindex == 1 ? 1 : 2; }
SEC("xdp/cpumap") int at_cpu(struct xdp_md *ctx) { return ctx->data + 14 > ctx->data_end ? 1 : 2; }
