"""Send a packet back to where it came from, in XDP."""

import probee as bp
from probee import XDP, Ethernet, EtherType


@bp.xdp
def back(pkt):
    eth = pkt.read(Ethernet, short=XDP.PASS)
    if eth.type != EtherType.IPV4:
        return XDP.PASS
    eth.src, eth.dst = eth.dst, eth.src
    return XDP.TX
