"""XDP, tc, socket filters and other programs on packets."""

from __future__ import annotations

import struct

from selftest_ports import Live, Port

import probee as bp
from probee import (
    ARP,
    FLOW,
    GRE,
    ICMP,
    LWT,
    TC,
    TCP,
    UDP,
    VLAN,
    VXLAN,
    XDP,
    Bits,
    Ethernet,
    EtherType,
    IPv4,
    IPv6,
    Protocol,
    ipv4,
    ipv6,
    mac,
    tcp_option,
    transport,
    u8,
    u16,
    u32,
    u64,
)

out = bp.Array[u64](16)
ports = bp.Hash[u32, u64](64)
devices = bp.DevMap(4)
cpus = bp.CpuMap(4)
sockets = bp.XskMap(4)
next_step = bp.ProgArray(2)
backends = bp.Array[u32](4)


class Trailer(bp.Struct):
    x: u32
    y: u32


class Report(bp.Header, length="8 + extra * 4"):
    version: Bits[4]
    kind: Bits[4]
    extra: u8
    port: u16
    sequence: u32


class Outer(bp.Header):
    version: Bits[4]
    ihl: Bits[4]
    tos: u8
    total_length: u16
    id: u16
    fragment: u16
    ttl: u8
    protocol: u8
    checksum: u16
    src: u32
    dst: u32


@bp.xdp
def drop_udp(pkt):
    eth, ip = pkt.read(Ethernet, IPv4, short=XDP.PASS)
    if eth.type == EtherType.IPV4 and ip.protocol == Protocol.UDP:
        return XDP.DROP
    return XDP.PASS


@bp.xdp
def swap_and_send(pkt):
    eth = pkt.read(Ethernet, short=XDP.ABORTED)
    old = mac("02:00:00:00:00:01")
    if eth.dst == old:
        eth.dst = eth.src
        eth.src = old
    return XDP.TX


@bp.xdp
def shrink(pkt):
    if len(pkt) < 60:
        return XDP.DROP
    pkt.adjust_tail(-20)
    return XDP.TX


@bp.xdp
def grow(pkt):
    pkt.adjust_tail(30)
    return XDP.TX if len(pkt) > 60 else XDP.ABORTED


@bp.xdp
def metadata(pkt):
    if pkt.adjust_meta(-8) != 0:
        return XDP.ABORTED
    meta = pkt.meta(Trailer)
    if meta is None:
        return XDP.ABORTED
    meta.x = 7
    meta.y = 9
    return XDP.PASS


@bp.xdp
def vlan_popped(pkt):
    eth, tag = pkt.read(Ethernet, VLAN, short=XDP.PASS)
    if eth.type != EtherType.VLAN:
        return XDP.PASS
    inner = tag.type
    if pkt.adjust_head(4) != 0:
        return XDP.DROP
    again = pkt.read(Ethernet, short=XDP.DROP)
    again.type = inner
    again.src = mac("02:00:00:00:00:02")
    again.dst = mac("02:00:00:00:00:01")
    return XDP.PASS


@bp.xdp
def tunnel(pkt):
    _eth, ip = pkt.read(Ethernet, IPv4, short=XDP.PASS)
    length = ip.total_length
    if pkt.adjust_head(-20) != 0:
        return XDP.DROP
    new, outer = pkt.read(Ethernet, Outer, short=XDP.DROP)
    new.dst = mac("02:00:00:00:00:01")
    new.src = mac("02:00:00:00:00:02")
    new.type = EtherType.IPV4
    outer.version = 4
    outer.ihl = 5
    outer.tos = 0
    outer.id = 0
    outer.fragment = 0
    outer.ttl = 8
    outer.protocol = Protocol.IPIP
    outer.total_length = length + 20
    outer.src = ipv4("192.0.2.1")
    outer.dst = ipv4("192.0.2.2")
    return XDP.TX


def _port_of(pkt):
    udp = pkt.read(UDP)
    if udp is None:
        return 0
    return udp.dst_port


@bp.xdp
def parsed_in_function(pkt):
    _eth, ip = pkt.read(Ethernet, IPv4, short=XDP.PASS)
    if ip.protocol == Protocol.UDP:
        out[0] = _port_of(pkt)
    return XDP.PASS


@bp.xdp
def loop_over_bytes(pkt):
    eth = pkt.read(Ethernet, short=XDP.ABORTED)
    sum = 0
    for byte in eth.src:
        sum += byte
    out[1] = sum
    return XDP.PASS


@bp.xdp
def redirected(pkt):
    return pkt.redirect(devices, 3)


@bp.xdp
def copied_in_and_out(pkt):
    udp = pkt.load(34, UDP)
    if udp is None:
        return XDP.ABORTED
    udp.dst_port = 99
    return XDP.PASS if pkt.store(34, udp) == 0 else XDP.DROP


@bp.xdp(frags=True)
def with_fragments(pkt):
    last = pkt.load(5000, u32)
    out[2] = 0 if last is None else last
    return XDP.PASS


@bp.xdp
def echo_answered(pkt):
    eth, ip, icmp = pkt.read(Ethernet, IPv4, ICMP, short=XDP.PASS)
    if ip.protocol != Protocol.ICMP or icmp.type != 8:
        return XDP.PASS
    icmp.update(type=0)
    src = ip.src
    ip.update(src=ip.dst, dst=src)
    eth.src, eth.dst = mac("02:00:00:00:00:01"), mac("02:00:00:00:00:02")
    return XDP.TX


@bp.xdp
def extension_headers(pkt):
    eth, ip = pkt.read(Ethernet, IPv6, short=XDP.PASS)
    if eth.type != EtherType.IPV6:
        return XDP.PASS
    protocol = transport(pkt, ip)
    out[3] = protocol
    out[4] = int(ip.dst == ipv6("fd00::2"))
    return XDP.DROP


@bp.xdp
def options(pkt):
    _eth, ip = pkt.read(Ethernet, IPv4, short=XDP.PASS)
    at = 14 + ip.ihl * 4
    tcp = pkt.read(TCP, short=XDP.PASS)
    out[5] = tcp_option(pkt, at, tcp.doff, 2)
    return XDP.PASS if tcp.syn else XDP.DROP


@bp.xdp
def firewall(pkt):
    eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=XDP.DROP)
    if eth.type != EtherType.IPV4 or ip.protocol != Protocol.UDP:
        return XDP.DROP
    v = ports.get(udp.dst_port)
    if v is None:
        return XDP.DROP
    v += 1
    ports[udp.dst_port] += 1
    return XDP.PASS


@bp.tc
def headers_read(pkt):
    eth = pkt.read(Ethernet, short=TC.SHOT)
    if eth.type == EtherType.ARP:
        arp = pkt.read(ARP, short=TC.SHOT)
        out[6] = arp.operation
    elif eth.type == EtherType.IPV4:
        ip, tcp = pkt.read(IPv4, TCP, short=TC.SHOT)
        out[6] = tcp.dst_port + ip.ihl
    return TC.OK


@bp.tc
def fields_of_the_packet(pkt):
    pkt.mark = 7
    pkt.priority = 6
    pkt.cb[2] = 5
    out[7] = pkt.mark * 100 + pkt.priority * 10 + pkt.cb[2]
    out[8] = pkt.protocol
    out[9] = len(pkt)
    return TC.OK


@bp.tc
def bytes_loaded(pkt):
    number = pkt.load(12, u16)
    gone = pkt.load(9000, u16)
    if number is None or gone is not None:
        return TC.SHOT
    out[10] = number
    return TC.OK


@bp.tc
def tail_changed(pkt):
    pkt.change_tail(len(pkt) - 4)
    out[11] = len(pkt)
    return TC.OK


@bp.tc
def vlan_pushed(pkt):
    pkt.vlan_push(0x8100, 42)
    out[12] = pkt.vlan_tci
    pkt.vlan_pop()
    return TC.OK


@bp.tc
def address_translated(pkt):
    _eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=TC.SHOT)
    ip.update(dst=ipv4("10.9.9.9"), transport=udp)
    return TC.OK


@bp.tc
def balanced(pkt):
    _eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=TC.SHOT)
    backends[0] = ipv4("10.0.1.1")
    backends[1] = ipv4("10.0.1.2")
    out[13] = backends[(ip.src ^ udp.src_port) & 1]
    return TC.OK


@bp.tc
def vxlan_read(pkt):
    _eth, _ip, _udp, vx = pkt.read(Ethernet, IPv4, UDP, VXLAN, short=TC.OK)
    inner = pkt.read(Ethernet, short=TC.OK)
    out[14] = vx.vni
    return TC.SHOT if inner.type == EtherType.IPV4 else TC.OK


@bp.tc
def gre_read(pkt):
    _eth, ip = pkt.read(Ethernet, IPv4, short=TC.OK)
    if ip.protocol != Protocol.GRE:
        return TC.OK
    gre = pkt.read(GRE, short=TC.OK)
    out[15] = gre.protocol
    return TC.SHOT


@bp.tc
def own_header(pkt):
    pkt.skip(14 + 20 + 8)
    report = pkt.read(Report, short=TC.OK)
    report.kind = 3
    if report.version != 5:
        return TC.OK
    report.sequence += 1
    return TC.SHOT


@bp.tc
def jumped(pkt):
    bp.jump(next_step, 0)
    return TC.OK


@bp.tc
def jumped_to(pkt):
    return TC.SHOT


next_step[0] = jumped_to


@bp.socket_filter
def kept_bytes(pkt):
    return 0 if pkt.protocol == EtherType.ARP else 40


@bp.flow_dissector
def flow_keys(pkt):
    keys = pkt.flow_keys
    keys.ip_proto = 6
    keys.nhoff = 14
    keys.thoff = 34
    return FLOW.OK


@bp.lwt("xmit")
def route_drops(pkt):
    ip = pkt.read(IPv4, short=LWT.OK)
    return LWT.DROP if ip.ttl < 10 else LWT.OK


@bp.cgroup_skb("ingress")
def cgroup_lets_in(pkt):
    return 1


def _sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _eth(type: int = 0x0800) -> bytes:
    return bytes.fromhex("020000000001020000000002") + struct.pack("!H", type)


def _ip(payload: bytes, protocol: int = 17, ttl: int = 64) -> bytes:
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, ttl, protocol, 0, b"\x0a\0\0\1", b"\x0a\0\0\2"
    )
    return head[:10] + struct.pack("!H", _sum(head)) + head[12:] + payload


def _udp(payload: bytes = bytes(32), port: int = 53) -> bytes:
    head = struct.pack("!HHHH", 1000, port, 8 + len(payload), 0)
    pseudo = b"\x0a\0\0\1\x0a\0\0\2" + struct.pack("!BBH", 0, 17, 8 + len(payload))
    return head[:6] + struct.pack("!H", _sum(pseudo + head + payload)) + payload


FRAME = _eth() + _ip(_udp())
ARP_FRAME = _eth(0x0806) + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + bytes(40)
TCP_FRAME = _eth() + _ip(
    struct.pack("!HHIIBBHHH", 1, 443, 0, 0, 0x60, 2, 9, 0, 0) + b"\2\4\5\xb4" + bytes(20), 6
)
IPV6_FRAME = (
    _eth(0x86DD)
    + struct.pack("!IHBB", 6 << 28, 28, 0, 64)
    + bytes(16)
    + bytes.fromhex("fd00" + "00" * 13 + "02")
    + bytes([17, 0, 1, 4, 0, 0, 0, 0])
    + _udp(bytes(12))
)


def says(*cases: tuple[bytes, int]):
    """A check: each packet gets this verdict."""

    def check(live: Live, program: str) -> None:
        for data, want in cases:
            assert live.packet(program, data)[0] == want

    return check


def notes(slot: int, data: bytes, want: int):
    """A check: after this packet `out` holds the number."""

    def check(live: Live, program: str) -> None:
        live.packet(program, data)
        assert live.maps["out"][slot] == want

    return check


def _swapped(live: Live, program: str) -> None:
    verdict, data = live.packet(program, FRAME)
    assert (verdict, data[:6], data[6:12]) == (3, FRAME[6:12], FRAME[:6])


def _length(by: int):
    def check(live: Live, program: str) -> None:
        verdict, data = live.packet(program, FRAME)
        assert (verdict, len(data)) == (3, len(FRAME) + by)

    return check


def _tag_gone(live: Live, program: str) -> None:
    tagged = FRAME[:12] + struct.pack("!HH", 0x8100, 42) + FRAME[12:]
    assert live.packet(program, tagged) == (2, FRAME)
    assert live.packet(program, FRAME) == (2, FRAME)


def _tunnelled(live: Live, program: str) -> None:
    verdict, data = live.packet(program, FRAME)
    assert (verdict, data[23], data[34:]) == (3, 4, FRAME[14:])
    assert struct.unpack("!H", data[16:18])[0] == len(FRAME) - 14 + 20


def _stored(live: Live, program: str) -> None:
    verdict, data = live.packet(program, FRAME)
    assert (verdict, data[36:38]) == (2, b"\0\x63")


def _echo(live: Live, program: str) -> None:
    icmp = struct.pack("!BBHHH", 8, 0, 0, 3, 4) + b"ping"
    icmp = icmp[:2] + struct.pack("!H", _sum(icmp)) + icmp[4:]
    verdict, data = live.packet(program, _eth() + _ip(icmp, 1))
    assert (verdict, data[34], _sum(data[34:]), _sum(data[14:34])) == (3, 0, 0, 0)
    assert data[26:30] == b"\x0a\0\0\2"


def _six(live: Live, program: str) -> None:
    assert live.packet(program, IPV6_FRAME)[0] == 1
    assert (live.maps["out"][3], live.maps["out"][4]) == (17, 1)


def _firewall(live: Live, program: str) -> None:
    live.maps["ports"][53] = 0
    assert live.packet(program, FRAME)[0] == 2
    assert live.packet(program, _eth() + _ip(_udp(port=54)))[0] == 1
    assert live.maps["ports"][53] == 1


def _fields(live: Live, program: str) -> None:
    live.packet(program, FRAME)
    assert [live.maps["out"][i] for i in (7, 8, 9)] == [765, 0x0800, len(FRAME)]


def _translated(live: Live, program: str) -> None:
    verdict, data = live.packet(program, FRAME)
    assert (verdict, data[30:34], _sum(data[14:34])) == (0, b"\x0a\x09\x09\x09", 0)
    pseudo = data[26:34] + struct.pack("!BBH", 0, 17, len(data) - 34)
    assert _sum(pseudo + data[34:]) == 0


def _own(live: Live, program: str) -> None:
    verdict, data = live.packet(program, _eth() + _ip(_udp(struct.pack("!BBHI", 0x51, 0, 9, 41) + bytes(8))))
    assert (verdict, data[42], data[46:50]) == (2, 0x53, struct.pack("!I", 42))


def _vxlan(live: Live, program: str) -> None:
    inner = struct.pack("!II", 8 << 24, 77 << 8) + FRAME
    assert live.packet(program, _eth() + _ip(_udp(inner, 4789)))[0] == 2
    assert live.maps["out"][14] == 77


def _gre(live: Live, program: str) -> None:
    assert live.packet(program, _eth() + _ip(struct.pack("!HH", 0, 0x0800) + FRAME[14:], 47))[0] == 2
    assert live.maps["out"][15] == 0x0800


PORTS = [
    Port("xdp_dummy.c", drop_udp, says((FRAME, 1), (TCP_FRAME, 2), (ARP_FRAME, 2), (FRAME[:20], 2))),
    Port("xdp_tx.c", swap_and_send, _swapped),
    Port("test_xdp_adjust_tail_shrink.c", shrink, _length(-20)),
    Port("test_xdp_adjust_tail_grow.c", grow, _length(30)),
    Port("test_xdp_meta.c", metadata, says((FRAME, 2))),
    Port("test_xdp_vlan.c", vlan_popped, _tag_gone),
    Port("test_xdp.c", tunnel, _tunnelled),
    Port("test_xdp_noinline.c", parsed_in_function, notes(0, FRAME, 53)),
    Port("test_xdp_loop.c", loop_over_bytes, notes(1, FRAME, 4)),
    Port("xdp_redirect_map.c", redirected, says((FRAME, 0))),
    Port("test_xdp_update_frags.c/one buffer", copied_in_and_out, _stored),
    Port(
        "test_xdp_update_frags.c",
        with_fragments,
        notes(2, FRAME + bytes(5000 - len(FRAME)) + b"\x2a" + bytes(60), 0x2A000000),
    ),
    Port("xdping_kern.c", echo_answered, _echo),
    Port("test_seg6_loop.c", extension_headers, _six),
    Port("test_parse_tcp_hdr_opt.c", options, notes(5, TCP_FRAME, 1460)),
    Port("xdpwall.c", firewall, _firewall),
    Port("test_pkt_access.c", headers_read, notes(6, TCP_FRAME, 448)),
    Port("test_pkt_access.c/arp", headers_read, notes(6, ARP_FRAME, 2)),
    Port("test_skb_ctx.c", fields_of_the_packet, _fields),
    Port("skb_load_bytes.c", bytes_loaded, notes(10, FRAME, 0x0800)),
    Port("test_skb_helpers.c", tail_changed, notes(11, FRAME, len(FRAME) - 4)),
    Port("test_tc_tunnel.c/vlan", vlan_pushed, notes(12, FRAME, 42)),
    Port("test_cls_redirect.c/addresses", address_translated, _translated),
    Port("test_l4lb.c", balanced, notes(13, FRAME, 0x0A000102 if (0x0A000001 ^ 1000) & 1 else 0x0A000101)),
    Port("test_tunnel_kern.c/vxlan", vxlan_read, _vxlan),
    Port("test_tunnel_kern.c/gre", gre_read, _gre),
    Port("decap_sanity.c/own header", own_header, _own),
    Port("tc_bpf2bpf.c/tail call", jumped, says((FRAME, 2))),
    Port("load_bytes_relative.c/socket filter", kept_bytes, says((FRAME, 40), (ARP_FRAME, 0))),
    Port("test_lwt_redirect.c", route_drops, says((_eth() + _ip(_udp(), ttl=3), 2), (FRAME, 0))),
]
