"""Options of TCP headers in sock_ops programs: found, written, room made for them.

The header is what the test gave (`machine.sock_ops(op, header=…)`), the facts are `options` (what the program
wrote), `room` (bytes that are left) and `syn` (the SYN that the kernel kept).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_U32 = 0xFFFFFFFF
_HEADER = 20
_END, _NOTHING = 0, 1  # TCPOPT_EOL, TCPOPT_NOP
_EXPERIMENTS = (253, 254)
_SAVED_SYN = 1  # BPF_LOAD_HDR_OPT_TCP_SYN
LENGTH_OP, WRITE_OP = 14, 15  # BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_WRITE_HDR_OPT_CB


def search(options: bytes, kind: int, magic: bytes) -> bytes | int:
    """An option by its kind, and by what an experimental one begins with; or a negative errno."""
    at = 0
    while at < len(options):
        if options[at] == _END:
            return -errno.ENOSPC  # nothing can follow
        if options[at] == _NOTHING:
            at += 1
            continue
        left = options[at:]
        if len(left) < 2 or not 2 <= left[1] <= len(left):
            return -errno.EFAULT
        if left[0] == kind and left[2 : 2 + len(magic)] == magic:
            return left[: left[1]]
        at += left[1]
    return -errno.ENOMSG


def _packet(cpu: MachineCpu, address: int) -> tuple[Any, Any]:
    context = cpu.machine.context_at(cpu, address)
    return context, context.packet


@helper("load_hdr_opt")
def load_hdr_opt(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    size = r3 & _U32
    if size < 2 or r4 & ~_SAVED_SYN:
        return -errno.EINVAL
    wanted = cpu.memory.read(r2, size)
    kind, length = wanted[:2]
    if length > size or kind in (_END, _NOTHING):
        return -errno.EINVAL
    if (length not in (4, 6)) if kind in _EXPERIMENTS else length:
        return -errno.EINVAL
    context, packet = _packet(cpu, r1)
    if r4:
        syn: bytes | None = context.facts.get("syn")
        if syn is None:
            return -errno.ENOENT
        options = syn[_HEADER:]
    elif packet is None or context.fields.op == LENGTH_OP:
        return -errno.EPERM
    else:
        options = packet.payload[_HEADER:]
    found = search(options, kind, wanted[2:length])
    if isinstance(found, int):
        return -errno.ENOMSG if found == -errno.ENOSPC else found
    cpu.memory.write(r2, found[:size])
    return len(found) if len(found) <= size else -errno.ENOSPC


@helper("store_hdr_opt")
def store_hdr_opt(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    context, packet = _packet(cpu, r1)
    size = r3 & _U32
    if packet is None or context.fields.op != WRITE_OP:
        return -errno.EPERM
    if size < 2 or r4:
        return -errno.EINVAL
    new = cpu.memory.read(r2, size)
    kind, length = new[:2]
    if length > size or length < 2 or kind in (_END, _NOTHING) or (kind in _EXPERIMENTS and length < 4):
        return -errno.EINVAL
    if length > context.facts["room"]:
        return -errno.ENOSPC
    found = search(packet.payload[_HEADER:], kind, new[2:4] if kind in _EXPERIMENTS else b"")
    if not isinstance(found, int):
        return -errno.EEXIST
    if found != -errno.ENOMSG:
        return found
    context.facts["room"] -= length
    context.facts["options"] += new[:length]
    packet.replace(packet.payload + new[:length])
    context.refresh()
    return 0


@helper("reserve_hdr_opt")
def reserve_hdr_opt(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    context = cpu.machine.context_at(cpu, r1)
    size = r2 & _U32
    if context.fields.op != LENGTH_OP:
        return -errno.EPERM
    if r3 or size < 2:
        return -errno.EINVAL
    if size > context.facts["room"]:
        return -errno.ENOSPC
    context.facts["room"] -= size
    context.facts["reserved"] = context.facts.get("reserved", 0) + size
    return 0
