"""Send what connects to one address to another, and count the rest by port."""

import probee as bp
from probee import CGROUP, ipv4, u32, u64

ports = bp.Hash[u32, u64](1024)


@bp.cgroup_sock_addr("connect4")
def connect(ctx):
    if ctx.user_ip4 == ipv4("10.0.0.1") and ctx.user_port == 80:
        ctx.user_ip4 = ipv4("127.0.0.1")
        ctx.user_port = 8080
        return CGROUP.ALLOW
    ports[ctx.user_port] += 1
    return CGROUP.ALLOW
