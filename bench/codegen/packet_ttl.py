"""Forward: count the time to live down, and change the addresses, in XDP."""

import probee as bp
from probee import XDP, Ethernet, EtherType, IPv4, mac


@bp.xdp
def forward(pkt):
    eth, ip = pkt.read(Ethernet, IPv4, short=XDP.PASS)
    if eth.type != EtherType.IPV4 or ip.ttl <= 1:
        return XDP.PASS
    ip.update(ttl=ip.ttl - 1)
    eth.src = eth.dst
    eth.dst = mac("02:00:00:00:00:09")
    return XDP.TX
