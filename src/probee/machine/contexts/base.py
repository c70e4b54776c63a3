"""A context: what a program gets in r1, and what helpers and tests learn from it afterwards."""

from __future__ import annotations

from typing import Any

from ..kernel_memory import Kernel, Object
from ..memory import Memory, Region
from .checksum import Checksum
from .packet import Packet
from .rewrite import SHADOW

HEADER = 32  # bytes before a tracing context: number of arguments, the function's address


class Context:
    """A context in memory. `address` is what r1 holds.

    `fields` is its UAPI struct where it has one. `packet` is the packet behind it, `sock` the `bpf_sock` it
    belongs to. `stack` and `user_stack` are the addresses that bpf_get_stack sees, the innermost first.
    `cookie` is the link's (bpf_get_attach_cookie). `facts` is what helpers leave for the test, as where a
    packet is redirected to.
    """

    def __init__(self, region: Region, offset: int = 0, fields: Object | None = None) -> None:
        self.region = region
        self.address = region.address + offset
        self.fields = fields
        self.packet: Packet | None = None
        self.sock: Object | None = None
        self.stack: list[int] = []
        self.user_stack: list[int] = []
        self.cookie = 0
        self.facts: dict[str, Any] = {}
        self.extra: list[Region] = []  # memory that lives as long as the context

    def refresh(self) -> None:
        """Put the packet's pointers and length into the context, after they changed."""

    def free(self, memory: Memory) -> None:
        """Give the memory back."""
        for region in (self.region, *self.extra):
            if region.live:
                memory.free(region)
        if self.packet is not None:
            self.packet.free()


def arguments(memory: Memory, values: list[int], *, extra: tuple[int, ...] = (), ip: int = 0) -> Context:
    """A context of 64-bit arguments: raw tracepoints, fentry, LSM, iterators, struct_ops.

    `extra` are words behind the arguments that do not count as such: the result that fexit sees.
    """
    words = [*values, *extra]
    region = memory.alloc(HEADER + 8 * max(1, len(words)), "ctx", writable=False, name="arguments")
    memory.protect(region, 0, HEADER, readable=False, writable=False)
    data = region.data
    data[HEADER - 16 : HEADER - 8] = ip.to_bytes(8, "little")
    data[HEADER - 8 : HEADER] = len(values).to_bytes(8, "little")
    for i, word in enumerate(words):
        at = HEADER + 8 * i
        data[at : at + 8] = (word & (1 << 64) - 1).to_bytes(8, "little")
    return Context(region, HEADER)


def struct(
    kernel: Kernel, name: str, fields: dict[str, Any], *, writable: bool = True, size: int = 0
) -> Context:
    """A context that is a UAPI struct."""
    id = kernel.type_id(f"struct {name}")
    whole = max(size, kernel.btf.type(id).size)
    region = kernel.memory.alloc(whole, "ctx", writable=writable, name=name)
    made = Object(kernel, region.address, id)
    for path, value in fields.items():
        made[path] = value
    return Context(region, 0, made)


class PacketContext(Context):
    """`xdp_md` or `__sk_buff` with its packet: the full pointers lie at `SHADOW`. `checksum` is what is known
    of an skb's checksum."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        fields: dict[str, Any],
        packet: Packet,
        checksum: Checksum | None = None,
    ) -> None:
        inside = struct(kernel, name, fields, size=SHADOW + 24)
        super().__init__(inside.region, 0, inside.fields)
        self.packet = packet
        self.checksum = checksum or Checksum()
        self._skb = name == "__sk_buff"
        self.refresh()

    def refresh(self) -> None:
        packet, fields = self.packet, self.fields
        assert packet is not None
        assert fields is not None
        data = self.region.data
        for i, address in enumerate((packet.data, packet.data_end, packet.data_meta)):
            data[SHADOW + 8 * i : SHADOW + 8 * i + 8] = address.to_bytes(8, "little")
        fields.data = packet.data & 0xFFFFFFFF  # of no use: loads of these go to the full pointers
        fields.data_end = packet.data_end & 0xFFFFFFFF
        fields.data_meta = packet.data_meta & 0xFFFFFFFF
        if self._skb:
            fields.len = packet.length
