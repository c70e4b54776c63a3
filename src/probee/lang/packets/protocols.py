"""Headers of common protocols. Sources: IEEE 802.3, 802.1Q, and the RFCs that each names."""

# mypy: ignore-errors
# The annotations are values that describe a layout; to type checkers a field is Any. They are no strings,
# which would have to be evaluated one by one at every start.

from ..decl.types import Bits, u8, u16, u32
from .header import Header


class EtherType:
    """What an Ethernet frame or a VLAN tag carries."""

    IPV4 = 0x0800
    ARP = 0x0806
    VLAN = 0x8100
    IPV6 = 0x86DD
    MPLS = 0x8847
    QINQ = 0x88A8
    TEB = 0x6558  # an Ethernet frame, in GRE and Geneve


class Protocol:
    """What an IP packet carries."""

    HOP_BY_HOP = 0
    ICMP = 1
    IPIP = 4
    TCP = 6
    UDP = 17
    IPV6 = 41
    ROUTING = 43
    FRAGMENT = 44
    GRE = 47
    ESP = 50
    AH = 51
    ICMPV6 = 58
    NONE = 59
    DESTINATION = 60
    SCTP = 132
    MOBILITY = 135


class Ethernet(Header):
    """IEEE 802.3, 14 bytes."""

    dst: u8[6]
    src: u8[6]
    type: u16


class VLAN(Header):
    """IEEE 802.1Q, the 4 bytes behind the EtherType 0x8100; in QinQ one follows another."""

    priority: Bits[3]
    drop_eligible: Bits[1]
    id: Bits[12]
    type: u16


class ARP(Header):
    """RFC 826 for IPv4 over Ethernet, 28 bytes."""

    hardware: u16
    protocol: u16
    hardware_size: u8
    protocol_size: u8
    operation: u16  # 1: request, 2: reply
    sender_mac: u8[6]
    sender_ip: u32
    target_mac: u8[6]
    target_ip: u32


class IPv4(Header, length="ihl * 4"):
    """RFC 791, 20 bytes and options."""

    version: Bits[4]
    ihl: Bits[4]
    dscp: Bits[6]
    ecn: Bits[2]
    total_length: u16
    id: u16
    reserved: Bits[1]
    dont_fragment: Bits[1]
    more_fragments: Bits[1]
    fragment_offset: Bits[13]
    ttl: u8
    protocol: u8
    checksum: u16
    src: u32
    dst: u32


class IPv6(Header):
    """RFC 8200, 40 bytes; extension headers follow."""

    version: Bits[4]
    traffic_class: Bits[8]
    flow_label: Bits[20]
    payload_length: u16
    next_header: u8
    hop_limit: u8
    src: u8[16]
    dst: u8[16]


class IPv6Extension(Header, length="(length + 1) * 8"):
    """RFC 8200, a hop-by-hop, routing or destination options header."""

    next_header: u8
    length: u8
    data: u8[6]


class IPv6Authentication(Header, length="(length + 2) * 4"):
    """RFC 4302, the authentication header, 12 bytes and the value."""

    next_header: u8
    length: u8
    reserved: u16
    parameters: u32
    sequence: u32


class IPv6Fragment(Header):
    """RFC 8200, 8 bytes."""

    next_header: u8
    reserved: u8
    offset: Bits[13]
    reserved2: Bits[2]
    more_fragments: Bits[1]
    id: u32


class TCP(Header, length="doff * 4"):
    """RFC 9293, 20 bytes and options."""

    src_port: u16
    dst_port: u16
    seq: u32
    ack_seq: u32
    doff: Bits[4]
    reserved: Bits[4]
    cwr: Bits[1]
    ece: Bits[1]
    urg: Bits[1]
    ack: Bits[1]
    psh: Bits[1]
    rst: Bits[1]
    syn: Bits[1]
    fin: Bits[1]
    window: u16
    checksum: u16
    urgent: u16


class TCPOption(Header):
    """RFC 9293, the start of an option; end (0) and no-operation (1) have no length."""

    kind: u8
    length: u8


class UDP(Header):
    """RFC 768, 8 bytes."""

    src_port: u16
    dst_port: u16
    length: u16
    checksum: u16


class ICMP(Header):
    """RFC 792, the 8 bytes that messages begin with; `id` and `sequence` are those of echo."""

    type: u8
    code: u8
    checksum: u16
    id: u16
    sequence: u16


class ICMPv6(Header):
    """RFC 4443, the 8 bytes that messages begin with; `id` and `sequence` are those of echo."""

    type: u8
    code: u8
    checksum: u16
    id: u16
    sequence: u16


class SCTP(Header):
    """RFC 9260, the common header, 12 bytes."""

    src_port: u16
    dst_port: u16
    tag: u32
    checksum: u32


class GRE(Header, length="4 + (checksum_present + key_present + sequence_present) * 4"):
    """RFC 2784 and 2890, 4 bytes and what the flags say."""

    checksum_present: Bits[1]
    reserved: Bits[1]
    key_present: Bits[1]
    sequence_present: Bits[1]
    reserved2: Bits[9]
    version: Bits[3]
    protocol: u16


class VXLAN(Header):
    """RFC 7348, 8 bytes; an Ethernet frame follows."""

    reserved: Bits[4]
    valid: Bits[1]
    reserved2: Bits[27]
    vni: Bits[24]
    reserved3: u8


class Geneve(Header, length="8 + opt_len * 4"):
    """RFC 8926, 8 bytes and options."""

    version: Bits[2]
    opt_len: Bits[6]
    control: Bits[1]
    critical: Bits[1]
    reserved: Bits[6]
    protocol: u16
    vni: Bits[24]
    reserved2: u8


class GUE(Header, length="4 + hlen * 4"):
    """Generic UDP encapsulation (draft-ietf-intarea-gue), variant 0: 4 bytes and extensions."""

    variant: Bits[2]
    control: Bits[1]
    hlen: Bits[5]
    protocol: u8
    flags: u16
