"""Functions for packets, written in the language itself."""

# mypy: disable-error-code="no-untyped-def,call-arg"
# What they are given is known to the compiler of programs only.

from __future__ import annotations

from ..decl.types import i64, u8
from .protocols import IPv6Authentication, IPv6Extension, TCPOption


def transport(pkt, ip):
    """What an IPv6 packet carries: goes over the extension headers behind `ip`, eight at most.

    The packet is then read behind them. 59 (no next header) where it ends before, 44 at a later fragment.
    """
    protocol = ip.next_header
    for _ in range(8):
        if protocol != 0 and protocol != 43 and protocol != 60 and protocol != 44 and protocol != 51:
            break
        if protocol == 51:
            authentication = pkt.read(IPv6Authentication)
            if authentication is None:
                return 59
            protocol = authentication.next_header
            continue
        extension = pkt.read(IPv6Extension)
        if extension is None:
            return 59
        if protocol == 44 and (extension.data[0] << 8 | extension.data[1]) >> 3:
            return 44
        protocol = extension.next_header
    return protocol


def tcp_option(pkt, offset, doff, kind):
    """The value of a TCP option, of its first 7 bytes; -1 if it is not there.

    `offset` is where the TCP header starts in the packet, `doff` its field. Takes up to 40 bytes of options.
    """
    at = offset + 20
    end = offset + doff * 4
    for _ in range(40):
        if at >= end:
            break
        option = pkt.load(at, TCPOption)
        if option is None:
            break
        if option.kind == 0:
            break
        if option.kind == 1:
            at += 1
            continue
        if option.length < 2:
            break
        if option.kind == kind:
            value = 0
            for i in range(7):
                if i + 2 >= option.length:
                    break
                byte = pkt.load(at + 2 + i, u8)
                if byte is None:
                    return -1
                value = value << 8 | byte
            return i64(value)
        at += option.length
    return -1
