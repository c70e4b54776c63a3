"""Longest-prefix-match tries: keys are networks."""

from __future__ import annotations

from struct import Struct

from ..btf.values import Codec
from .maps import KeyedMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from typing import Any

    Prefix = IPv4Network | IPv6Network | tuple[int, bytes]

_LENGTH = Struct("=I")
_V4, _V6 = 4, 16  # bytes of an address


class PrefixCodec(Codec):
    """A `struct bpf_lpm_trie_key`: the length of the prefix in bits, and the bytes it is a prefix of.

    4 and 16 bytes are networks of `ipaddress`, others and with `raw` all are (length in bits, bytes). Packing
    takes networks, addresses and interfaces, text such as "10.0.0.0/8", and pairs; bits behind the prefix
    become 0.
    """

    __slots__ = ("raw", "width")

    def __init__(self, size: int, order: str, *, raw: bool = False) -> None:
        super().__init__(f"prefix of {size - 4} bytes", size, order, f"{size}s")
        self.width = size - 4
        self.raw = raw

    @property
    def networks(self) -> bool:
        return not self.raw and self.width in (_V4, _V6)

    def load(self, slot: bytes) -> Prefix:
        length: int = _LENGTH.unpack_from(slot)[0]
        data = slot[4:]
        if not self.networks or length > 8 * self.width:
            return length, data
        from ipaddress import IPv4Network, IPv6Network

        address = int.from_bytes(data, "big")
        shift = 8 * self.width - length
        network = IPv4Network if self.width == _V4 else IPv6Network
        return network((address >> shift << shift, length))

    def dump(self, value: Any) -> bytes:
        if isinstance(value, tuple):
            length, data = value
            if not isinstance(length, int) or not isinstance(data, (bytes, bytearray)):
                raise TypeError(f"{value!r} is no (length in bits, bytes)")
        elif isinstance(value, (bytes, bytearray)):
            length, data = 8 * len(value), value
        else:
            length, data = self._network(value)
        if len(data) > self.width or not 0 <= length <= 8 * self.width:
            raise ValueError(f"{value!r} does not fit: keys have at most {8 * self.width} bits")
        shift = 8 * self.width - length
        number = int.from_bytes(bytes(data).ljust(self.width, b"\0"), "big") >> shift << shift
        return _LENGTH.pack(length) + number.to_bytes(self.width, "big")

    def _network(self, value: Any) -> tuple[int, bytes]:
        if not self.networks:
            raise TypeError(f"{value!r} is no (length in bits, bytes), which keys of this map are")
        from ipaddress import IPv4Network, IPv6Network, ip_network

        if isinstance(value, int):
            raise TypeError(f"{value!r} is no network: write it as text, or as (length in bits, bytes)")
        network = value if isinstance(value, (IPv4Network, IPv6Network)) else ip_network(value, strict=False)
        data = network.network_address.packed
        if len(data) != self.width:
            raise ValueError(
                f"{network} is IPv{network.version}; this map has IPv{4 if self.width == _V4 else 6}"
            )
        return network.prefixlen, data

    def _dtype(self, np: Any) -> Any:
        return np.dtype([("prefixlen", "=u4"), ("data", np.uint8, (self.width,))])


class LpmTrie(KeyedMap):
    """BPF_MAP_TYPE_LPM_TRIE (Linux 4.11): `m["10.1.2.3"]` is the value of the longest prefix that holds the
    address, `m["10.0.0.0/8"] = value` and `del` name a prefix itself.

    Keys are `ipaddress` networks if they have 4 or 16 bytes, else (length in bits, bytes); `networks = False`
    makes them that, too.
    """

    __slots__ = ()

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        self.key: PrefixCodec = PrefixCodec(self.key_size, self.key.order)

    @property
    def networks(self) -> bool:
        """Whether keys are networks of `ipaddress`."""
        return self.key.networks

    @networks.setter
    def networks(self, yes: bool) -> None:
        if yes and self.key.width not in (_V4, _V6):
            raise ValueError(f"keys of {self.name!r} have {self.key.width} bytes, addresses have 4 or 16")
        self.key.raw = not yes
