"""Mark packets by their port, in tc."""

import probee as bp
from probee import TC, UDP, Ethernet, EtherType, IPv4, Protocol


@bp.tc
def mark(pkt):
    eth = pkt.read(Ethernet, short=TC.OK)
    if eth.type != EtherType.IPV4:
        return TC.OK
    ip = pkt.read(IPv4, short=TC.OK)
    if ip.protocol != Protocol.UDP:
        return TC.OK
    udp = pkt.read(UDP, short=TC.OK)
    if udp.dst_port == 53 or udp.src_port == 53:
        pkt.mark = 53
        pkt.priority = 6
    return TC.OK
