"""Packets in the kernel: headers read and written, bounds, checksums, the same in all kinds of programs."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from textwrap import dedent
from typing import Any

import pytest

import lang_module
from probee import lang
from probee.kernel.load import Collection, load
from probee.lang import decl
from probee.lang.packets.protocols import (
    ARP,
    GRE,
    ICMP,
    TCP,
    UDP,
    VLAN,
    VXLAN,
    Ethernet,
    EtherType,
    Geneve,
    IPv4,
    IPv6,
    IPv6Extension,
    Protocol,
)
from probee.obj import read_object

pytestmark = pytest.mark.root

TEXT = """\
import probee as bp
from probee import *
from probee import Bits, u8, u16, u32, u64

out = bp.Array[u64](16)


class Numbers(bp.Header, length="4 + extra * 4"):
    version: Bits[3]
    flag: Bits[1]
    wide: Bits[12]
    extra: u8
    last: u8


class Little(bp.Header, order="little"):
    a: u16
    b: u32


class Trailer(bp.Struct):
    x: u32
    y: u32

"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path) -> Iterator[Callable[[str], Collection]]:
    with ExitStack() as stack:

        def build(text: str) -> Collection:
            module = lang_module.make(TEXT + dedent(text), tmp_path)
            data = lang.compile(decl.programs_in(vars(module)), ktypes=ktypes)
            return stack.enter_context(load(read_object(data)))

        yield build


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ethernet(type: int = EtherType.IPV4, **more: Any) -> bytes:
    return bytes(Ethernet(dst=[2, 0, 0, 0, 0, 1], src=[2, 0, 0, 0, 0, 2], type=type, **more))


def ipv4(payload: bytes = b"", *, protocol: int = Protocol.UDP, options: bytes = b"", **more: Any) -> bytes:
    head = IPv4(
        version=4,
        ihl=5 + len(options) // 4,
        ttl=64,
        protocol=protocol,
        total_length=20 + len(options) + len(payload),
        src=0x0A000001,
        dst=0x0A000002,
    )
    for name, value in more.items():
        setattr(head, name, value)
    head.checksum = checksum(bytes(head) + options)
    return bytes(head) + options + payload


def udp_sum(ip: IPv4, segment: bytes, protocol: int = Protocol.UDP) -> int:
    pseudo = struct.pack("!IIBBH", ip.src, ip.dst, 0, protocol, len(segment))
    return checksum(pseudo + segment + bytes(len(segment) % 2))


def udp(payload: bytes = b"payload.", *, src_port: int = 1000, dst_port: int = 53, ip: Any = None) -> bytes:
    head = UDP(src_port=src_port, dst_port=dst_port, length=8 + len(payload))
    head.checksum = udp_sum(ip or IPv4(src=0x0A000001, dst=0x0A000002), bytes(head) + payload)
    return bytes(head) + payload


def outs(live: Collection, n: int = 8) -> list[int]:
    return [live.maps["out"][i] for i in range(n)]


LINK = """
    eth = pkt.read(Ethernet)
    if eth is None or eth.type != EtherType.IPV4:
        return {other}
"""
PARSER = """
    ip = pkt.read(IPv4)
    if ip is None:
        out[0] = 1
        return {other}
    if ip.protocol == Protocol.UDP:
        if udp := pkt.read(UDP):
            out[1] = udp.dst_port
            out[2] = ip.src
            out[3] = ip.ihl
            out[4] = ip.fragment_offset
            out[5] = ip.more_fragments
            return {yes}
    return {other}
"""


@pytest.mark.parametrize(
    ("hook", "yes", "other"),
    [
        ("xdp", "XDP.DROP", "XDP.PASS"),
        ("xdp(frags=True)", "XDP.DROP", "XDP.PASS"),
        ("tc", "TC.SHOT", "TC.OK"),
        ("tcx", "TC.SHOT", "TC.NEXT"),
        ("socket_filter", "1", "0"),
        ('lwt("xmit")', "LWT.DROP", "LWT.OK"),
        ('lwt("in")', "LWT.DROP", "LWT.OK"),
    ],
)
def test_the_same_parser_in_all_kinds(build, hook, yes, other):
    from probee.lang.kinds import verdicts

    inside = hook.startswith(("lwt", "socket"))  # behind the link layer
    text = PARSER if inside else LINK + PARSER
    live = build(f"@bp.{hook}\ndef program(pkt):{text.format(yes=yes, other=other)}")
    names = vars(verdicts)
    yes_value, other_value = (eval(v, dict(names)) & 0xFFFFFFFF for v in (yes, other))
    run = live.programs["program"].test_run
    frame = ethernet() + ipv4(udp(dst_port=4242), options=bytes([1, 1, 1, 0]), more_fragments=1)
    assert run(frame).retval == yes_value
    assert outs(live, 6) == [0, 4242, 0x0A000001, 6, 0, 1]
    assert run(frame[: 14 + 24 + 7]).retval == other_value
    assert outs(live, 1) == [0]
    assert run(ethernet(0x1234) + bytes(50)).retval == other_value


def test_a_bad_length_of_a_header_is_a_short_packet(build):
    live = build(f"@bp.xdp\ndef program(pkt):{(LINK + PARSER).format(yes=1, other=2)}")
    bad = bytearray(ethernet() + ipv4(udp()))
    bad[14] = 0x44  # ihl 4: less than an IPv4 header has
    assert live.programs["program"].test_run(bytes(bad)).retval == 2
    assert outs(live, 1) == [1]


def test_short_says_what_to_return(build):
    live = build(
        """
        @bp.xdp
        def program(pkt):
            eth, tag, ip, udp = pkt.read(Ethernet, VLAN, IPv4, UDP, short=XDP.ABORTED)
            out[0] = tag.id
            out[1] = tag.priority
            out[2] = udp.length
            rest = pkt.read(Trailer, short=XDP.TX)
            out[3] = rest.y
            return XDP.DROP
        """
    )
    run = live.programs["program"].test_run
    tag = bytes(VLAN(id=0xABC, priority=5, type=EtherType.IPV4))
    frame = ethernet(EtherType.VLAN) + tag + ipv4(udp(struct.pack("<II", 1, 77)))
    assert run(frame).retval == 1
    assert outs(live, 4) == [0xABC, 5, 16, 77]
    assert run(frame[:-8]).retval == 3
    assert run(frame[:-9]).retval == 0


def test_user_defined_headers_with_bits(build):
    live = build(
        """
        @bp.xdp
        def program(pkt):
            pkt.skip(14)
            n = pkt.read(Numbers, short=0)
            out[0] = n.version
            out[1] = n.flag
            out[2] = n.wide
            n.wide = n.wide + 1
            n.version = 9
            n.flag ^= 1
            rest = pkt.read(Little, short=3)
            out[3] = rest.a
            out[4] = rest.b
            rest.b = 0x01020304
            return 2
        """
    )
    raw = bytes([0b101_1_0110, 0b11001010, 2, 9]) + bytes(8) + struct.pack("<HI", 0x1234, 0x89ABCDEF)
    result = live.programs["program"].test_run(ethernet() + raw)
    assert result.retval == 2
    assert outs(live, 5) == [5, 1, 0b0110_11001010, 0x1234, 0x89ABCDEF]
    changed = result.data[14:]
    assert changed[:4] == bytes([0b001_0_0110, 0b11001011, 2, 9])
    assert changed[14:18] == struct.pack("<I", 0x01020304)


def test_ipv6_extensions_and_addresses(build):
    live = build(
        """
        @bp.xdp
        def program(pkt):
            eth, ip = pkt.read(Ethernet, IPv6, short=XDP.ABORTED)
            out[0] = ip.flow_label
            out[1] = ip.traffic_class
            out[2] = ip.version
            proto = transport(pkt, ip)
            out[3] = proto
            if proto == Protocol.UDP:
                udp = pkt.read(UDP, short=XDP.ABORTED)
                out[4] = udp.src_port
            if ip.src == ipv6("fd00::1"):
                out[5] = 1
            if ip.src != ip.dst:
                out[6] = 1
            return XDP.PASS
        """
    )
    extension = bytes(IPv6Extension(next_header=Protocol.DESTINATION, length=1)) + bytes(8)
    second = bytes(IPv6Extension(next_header=Protocol.UDP, length=0))
    head = IPv6(version=6, traffic_class=0xA5, flow_label=0xBCDEF, next_header=Protocol.HOP_BY_HOP)
    head.src[0], head.src[15] = 0xFD, 1
    frame = ethernet(EtherType.IPV6) + bytes(head) + extension + second + udp(src_port=999)
    assert live.programs["program"].test_run(frame).retval == 2
    assert outs(live, 7) == [0xBCDEF, 0xA5, 6, Protocol.UDP, 999, 1, 1]
    assert live.programs["program"].test_run(frame[: 14 + 40 + 20]).retval == 2


def test_tunnels(build):
    live = build(
        """
        @bp.xdp
        def program(pkt):
            eth, ip = pkt.read(Ethernet, IPv4, short=XDP.ABORTED)
            if ip.protocol == Protocol.GRE:
                gre = pkt.read(GRE, short=XDP.ABORTED)
                out[0] = gre.protocol
            elif ip.protocol == Protocol.UDP:
                udp = pkt.read(UDP, short=XDP.ABORTED)
                if udp.dst_port == 4789:
                    vxlan = pkt.read(VXLAN, short=XDP.ABORTED)
                    out[0] = vxlan.vni
                else:
                    geneve = pkt.read(Geneve, short=XDP.ABORTED)
                    out[0] = geneve.vni
                pkt.read(Ethernet, short=XDP.ABORTED)
            inner = pkt.read(IPv4, short=XDP.ABORTED)
            out[1] = inner.dst
            return XDP.PASS
        """
    )
    run = live.programs["program"].test_run
    inner = ipv4(dst=0x01020304)
    gre = bytes(GRE(key_present=1, sequence_present=1, protocol=EtherType.IPV4)) + bytes(8)
    assert run(ethernet() + ipv4(gre + inner, protocol=Protocol.GRE)).retval == 2
    assert outs(live, 2) == [EtherType.IPV4, 0x01020304]
    inside = ethernet() + ipv4(dst=5)
    vxlan = bytes(VXLAN(valid=1, vni=0xABCDEF)) + inside
    assert run(ethernet() + ipv4(udp(vxlan, dst_port=4789))).retval == 2
    assert outs(live, 2) == [0xABCDEF, 5]
    geneve = bytes(Geneve(opt_len=2, vni=77)) + bytes(8) + inside
    assert run(ethernet() + ipv4(udp(geneve, dst_port=6081))).retval == 2
    assert outs(live, 2) == [77, 5]


def test_writing_swaps_and_builds(build):
    live = build(
        """
        @bp.xdp
        def program(pkt):
            eth, arp = pkt.read(Ethernet, ARP, short=XDP.ABORTED)
            if arp.operation != 1:
                return XDP.PASS
            arp.operation = 2
            ip = arp.sender_ip
            arp.sender_ip = arp.target_ip
            arp.target_ip = ip
            arp.target_mac = arp.sender_mac
            arp.sender_mac = b"\\x02\\0\\0\\0\\0\\x09"
            eth.dst = eth.src
            eth.src = arp.sender_mac
            return XDP.TX
        """
    )
    asked = ARP(hardware=1, protocol=0x800, hardware_size=6, protocol_size=4, operation=1)
    asked.sender_mac[5], asked.sender_ip, asked.target_ip = 7, 1, 2
    result = live.programs["program"].test_run(ethernet(EtherType.ARP) + bytes(asked))
    assert result.retval == 3
    frame, reply = Ethernet.parse(result.data), ARP.parse(result.data, 14)
    assert frame.dst == [2, 0, 0, 0, 0, 2]
    assert frame.src == reply.sender_mac == [2, 0, 0, 0, 0, 9]
    assert (reply.operation, reply.sender_ip, reply.target_ip, reply.target_mac[5]) == (2, 2, 1, 7)


@pytest.mark.parametrize("kind", ["xdp", "tc"])
def test_checksums_follow_fields(build, kind):
    live = build(
        f"""
        @bp.{kind}
        def program(pkt):
            eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=0)
            udp.update(dst_port=5353, src_port=udp.src_port + 1)
            {"" if kind == "xdp" else "pkt.rewind()"}
            {"" if kind == "xdp" else "eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=0)"}
            ip.update(ttl=ip.ttl - 1, dscp=9, dst=0xC0A80101, transport=udp)
            return 1
        """
    )
    for payload in (b"payload.", b"x" * 31 + b"\xff", bytes(range(200))):
        result = live.programs["program"].test_run(ethernet() + ipv4(udp(payload)))
        assert result.retval == 1
        ip, head = IPv4.parse(result.data, 14), UDP.parse(result.data, 34)
        assert (ip.ttl, ip.dscp, ip.dst, head.dst_port, head.src_port) == (63, 9, 0xC0A80101, 5353, 1001)
        assert checksum(result.data[14:34]) == 0
        assert udp_sum(ip, result.data[34:]) == 0
    none = bytearray(ethernet() + ipv4(udp()))
    none[40:42] = bytes(2)  # no checksum
    assert live.programs["program"].test_run(bytes(none)).data[40:42] == bytes(2)


def test_a_header_is_made_and_its_sum_computed(build):
    live = build(
        """
        @bp.xdp
        def program(pkt):
            pkt.adjust_head(-20)
            eth, ip = pkt.read(Ethernet, IPv4, short=XDP.ABORTED)
            return XDP.PASS

        @bp.xdp
        def encapsulate(pkt):
            eth = pkt.read(Ethernet, short=XDP.DROP)
            mac = Ethernet(dst=eth.dst, src=eth.src, type=EtherType.IPV4)
            size = len(pkt) - 14
            if pkt.adjust_head(-20) != 0:
                return XDP.ABORTED
            pkt.rewind()
            if new := pkt.read(Ethernet):
                new.dst = mac.dst
                new.src = mac.src
                new.type = mac.type
            if ip := pkt.read(Outer):
                ip.version = 4
                ip.ihl = 5
                ip.dscp = 0
                ip.ecn = 0
                ip.id = 0
                ip.fragment = 0
                ip.ttl = 32
                ip.protocol = Protocol.IPIP
                ip.total_length = size + 20
                ip.src = 1
                ip.dst = 2
                ip.checksum = ip.compute_checksum()
            return XDP.TX


        class Outer(bp.Header):
            version: Bits[4]
            ihl: Bits[4]
            dscp: Bits[6]
            ecn: Bits[2]
            total_length: u16
            id: u16
            fragment: u16
            ttl: u8
            protocol: u8
            checksum: u16
            src: u32
            dst: u32
        """
    )
    inner = ipv4(udp())
    result = live.programs["encapsulate"].test_run(ethernet() + inner)
    assert result.retval == 3
    assert result.data[:14] == ethernet()
    assert result.data[34:] == inner
    outer = IPv4.parse(result.data, 14)
    assert (outer.protocol, outer.ttl, outer.total_length) == (Protocol.IPIP, 32, 20 + len(inner))
    assert checksum(result.data[14:34]) == 0


def test_tail_meta_load_and_store(build):
    live = build(
        """
        @bp.xdp
        def program(pkt):
            if pkt.adjust_meta(-8) != 0:
                return 0
            meta = pkt.meta(Trailer)
            if meta is None:
                return 0
            meta.x = 7
            meta.y = 8
            pkt.adjust_tail(-4)
            again = pkt.meta(Trailer)
            if again is None:
                return 0
            out[0] = again.x + again.y
            out[1] = len(pkt)
            number = pkt.load(12, u16)
            if number is None:
                return 0
            out[2] = number
            udp = pkt.load(34, UDP)
            if udp is None:
                return 0
            out[3] = udp.dst_port
            gone = pkt.load(4000, u32)
            if gone is None:
                out[4] = 1
            udp.dst_port = 99
            out[5] = pkt.store(34, udp)
            return 2
        """
    )
    frame = ethernet() + ipv4(udp())
    result = live.programs["program"].test_run(frame)
    assert result.retval == 2
    assert outs(live, 6) == [15, len(frame) - 4, EtherType.IPV4, 53, 1, 0]
    assert UDP.parse(result.data, 8 + 34).dst_port == 99  # behind the metadata


def test_tcp_options_are_walked(build):
    live = build(
        """
        @bp.xdp
        def program(pkt):
            eth, ip = pkt.read(Ethernet, IPv4, short=0)
            at = 14 + ip.ihl * 4
            tcp = pkt.read(TCP, short=0)
            out[0] = tcp.syn
            out[1] = tcp.ack
            out[2] = tcp.doff
            out[3] = tcp_option(pkt, at, tcp.doff, 2)
            out[4] = tcp_option(pkt, at, tcp.doff, 3)
            out[5] = 99 + tcp_option(pkt, at, tcp.doff, 8)
            return 2
        """
    )
    options = bytes([1, 2, 4, 0x05, 0xB4, 1, 1, 3, 3, 7, 0, 0])
    tcp = bytes(TCP(doff=8, syn=1, src_port=1, dst_port=2)) + options
    assert live.programs["program"].test_run(ethernet() + ipv4(tcp, protocol=Protocol.TCP)).retval == 2
    assert outs(live, 6) == [1, 0, 8, 1460, 7, 98]


def test_icmp_echo_is_answered(build):
    live = build(
        """
        @bp.xdp
        def program(pkt):
            eth, ip, icmp = pkt.read(Ethernet, IPv4, ICMP, short=XDP.PASS)
            if ip.protocol != Protocol.ICMP or icmp.type != 8:
                return XDP.PASS
            icmp.update(type=0)
            src = ip.src
            ip.update(src=ip.dst, dst=src, ttl=64)
            return XDP.TX
        """
    )
    echo = ICMP(type=8, id=3, sequence=4)
    echo.checksum = checksum(bytes(echo) + b"ping")
    result = live.programs["program"].test_run(ethernet() + ipv4(bytes(echo) + b"ping", protocol=1))
    assert result.retval == 3
    assert checksum(result.data[34:]) == checksum(result.data[14:34]) == 0
    assert IPv4.parse(result.data, 14).dst == 0x0A000001


def test_packets_go_to_subprograms(build):
    live = build(
        """
        def port_of(pkt):
            udp = pkt.read(UDP)
            if udp is None:
                return 0
            return udp.dst_port

        @bp.tc
        def program(pkt):
            eth, ip = pkt.read(Ethernet, IPv4, short=TC.OK)
            out[0] = port_of(pkt)
            out[1] = len(pkt)
            out[2] = pkt.protocol
            pkt.mark = 5
            pkt.cb[1] = 6
            out[3] = pkt.mark + pkt.cb[1]
            return TC.SHOT
        """
    )
    frame = ethernet() + ipv4(udp())
    assert live.programs["program"].test_run(frame).retval == 2
    assert outs(live, 4) == [53, len(frame), EtherType.IPV4, 11]


def test_cgroup_skb_and_flow_dissector_read(build):
    live = build(
        """
        @bp.cgroup_skb("egress")
        def program(pkt):
            ip, udp = pkt.read(IPv4, UDP, short=1)
            out[0] = udp.dst_port
            return CGROUP.DENY

        @bp.flow_dissector
        def dissect(pkt):
            keys = pkt.flow_keys
            eth, ip = pkt.read(Ethernet, IPv4, short=FLOW.DROP)
            keys.addr_proto = EtherType.IPV4
            keys.n_proto = EtherType.IPV4
            keys.ip_proto = ip.protocol
            keys.ipv4_src = ip.src
            keys.thoff = 34
            return FLOW.OK
        """
    )
    frame = ethernet() + ipv4(udp())
    assert live.programs["program"].test_run(frame).retval == 0
    assert outs(live, 1) == [53]
    result = live.programs["dissect"].test_run(frame)
    assert result.retval == 0
    keys = result.data
    assert keys[9] == Protocol.UDP
    assert keys[10:12] == b"\x08\x00"
    assert keys[16:20] == bytes([10, 0, 0, 1])


def test_headers_are_made_on_the_stack_and_copied(build):
    live = build(
        """
        @bp.xdp
        def program(pkt):
            ip = IPv4(version=4, ihl=5, ttl=9, more_fragments=1, fragment_offset=0x123, src=ipv4("1.2.3.4"))
            out[0] = ip.ihl
            out[1] = ip.fragment_offset
            ip.dscp = 63
            out[2] = pkt.store(14, ip)
            six = IPv6(version=6, src=ipv6("fd00::1"))
            if six.src == ipv6("fd00::1") and six.dst == ipv6("::"):
                out[3] = 1
            pkt.rewind()
            eth = pkt.read(Ethernet, short=0)
            if eth.src == mac("02:00:00:00:00:02"):
                out[4] = 1
            return 2
        """
    )
    result = live.programs["program"].test_run(ethernet() + bytes(60))
    assert result.retval == 2
    assert outs(live, 5) == [5, 0x123, 0, 1, 1]
    want = IPv4(version=4, ihl=5, ttl=9, more_fragments=1, fragment_offset=0x123, src=0x01020304, dscp=63)
    assert result.data[14:34] == bytes(want)


def test_fragments_are_reached_by_copies(build):
    live = build(
        """
        @bp.xdp(frags=True)
        def program(pkt):
            number = pkt.load(5000, u32)
            if number is None:
                return 0
            out[0] = number
            out[1] = len(pkt) < 5000
            out[2] = pkt.buffer_length()
            return 2
        """
    )
    frame = bytearray(6000)
    frame[5000:5004] = bytes([1, 2, 3, 4])
    assert live.programs["program"].test_run(bytes(frame)).retval == 2
    assert outs(live, 3) == [0x01020304, 1, 6000]


def test_fields_of_contexts_go_into_narrow_ones(build):
    """Some contexts can be read in whole words only, whatever is done with the number."""
    live = build(
        """
        class Peer(bp.Struct):
            port: u16
            low: u8
            address: u32

        peers = bp.Hash[u32, Peer](8)

        @bp.sockops
        def ops(ctx):
            peers[1] = Peer(port=ctx.remote_port, low=ctx.op, address=ctx.remote_ip4)
            if ctx.local_port & 0xFF == 3:
                return 0

        @bp.sk_msg
        def message(ctx):
            peers[2] = Peer(port=ctx.remote_port, low=ctx.size, address=ctx.local_ip4)

        @bp.sk_lookup
        def lookup(ctx):
            peers[3] = Peer(port=ctx.remote_port, low=ctx.local_port, address=ctx.local_ip4)

        @bp.cgroup_device
        def device(ctx):
            peers[4] = Peer(port=ctx.major, low=ctx.access_type & 7)

        @bp.cgroup_sock("post_bind4")
        def bound(ctx):
            peers[5] = Peer(port=ctx.src_port, low=ctx.family, address=ctx.src_ip4)

        @bp.sk_reuseport
        def choose(ctx):
            peers[6] = Peer(port=ctx.eth_protocol, low=ctx.ip_protocol)

        @bp.cgroup_sockopt("getsockopt")
        def option(ctx):
            peers[7] = Peer(port=ctx.level, low=ctx.optname)
        """
    )
    assert len(live.programs) == 7
