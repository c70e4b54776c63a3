"""Packets through programs: what is left of them, where they go, checksums, packets in pieces, scapy's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

import probee as bp
from machine_kinds import ETHERNET, FRAME, checksum, udp
from probee import SK, TC, UDP, XDP, Char, Ethernet, IPv4, ipv4, u8
from probee.errors import ProbeeError
from probee.machine.contexts.checksum import Checksum, words
from probee.machine.machine import Machine


class Tail(bp.Struct):
    data: Char[4]


devices = bp.DevMap(8)
cpus = bp.CpuMap(4)


@bp.xdp
def nat_xdp(pkt):
    _eth, ip, u = pkt.read(Ethernet, IPv4, UDP, short=XDP.PASS)
    u.update(dst_port=99)
    ip.update(ttl=ip.ttl - 1, dst=ipv4("192.0.2.7"), transport=u)
    return XDP.TX


@bp.tc
def nat_tc(pkt):
    _eth, ip, u = pkt.read(Ethernet, IPv4, UDP, short=TC.OK)
    u.update(dst_port=99)
    pkt.rewind()
    _eth2, ip, u = pkt.read(Ethernet, IPv4, UDP, short=TC.OK)
    ip.update(ttl=ip.ttl - 1, dst=ipv4("192.0.2.7"), transport=u)
    return TC.OK


@bp.tc
def careless(pkt):
    _eth, ip, _u = pkt.read(Ethernet, IPv4, UDP, short=TC.OK)
    ip.dst = ipv4("192.0.2.7")


@bp.tc
def stores(pkt):
    bp.skb_store_bytes(45, b"xyz", 1)


@bp.tc
def stores_silently(pkt):
    bp.skb_store_bytes(45, b"xyz", 0)


@bp.tc
def levels(pkt):
    bp.csum_level(1)  # BPF_CSUM_LEVEL_INC
    bp.csum_level(1)
    pkt.mark = bp.csum_level(0)  # BPF_CSUM_LEVEL_QUERY


@bp.xdp
def to_device(pkt):
    return pkt.redirect(devices, 2)


@bp.xdp
def to_all(pkt):
    return pkt.redirect(devices, 0, 8 | 16)


@bp.xdp
def to_cpu(pkt):
    return pkt.redirect(cpus, 1)


@bp.tc
def to_peer(pkt):
    return pkt.redirect_peer(5)


@bp.tc
def to_neighbour(pkt):
    return pkt.redirect_neigh(6)


@bp.tc
def copies(pkt):
    pkt.clone_redirect(3)
    return TC.OK


@bp.xdp(frags=True)
def in_pieces(pkt):
    tail = pkt.load(4000, Tail)
    if tail is None:
        return XDP.ABORTED
    if pkt.read(Ethernet) is None:
        return XDP.DROP
    pkt.store(4000, Tail(data="new!"))
    return XDP.TX if tail.data == "tail" else XDP.PASS


@bp.tc
def pulls(pkt):
    if len(pkt) != 4100:
        return TC.SHOT
    if pkt.pull(200) != 0:
        return TC.STOLEN
    pkt.skip(190)
    byte = pkt.read(Byte)
    if byte is None:
        return TC.TRAP
    byte.value = 7
    return TC.OK


class Byte(bp.Struct):
    value: u8


@bp.sk_msg
def window(msg):
    if len(msg) < 8:
        return SK.DROP
    msg.apply(4)
    msg.cork(100)
    if msg.pull(4, 8) != 0:
        return SK.DROP
    byte = msg.read(Byte)
    if byte is None:
        return SK.DROP
    byte.value = 33
    if msg.push(0, 2) != 0 or msg.pop(3, 1) != 0:
        return SK.DROP
    return SK.PASS


@pytest.fixture(scope="module")
def m() -> Iterator[Machine]:
    with bp.Machine(sys.modules[__name__], btf="shipped") as made:
        yield made


def test_checksums_that_xdp_keeps_right(m: Machine) -> None:
    result = m.xdp(FRAME, nat_xdp)
    assert (result.verdict, result.checksum.ip, result.checksum.transport) == ("TX", True, True)
    assert result.checksum.ok
    ip = IPv4.parse(result.packet, 14)
    assert (ip.ttl, ip.dst, UDP.parse(result.packet, 34).dst_port) == (63, 0xC0000207, 99)


@pytest.mark.parametrize("state", ["NONE", "UNNECESSARY", "COMPLETE"])
def test_checksums_that_tc_keeps_right(m: Machine, state: str) -> None:
    for payload in (b"?", b"odd", bytes(range(200))):
        result = m.tc(ETHERNET + udp(payload=payload), nat_tc, checksum=state)
        assert result.checksum.state == state
        assert (result.checksum.ip, result.checksum.transport) == (True, True)
        # Of a port's change the card's sum knows nothing: it and the checksum's change cancel each other out.
        assert result.checksum.ok


def test_a_checksum_that_the_card_will_finish(m: Machine) -> None:
    packet = bytearray(ETHERNET + udp(payload=b"data"))
    packet[40:42] = words(packet[26:34] + b"\0\x11" + packet[38:40]).to_bytes(2, "big")
    result = m.tc(bytes(packet), nat_tc, checksum="PARTIAL")
    assert (result.checksum.state, result.checksum.transport) == ("PARTIAL", True)
    assert int.from_bytes(result.packet[40:42], "big") == words(
        result.packet[26:34] + b"\0\x11" + result.packet[38:40]
    )


def test_checksums_that_were_forgotten(m: Machine) -> None:
    result = m.tc(FRAME, careless)
    assert (result.checksum.ip, result.checksum.transport, result.checksum.ok) == (False, False, False)
    assert repr(result.checksum) == "<checksum NONE, wrong: ip and transport>"
    assert not m.tc(FRAME, careless, checksum="COMPLETE").checksum.ok


def test_stores_tell_the_sum_of_the_card_where_asked(m: Machine) -> None:
    packet = ETHERNET + udp(payload=bytes(range(20)))
    for program, right in ((stores, True), (stores_silently, False)):
        result = m.tc(packet, program, checksum="COMPLETE")
        assert result.packet[45:48] == b"xyz"
        known = int.from_bytes(result.checksum.value.to_bytes(4, "little"), "big")
        assert ((known >> 16) + (known & 0xFFFF) == words(result.packet)) is right
        assert result.checksum.transport is False


def test_levels_of_checksums_found_right(m: Machine) -> None:
    assert [m.tc(FRAME, levels, checksum=s).mark for s in ("NONE", "UNNECESSARY")] == [1, 2]
    assert m.tc(FRAME, levels, checksum="PARTIAL").mark == 0xFFFFFFFF & -13
    assert m.tc(FRAME, levels).checksum.state == "UNNECESSARY"
    with pytest.raises(
        ProbeeError, match="a checksum's state is NONE, UNNECESSARY, COMPLETE, PARTIAL, not 'x'"
    ):
        m.tc(FRAME, levels, checksum="x")


def test_what_a_packet_without_checksums_says() -> None:
    assert Checksum(data=b"").ip is None
    assert Checksum(data=bytes(12) + b"\x08\x06" + bytes(28)).transport is None
    assert Checksum(data=udp(), link=False).transport is True
    tagged = FRAME[:12] + b"\x81\0\0\x05" + FRAME[12:]
    assert (Checksum(data=tagged).ip, Checksum(data=tagged).transport) == (True, True)
    none = bytearray(FRAME)
    none[40:42] = bytes(2)
    assert Checksum(data=bytes(none)).transport is None
    assert Checksum(data=FRAME[:-1]).transport is None


@pytest.mark.parametrize("next_header", [58, 0])
def test_checksums_over_ipv6(next_header: int) -> None:
    ends = bytes(15) + b"\x01" + bytes(15) + b"\x02"
    echo = b"\x80\0\0\0\x12\x34\0\x01ping"
    total = checksum(ends + len(echo).to_bytes(4, "big") + bytes(3) + b"\x3a" + echo)
    echo = echo[:2] + total.to_bytes(2, "big") + echo[4:]
    options = b"\x3a\0" + bytes(6) if not next_header else b""
    body = options + echo
    head = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes([next_header]) + b"\x40" + ends
    assert Checksum(data=head + body, link=False).transport is True
    wrong = body[:-1] + b"G"
    assert Checksum(data=head + wrong, link=False).transport is False


def test_where_packets_go(m: Machine) -> None:
    m.map(devices)[2] = 7
    m.map(devices)[3] = 8
    assert m.xdp(FRAME, to_device).redirect["ifindex"] == 7
    told = m.xdp(FRAME, to_all).redirect
    assert (told["broadcast"], told["exclude_ingress"]) == ([7, 8], True)
    assert m.tc(FRAME, to_peer).redirect == {"ifindex": 5, "peer": True}
    assert m.tc(FRAME, to_neighbour).redirect == {"ifindex": 6, "neighbour": b""}
    result = m.tc(FRAME, copies)
    assert (result.verdict, result.redirect) == ("OK", None)
    assert result.facts["clones"] == [{"ifindex": 3, "ingress": False, "data": FRAME}]


def test_packets_go_to_cpus_that_there_are() -> None:
    with bp.Machine(to_cpu, cpus=2, btf="shipped") as m:
        assert m.xdp(FRAME, to_cpu).verdict == "ABORTED"  # nothing in the map
        m.map(cpus)[1] = 192
        result = m.xdp(FRAME, to_cpu)
        assert (result.verdict, result.redirect["cpu"]) == ("REDIRECT", 1)


def test_packets_in_several_buffers(m: Machine) -> None:
    packet = FRAME.ljust(4000, b"\0") + b"tail"
    for linear in (64, 14, 4004):
        result = m.xdp(packet, in_pieces, linear=linear)
        assert (result.verdict, result.packet[4000:]) == ("TX", b"new!")
    assert m.xdp(packet, in_pieces, linear=10).verdict == "DROP"
    assert m.xdp(packet[:-1], in_pieces, linear=64).verdict == "ABORTED"


def test_packets_of_tc_are_pulled_together(m: Machine) -> None:
    result = m.tc(FRAME.ljust(4100, b"\0"), pulls, linear=60)
    assert (result.verdict, result.packet[190], len(result.packet)) == ("OK", 7, 4100)


def test_messages_are_seen_through_a_window(m: Machine) -> None:
    result = m.sk_msg(b"0123456789", window)
    assert (result.verdict, result.output) == ("PASS", b"\0\0" + b"0" + b"23!56789")
    assert (result.facts["apply_bytes"], result.facts["cork_bytes"]) == (4, 100)
    assert result.context["size"] == 11
    assert m.sk_msg(b"0123456789", window, linear=2).output == result.output
    assert m.sk_msg(b"0123456", window).verdict == "DROP"


class Layers:
    """A packet as scapy's: an object that bytes() takes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __bytes__(self) -> bytes:
        return self.data


def test_packets_are_what_bytes_takes(m: Machine) -> None:
    packet: Any = Layers(FRAME)
    assert m.xdp(packet, nat_xdp).verdict == "TX"
    for wrong in ("text", 7, None):
        with pytest.raises((TypeError, ProbeeError), match="a packet"):
            m.xdp(wrong, nat_xdp)


def test_packets_of_scapy(m: Machine) -> None:
    layers = pytest.importorskip("scapy.all", reason="scapy is not installed")
    packet = layers.Ether() / layers.IP(dst="10.0.0.2") / layers.UDP(sport=1000, dport=53) / b"payload"
    result = m.tc(packet, nat_tc)
    left = layers.Ether(result.packet)
    assert (left[layers.IP].dst, left[layers.UDP].dport) == ("192.0.2.7", 99)
    assert result.checksum.ok


def test_the_marks_of_a_packet(m: Machine) -> None:
    result = m.tc(FRAME, careless, mark=0xFFFFFFFF, queue_mapping=3, priority=9)
    assert (result.mark, result.queue_mapping, result.priority) == (0xFFFFFFFF, 3, 9)
