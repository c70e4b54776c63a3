"""What a socket gets of DNS over UDP: a socket filter, which has packets by copy."""

import probee as bp
from probee import UDP, IPv4, Protocol


@bp.socket_filter
def dns(pkt):
    ip = pkt.read(IPv4, short=0)
    if ip.protocol != Protocol.UDP:
        return 0
    udp = pkt.read(UDP, short=0)
    if udp.src_port == 53 or udp.dst_port == 53:
        return 65535
    return 0
