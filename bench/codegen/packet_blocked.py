"""Drop what comes from addresses of a map, in XDP."""

import probee as bp
from probee import XDP, Ethernet, EtherType, IPv4, u32, u64

blocked = bp.Hash[u32, u64](10_000)


@bp.xdp
def block(pkt):
    eth = pkt.read(Ethernet, short=XDP.PASS)
    if eth.type != EtherType.IPV4:
        return XDP.PASS
    ip = pkt.read(IPv4, short=XDP.DROP)
    hits = blocked.get(ip.src)
    if hits is None:
        return XDP.PASS
    return XDP.DROP
