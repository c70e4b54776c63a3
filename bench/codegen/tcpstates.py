"""Report each change of a TCP connection's state, and how long the last one lasted."""

import probee as bp
from probee import Char, u16, u32, u64

IPPROTO_TCP = 6
TCP_CLOSE = 7


class Change(bp.Struct):
    time_ns: u64
    lasted_ns: u64
    pid: u32
    old: u32
    new: u32
    family: u16
    sport: u16
    dport: u16
    comm: Char[16]


since = bp.Hash[u64, u64](10_240)
changes = bp.RingBuf[Change](64 * 1024)


@bp.tracepoint("sock:inet_sock_set_state")
def on_change(args):
    if args.protocol != IPPROTO_TCP:
        return
    sock = u64(args.skaddr)
    now = bp.nsecs()
    before = since.get(sock, 0)
    with changes.reserve() as e:
        e.time_ns = now
        e.lasted_ns = now - before if before else 0
        e.pid = bp.pid()
        e.old = args.oldstate
        e.new = args.newstate
        e.family = args.family
        e.sport = args.sport
        e.dport = args.dport
        e.comm = bp.comm()
    if args.newstate == TCP_CLOSE:
        del since[sock]
    else:
        since[sock] = now
