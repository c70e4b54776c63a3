"""What the kernel knows of a packet's checksum, and whether the checksums in its bytes are right.

`state` is skb->ip_summed: NONE (nobody looked), UNNECESSARY (the network card found `level` + 1 checksums
right), COMPLETE (the card gave the sum of all bytes, `value`), PARTIAL (the card is to finish it when it
sends: the field holds the sum of the pseudo header).
"""

from __future__ import annotations

from ...errors import ProbeeError

NONE, UNNECESSARY, COMPLETE, PARTIAL = STATES = ("NONE", "UNNECESSARY", "COMPLETE", "PARTIAL")
_MOST_LEVEL = 3  # SKB_MAX_CSUM_LEVEL
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLANS = (0x8100, 0x88A8)
_ETHERNET = 14
_ICMP, _TCP, _UDP, _ICMPV6 = 1, 6, 17, 58
_AT = {_ICMP: 2, _TCP: 16, _UDP: 6, _ICMPV6: 2}  # where the checksum is in the header
_NEXT_HEADERS = (0, 43, 60)  # of IPv6, before the transport: hop by hop, routing, destination


def fold(total: int) -> int:
    """A sum in 16 bits, with the carries added."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def words(data: bytes) -> int:
    """The ones' complement sum of 16-bit words in network order, 0 to 0xffff."""
    padded = data + b"\0" * (len(data) & 1)
    return fold(sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2)))


class Checksum:
    """The state of a packet's checksum. `ip` and `transport` say of the bytes whether the header's checksum
    and that of TCP, UDP or ICMP are right: None where there is none. `ok` is whether all is as it should be.
    """

    def __init__(self, state: str = NONE, data: bytes = b"", *, link: bool = True) -> None:
        if state not in STATES:
            raise ProbeeError(f"a checksum's state is {', '.join(STATES)}, not {state!r}")
        self.state = state
        self.level = 0
        self.link = link
        self.data = data
        self.value = int.from_bytes(words(data).to_bytes(2, "big"), "little") if state == COMPLETE else 0

    def find_right(self) -> None:
        """One more checksum was found right (bpf_csum_level with BPF_CSUM_LEVEL_INC)."""
        if self.state == UNNECESSARY:
            self.level = min(self.level + 1, _MOST_LEVEL)
        elif self.state == NONE:
            self.state, self.level = UNNECESSARY, 0

    def forget_one(self) -> None:
        """The outermost checksum that was found right is gone."""
        if self.state == UNNECESSARY:
            if self.level:
                self.level -= 1
            else:
                self.state = NONE

    def forget(self) -> None:
        """None is known to be right any longer."""
        if self.state == UNNECESSARY:
            self.state, self.level = NONE, 0

    # ---- what is in the bytes

    @property
    def ip(self) -> bool | None:
        """Whether the checksum of the IPv4 header is right; None without such a header."""
        at, kind = self._network()
        if kind != _IPV4 or len(self.data) < at + 20:
            return None
        size = 4 * (self.data[at] & 15)
        return len(self.data) >= at + size >= at + 20 and words(self.data[at : at + size]) == 0xFFFF

    @property
    def transport(self) -> bool | None:
        """Whether the checksum of TCP, UDP or ICMP is right, or with PARTIAL prepared right.

        None where there is none: another protocol, a fragment, UDP over IPv4 with 0, a packet cut short.
        """
        found = self._transport()
        if found is None:
            return None
        protocol, pseudo, body = found
        at = _AT[protocol]
        if self.state == PARTIAL:
            return fold(int.from_bytes(body[at : at + 2], "big")) == words(pseudo)
        return words(pseudo + body) == 0xFFFF

    @property
    def ok(self) -> bool:
        """No checksum is wrong, and the sum that the card gave is still that of the bytes."""
        if self.state == COMPLETE:
            known = fold(self.value).to_bytes(2, "little")
            if int.from_bytes(known, "big") % 0xFFFF != words(self.data) % 0xFFFF:
                return False
        return self.ip is not False and self.transport is not False

    def _network(self) -> tuple[int, int]:
        """Where the network layer's header is, and what it is."""
        data = self.data
        if not self.link:
            version = data[0] >> 4 if data else 0
            return 0, {4: _IPV4, 6: _IPV6}.get(version, 0)
        at, kind = _ETHERNET, int.from_bytes(data[12:14], "big")
        while kind in _VLANS and len(data) >= at + 4:
            kind = int.from_bytes(data[at + 2 : at + 4], "big")
            at += 4
        return at, kind

    def _transport(self) -> tuple[int, bytes, bytes] | None:
        """The protocol, the pseudo header and the transport's bytes."""
        data = self.data
        at, kind = self._network()
        if kind == _IPV4 and len(data) >= at + 20:
            size, whole = 4 * (data[at] & 15), int.from_bytes(data[at + 2 : at + 4], "big")
            fragment = int.from_bytes(data[at + 6 : at + 8], "big") & 0x3FFF
            protocol, ends = data[at + 9], data[at + 12 : at + 20]
            start, end = at + size, at + whole
            if fragment:
                return None
        elif kind == _IPV6 and len(data) >= at + 40:
            protocol, ends = data[at + 6], data[at + 8 : at + 40]
            start, end = at + 40, at + 40 + int.from_bytes(data[at + 4 : at + 6], "big")
            while protocol in _NEXT_HEADERS and len(data) >= start + 8:
                protocol, start = data[start], start + 8 * (data[start + 1] + 1)
        else:
            return None
        body = data[start:end]
        if protocol not in _AT or end > len(data) or len(body) < _AT[protocol] + 2:
            return None
        if protocol == _UDP and kind == _IPV4 and not any(body[6:8]):
            return None
        pseudo = ends + len(body).to_bytes(4, "big") + protocol.to_bytes(4, "big")
        return protocol, b"" if protocol == _ICMP else pseudo, body

    def __repr__(self) -> str:
        more = f" level {self.level}" if self.state == UNNECESSARY else ""
        wrong = [name for name in ("ip", "transport") if getattr(self, name) is False]
        return f"<checksum {self.state}{more}{', wrong: ' + ' and '.join(wrong) if wrong else ''}>"
