"""Count new TCP connections by address, in tc."""

import probee as bp
from probee import TC, TCP, Ethernet, EtherType, IPv4, Protocol, u32, u64

starts = bp.LruHash[u32, u64](1024)


@bp.tc
def syn(pkt):
    if eth := pkt.read(Ethernet):
        if eth.type == EtherType.IPV4:
            if ip := pkt.read(IPv4):
                if ip.protocol == Protocol.TCP and ip.fragment_offset == 0:
                    tcp = pkt.read(TCP, short=TC.SHOT)
                    if tcp.syn and not tcp.ack:
                        starts[ip.src] += 1
    return TC.UNSPEC
