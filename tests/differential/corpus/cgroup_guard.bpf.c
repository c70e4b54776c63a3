/* What may be done in a cgroup: sockets, addresses, options, sysctls, devices. */
#include "../c/fixture.h"

struct addr { u32 user_family, user_ip4, user_ip6[4], user_port, family, type, protocol, msg_src_ip4, msg_src_ip6[4]; };
struct sock { u32 bound_dev_if, family, type, protocol, mark, priority, src_ip4, src_ip6[4], src_port, dst_port, dst_ip4, dst_ip6[4], state; int rx_queue_mapping; };
struct device { u32 access, major, minor; };
struct sysctl { u32 write, file_pos; };
struct option { void *sk, *optval, *optval_end; int level, optname, optlen, retval; };
static long (*sysctl_name)(void *ctx, char *to, u64 size, u64 flags) = (void *)101;

MAP(HASH, ports, 64, u32, u32);

INLINE int allowed(u32 port) { return map_lookup(&ports, &port) == 0; }

SEC("cgroup/connect4") int connect4(struct addr *ctx) { if (ctx->user_ip4 == 0x0100007f) ctx->user_port = 0x5000; return allowed(ctx->user_port); }
SEC("cgroup/connect6") int connect6(struct addr *ctx) { return allowed(ctx->user_port); }
SEC("cgroup/bind4") int bind4(struct addr *ctx) { return allowed(ctx->user_port); }
SEC("cgroup/bind6") int bind6(struct addr *ctx) { return allowed(ctx->user_port); }
SEC("cgroup/sendmsg4") int sendmsg4(struct addr *ctx) { return allowed(ctx->user_port); }
SEC("cgroup/sendmsg6") int sendmsg6(struct addr *ctx) { return allowed(ctx->user_port); }
SEC("cgroup/recvmsg4") int recvmsg4(struct addr *ctx) { return ctx->user_port != 0 || 1; }
SEC("cgroup/recvmsg6") int recvmsg6(struct addr *ctx) { return 1; }
SEC("cgroup/getpeername4") int getpeername4(struct addr *ctx) { ctx->user_port = 0x3500; return 1; }
SEC("cgroup/getsockname4") int getsockname4(struct addr *ctx) { return 1; }
SEC("cgroup/getpeername6") int getpeername6(struct addr *ctx) { return 1; }
SEC("cgroup/getsockname6") int getsockname6(struct addr *ctx) { return 1; }
SEC("cgroup/connect_unix") int connect_unix(struct addr *ctx) { return 1; }
SEC("cgroup/sendmsg_unix") int sendmsg_unix(struct addr *ctx) { return 1; }
SEC("cgroup/sock_create") int create(struct sock *ctx) { ctx->mark = 7; return ctx->type != 3; }
SEC("cgroup/sock_release") int release(struct sock *ctx) { return 1; }
SEC("cgroup/sock") int old_name(struct sock *ctx) { return 1; }
SEC("cgroup/post_bind4") int post_bind4(struct sock *ctx) { return allowed(ctx->src_port); }
SEC("cgroup/post_bind6") int post_bind6(struct sock *ctx) { return allowed(ctx->src_port); }
SEC("cgroup/dev") int dev(struct device *ctx) { return ctx->major != 1 || ctx->minor != 5; }
SEC("cgroup/sysctl") int sysctl(struct sysctl *ctx) { char name[32] = ""; sysctl_name(ctx, name, sizeof(name), 0); return !ctx->write || name[0] != 'k'; }
SEC("cgroup/getsockopt") int getsockopt(struct option *ctx) { if (ctx->level == 1 && ctx->optname == 8) ctx->retval = 0; return 1; }
SEC("cgroup/setsockopt") int setsockopt(struct option *ctx) { return ctx->optname != 8; }
