"""Headers put around packets of routes, and what IPsec and IMA know, as tests told."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ...errors import Unsupported
from .packets import packet_of
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_U32 = 0xFFFFFFFF
_ENCAP_IP = 2  # BPF_LWT_ENCAP_IP
_SIZES = {4: 20, 6: 40}
_PROTOCOLS = {4: 0x0008, 6: 0xDD86}  # in network order, read as little-endian


@helper("lwt_push_encap")
def lwt_push_encap(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    """IP headers of any kind (BPF_LWT_ENCAP_IP); segment routing has to be mocked."""
    kind, size = r2 & _U32, r4 & _U32
    if kind != _ENCAP_IP:
        raise Unsupported(
            "the machine puts no segment routing headers around packets: say what lwt_push_encap does, as "
            "machine.helper('lwt_push_encap', lambda ctx, type, header, size: 0)",
            feature="lwt_push_encap",
        )
    context, packet = packet_of(cpu, r1)
    header = cpu.memory.read(r3, size)
    version = header[0] >> 4 if header else 0
    least = _SIZES.get(version)
    if least is None or size < least or (version == 4 and 4 * (header[0] & 15) > size):
        return -errno.EINVAL
    packet.splice(0, 0, header)
    context.fields.protocol = _PROTOCOLS[version]
    context.refresh()
    return 0


@helper("skb_get_xfrm_state")
def skb_get_xfrm_state(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """The fact `xfrm`: a list of `struct bpf_xfrm_state` as bytes."""
    states: list[bytes] = cpu.machine.context_at(cpu, r1).facts.get("xfrm", [])
    index, size = r2 & _U32, r4 & _U32
    if r5 or index >= len(states) or len(states[index]) > size:
        cpu.memory.write(r3, bytes(size))
        return -errno.EINVAL
    cpu.memory.write(r3, states[index].ljust(size, b"\0"))
    return 0


@helper("ima_inode_hash", "ima_file_hash")
def ima_hash(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    """The machine's `hashes`: by the address of the inode or file, the algorithm's number and the digest."""
    found = cpu.machine.hashes.get(r1)
    if found is None:
        return -errno.EOPNOTSUPP
    algorithm, digest = found
    cpu.memory.write(r2, digest[: r3 & _U32].ljust(r3 & _U32, b"\0"))
    return algorithm
