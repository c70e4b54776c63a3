"""Headers in CPython: layout, bytes and back, and what is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import probee as bp
from probee import Bits, i32, u8, u16, u32
from probee.errors import CompileError
from probee.lang.packets import protocols
from probee.lang.packets.header import HeaderType


class Odd(bp.Header, length="8 + n * 2"):
    a: Bits[3]
    b: Bits[13]
    n: u8
    c: Bits[20]
    d: Bits[4]
    e: u16[2]


class Little(bp.Header, order="little"):
    a: u16
    b: u32


def test_bits_are_in_the_order_of_the_wire():
    assert [(f.name, f.start) for f in Odd._fields_] == [
        ("a", 0),
        ("b", 3),
        ("n", 16),
        ("c", 24),
        ("d", 44),
        ("e", 48),
    ]
    value = Odd(a=5, b=0x1234, n=7, c=0xABCDE, d=15, e=[0x0102, 0x0304])
    assert bytes(value) == bytes([0xB2, 0x34, 7, 0xAB, 0xCD, 0xEF, 1, 2, 3, 4])
    assert Odd.parse(bytes(value)) == value
    assert value.header_length == 22
    assert bytes(Little(a=1, b=2)) == struct.pack("<HI", 1, 2)


SIZES = {
    "Ethernet": 14, "VLAN": 4, "ARP": 28, "IPv4": 20, "IPv6": 40, "IPv6Extension": 8, "IPv6Fragment": 8,
    "IPv6Authentication": 12, "TCP": 20, "TCPOption": 2, "UDP": 8, "ICMP": 8, "ICMPv6": 8, "SCTP": 12,
    "GRE": 4, "VXLAN": 8, "Geneve": 8, "GUE": 4,
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_protocols(name):
    header = getattr(protocols, name)
    assert header._size_ == SIZES[name]
    assert getattr(bp, name) is header
    assert header.__doc__


def test_all_protocols_are_listed():
    found = {n for n, v in vars(protocols).items() if isinstance(v, HeaderType) and v._fields_}
    assert found == set(SIZES)


@given(st.sampled_from(sorted(SIZES)), st.binary(min_size=40, max_size=48))
def test_parse_and_bytes_are_inverse(name, data):
    header = getattr(protocols, name)
    assert bytes(header.parse(data)) == data[: header._size_]


@given(st.binary(max_size=19))
def test_too_few_bytes_are_a_value_error(data):
    with pytest.raises(ValueError, match="IPv4 has 20 bytes"):
        bp.IPv4.parse(data)


def test_addresses():
    assert bp.ipv4("10.0.0.1") == 0x0A000001
    assert bp.ipv6("fd00::1") == b"\xfd" + bytes(14) + b"\x01"
    assert bp.mac("02:00:00:00:00:ff") == bytes([2, 0, 0, 0, 0, 255])
    for make, text in ((bp.ipv4, "10.0.0"), (bp.ipv6, "x"), (bp.mac, "1:2")):
        with pytest.raises(ValueError, match="is no"):
            make(text)


def refused(match: str):
    return pytest.raises(CompileError, match=match)


def test_what_a_header_can_not_have():
    with refused("starts 4 bits into a byte"):

        class A(bp.Header):
            a: Bits[4]
            b: u8

    with refused("no whole bytes"):

        class B(bp.Header):
            a: Bits[4]

    with refused("unsigned"):

        class C(bp.Header):
            a: i32

    with refused("no other default"):

        class D(bp.Header):
            a: u8 = 1

    with refused("the order"):

        class E(bp.Header, order="middle"):
            a: u8

    with refused("big-endian headers only"):

        class F(bp.Header, order="little"):
            a: Bits[8]

    with refused("not the struct"):

        class Plain(bp.Struct):
            x: u32

        class G(bp.Header):
            a: Plain

    with refused("this name is taken"):

        class H(bp.IPv4):
            ttl: u8


def test_the_cache_knows_where_bits_are():
    class A(bp.Header):
        x: Bits[4]
        y: Bits[4]

    class B(bp.Header):
        x: Bits[3]
        y: Bits[5]

    assert A._key_ != B._key_
