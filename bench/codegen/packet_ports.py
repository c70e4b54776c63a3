"""Count UDP packets by port, in XDP."""

import probee as bp
from probee import XDP, Ethernet, EtherType, IPv4, Protocol, u32, u64

ports = bp.Hash[u32, u64](1024)


@bp.xdp
def count(pkt):
    eth = pkt.read(Ethernet, short=XDP.PASS)
    if eth.type != EtherType.IPV4:
        return XDP.PASS
    ip = pkt.read(IPv4, short=XDP.PASS)
    if ip.protocol != Protocol.UDP:
        return XDP.PASS
    udp = pkt.read(bp.UDP, short=XDP.PASS)
    ports[udp.dst_port] += 1
    return XDP.PASS
