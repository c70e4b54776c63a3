"""Count packets by VLAN, and drop those of one, in XDP."""

import probee as bp
from probee import VLAN, XDP, Ethernet, EtherType, u32, u64

seen = bp.Array[u64](4096)
closed = bp.Const[u32](7)


@bp.xdp
def count(pkt):
    eth = pkt.read(Ethernet, short=XDP.PASS)
    if eth.type != EtherType.VLAN and eth.type != EtherType.QINQ:
        return XDP.PASS
    tag = pkt.read(VLAN, short=XDP.PASS)
    seen[tag.id] += 1
    if tag.id == closed and tag.priority < 4:
        return XDP.DROP
    return XDP.PASS
