"""Bytes and packets by protocol, in a cgroup."""

import probee as bp
from probee import CGROUP, IPv4, u8, u64


class Traffic(bp.Struct):
    packets: u64
    bytes: u64


traffic = bp.Hash[u8, Traffic](256)


@bp.cgroup_skb("egress")
def count(pkt):
    ip = pkt.read(IPv4, short=CGROUP.ALLOW)
    if t := traffic.get(ip.protocol):
        t.packets += 1
        t.bytes += len(pkt)
    else:
        traffic[ip.protocol] = Traffic(packets=1, bytes=len(pkt))
    return CGROUP.ALLOW
