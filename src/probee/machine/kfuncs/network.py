"""Kernel functions of packets and sockets: what a driver tells, a Unix socket's path, closed sockets."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..helpers.packets import packet_of
from ..helpers.sockets import socket_for
from .table import kfunc

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_U32 = 0xFFFFFFFF
_LONGEST_PATH = 108  # sun_path (linux/un.h)


@kfunc("bpf_xdp_metadata_rx_vlan_tag")
def bpf_xdp_metadata_rx_vlan_tag(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    """The fact `rx_vlan`: (protocol, tag), the protocol as 0x8100."""
    found = cpu.machine.context_at(cpu, r1).facts.get("rx_vlan")
    if found is None:
        return -errno.ENODATA
    protocol, tag = found
    cpu.memory.write(r2, int(protocol).to_bytes(2, "big"))
    cpu.memory.store(r3, 2, tag)
    return 0


@kfunc("bpf_xdp_pull_data")
def bpf_xdp_pull_data(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    context, packet = packet_of(cpu, r1)
    size = r2 & _U32
    if size > packet.length:
        return -errno.EINVAL
    packet.pull(max(size, packet.linear))
    context.refresh()
    return 0


@kfunc("bpf_sock_addr_set_sun_path")
def bpf_sock_addr_set_sun_path(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    """The path is the result's `address`; one that begins with a zero byte is shown with an @."""
    size = r3 & _U32
    context = cpu.context
    if context is None or "path" not in context.facts:
        return -errno.EINVAL
    if not 0 < size <= _LONGEST_PATH:
        return -errno.EINVAL
    raw = cpu.memory.read(r2, size)
    text = b"@" + raw[1:] if not raw[0] else raw
    context.facts["path"] = text.rstrip(b"\0").decode("utf-8", "replace")
    return 0


@kfunc("bpf_sock_destroy")
def bpf_sock_destroy(cpu: MachineCpu, r1: int, *_: int) -> int:
    """The machine's socket is gone: look-ups no longer find it."""
    sockets = cpu.machine.sockets
    found = socket_for(cpu, r1)
    if found is None:
        return -errno.EOPNOTSUPP
    if found in sockets.all:
        sockets.all.remove(found)
    return 0
