"""`bpf_sock_ops` with the TCP header of a packet, where there is one."""

from __future__ import annotations

from typing import Any

from ..kernel_memory import Kernel
from ..memory import Memory
from .base import Context, struct
from .packet import Packet, packet_bytes


def header_of(memory: Memory, header: object) -> Packet:
    """A TCP header in memory, with room behind it."""
    return Packet(memory, packet_bytes(header), before=b"")


class HeaderContext(Context):
    def __init__(self, kernel: Kernel, fields: dict[str, Any], packet: Packet | None) -> None:
        inside = struct(kernel, "bpf_sock_ops", fields)
        super().__init__(inside.region, 0, inside.fields)
        self.packet = packet
        self.refresh()

    def refresh(self) -> None:
        packet, fields = self.packet, self.fields
        assert fields is not None
        if packet is not None:
            fields.skb_data, fields.skb_data_end = packet.data, packet.data_end
            fields.skb_len = packet.length
