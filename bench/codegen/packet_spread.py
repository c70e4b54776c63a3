"""Choose one of some servers by a hash of addresses and ports, in XDP."""

import probee as bp
from probee import TCP, XDP, Ethernet, EtherType, IPv4, Protocol, u32, u64

chosen = bp.PerCpuArray[u64](16)


@bp.xdp
def spread(pkt):
    eth = pkt.read(Ethernet, short=XDP.PASS)
    if eth.type != EtherType.IPV4:
        return XDP.PASS
    ip = pkt.read(IPv4, short=XDP.PASS)
    if ip.protocol != Protocol.TCP:
        return XDP.PASS
    tcp = pkt.read(TCP, short=XDP.PASS)
    h = (ip.src ^ ip.dst) * 0x9E3779B1
    h ^= tcp.src_port << 16 | tcp.dst_port
    h *= 0x85EBCA6B
    chosen[(u32(h) >> 16) & 15] += 1
    return XDP.PASS
