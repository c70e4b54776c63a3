"""Helpers on packets of tc, socket and XDP programs. What becomes of a packet beside its bytes is in the
context's `facts`: `redirect`, `clones`, `vlan`, `tunnel`."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any

from ..maps.redirects import CpuMap, DevMap, XskMap
from .checksums import by_difference, changed, state_of
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_U32 = 0xFFFFFFFF
_MOST_OFFSET = 0x7FFFFFFF
_ENOTSUPP = 524
_ETHERNET = 14
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLANS = (0x8100, 0x88A8)
_HEADER_SIZES = {_IPV4: 20, _IPV6: 40}
_MOST_PACKET = 65535 + _ETHERNET
_RECOMPUTE, _INVALIDATE_HASH = 1, 2
_INGRESS = 1
TC_SHOT, TC_REDIRECT, XDP_ABORTED, XDP_REDIRECT = 2, 7, 0, 4
_BROADCAST, _EXCLUDE_INGRESS, _ACTIONS = 8, 16, 3
_MOST_PACKET_TYPE = 3
_ROOM_NET, _ROOM_MAC = 0, 1
_TAI = 2  # the last of the clocks of a time stamp
_ROOM_FLAGS = 0x7F | 0xFF << 56
_NO_CSUM_RESET = 1 << 5
_MOST_ROOM = 0xFFF


def packet_of(cpu: MachineCpu, address: int) -> tuple[Any, Any]:
    """The context at an address, and its packet."""
    context = cpu.machine.context_at(cpu, address)
    return context, context.packet


def signed(value: int) -> int:
    value &= _U32
    return value - (1 << 32) if value >> 31 else value


def _load(cpu: MachineCpu, packet: Any, offset: int, to: int, size: int) -> int:
    found = packet.read(offset, size) if 0 <= offset <= _MOST_OFFSET else None
    cpu.memory.write(to, bytes(size) if found is None else found)
    return -errno.EFAULT if found is None else 0


@helper("skb_load_bytes")
def skb_load_bytes(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _load(cpu, packet_of(cpu, r1)[1], r2 & _U32, r3, r4 & _U32)


@helper("skb_load_bytes_relative")
def skb_load_bytes_relative(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    packet = packet_of(cpu, r1)[1]
    if r5 & _U32 > 1:
        cpu.memory.write(r3, bytes(r4 & _U32))
        return -errno.EFAULT
    return _load(cpu, packet, (r2 & _U32) + (_ETHERNET if r5 else 0), r3, r4 & _U32)


def store(cpu: MachineCpu, address: int, offset: int, data: bytes, flags: int) -> int:
    """Put bytes into an skb, which is made linear as far as they reach."""
    if flags & ~(_RECOMPUTE | _INVALIDATE_HASH):
        return -errno.EINVAL
    context, packet = packet_of(cpu, address)
    if offset > _MOST_OFFSET or packet.read(offset, len(data)) is None:
        return -errno.EFAULT
    packet.pull(offset + len(data))
    if flags & _RECOMPUTE:
        changed(state_of(context), offset, packet.read(offset, len(data)), data)
    packet.write(offset, data)
    if flags & _INVALIDATE_HASH and context.fields is not None:
        context.fields.hash = 0
    context.refresh()
    return 0


@helper("skb_store_bytes")
def skb_store_bytes(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return store(cpu, r1, r2 & _U32, cpu.memory.read(r3, r4 & _U32), r5)


@helper("skb_pull_data")
def skb_pull_data(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    context, packet = packet_of(cpu, r1)
    result: int = packet.pull(r2 & _U32)
    context.refresh()
    return result


@helper("skb_change_tail")
def skb_change_tail(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    context, packet = packet_of(cpu, r1)
    size = r2 & _U32
    if r3 or not _ETHERNET <= size <= _MOST_PACKET:
        return -errno.EINVAL
    data = packet.payload
    changed(state_of(context), size, data[size:], b"")
    packet.replace(data[:size].ljust(size, b"\0"))
    context.refresh()
    return 0


@helper("skb_change_head")
def skb_change_head(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    context, packet = packet_of(cpu, r1)
    size = r2 & _U32
    if r3 or packet.length + size > _MOST_PACKET:
        return -errno.EINVAL
    _spliced(context, 0, 0, bytes(size))
    return 0


def _spliced(context: Any, offset: int, remove: int, insert: bytes) -> None:
    """Change the packet's length in the middle, and what is known of its sum accordingly."""
    packet = context.packet
    changed(state_of(context), offset, packet.read(offset, remove), insert)
    packet.splice(offset, remove, insert)
    context.refresh()


def _protocol(packet: Any) -> int:
    return int.from_bytes(packet.read(12, 2) or b"", "big")


@helper("skb_change_proto")
def skb_change_proto(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    context, _ = packet_of(cpu, r1)
    if r3:
        return -errno.EINVAL
    wanted = int.from_bytes((r2 & 0xFFFF).to_bytes(2, "little"), "big")
    now = int.from_bytes(int(context.fields.protocol).to_bytes(4, "little")[:2], "big")
    if (now, wanted) == (_IPV4, _IPV6):
        _spliced(context, _ETHERNET, 0, bytes(20))
    elif (now, wanted) == (_IPV6, _IPV4):
        _spliced(context, _ETHERNET, 20, b"")
    else:
        return -_ENOTSUPP
    context.fields.protocol = r2 & 0xFFFF
    context.refresh()
    return 0


@helper("skb_change_type")
def skb_change_type(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    context = packet_of(cpu, r1)[0]
    kind, now = r2 & _U32, int(context.fields.pkt_type)
    if kind > _MOST_PACKET_TYPE or now > _MOST_PACKET_TYPE:
        return -errno.EINVAL
    context.fields.pkt_type = kind
    return 0


@helper("skb_adjust_room")
def skb_adjust_room(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    context, packet = packet_of(cpu, r1)
    difference, mode = signed(r2), r3 & _U32
    if r4 & ~_ROOM_FLAGS:
        return -errno.EINVAL
    if abs(difference) > _MOST_ROOM:
        return -errno.EFAULT
    header = _HEADER_SIZES.get(_protocol(packet))
    if header is None:
        return -_ENOTSUPP
    if mode not in (_ROOM_NET, _ROOM_MAC):
        return -_ENOTSUPP
    offset = _ETHERNET + (header if mode == _ROOM_NET else 0)
    behind = packet.length - _ETHERNET
    least = header
    if difference < 0 and (-difference >= behind or behind + difference < least):
        return -_ENOTSUPP
    if difference > 0 and packet.length + difference > _MOST_PACKET:
        return -_ENOTSUPP
    _spliced(context, offset, max(0, -difference), bytes(max(0, difference)))
    if not r4 & _NO_CSUM_RESET:
        state_of(context).forget()
    return 0


# VLAN: a tag beside the packet, as hardware hands it over.


@helper("skb_vlan_push")
def skb_vlan_push(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    context, _ = packet_of(cpu, r1)
    fields = context.fields
    protocol = int.from_bytes((r2 & 0xFFFF).to_bytes(2, "little"), "big")
    if protocol not in _VLANS:
        protocol = _VLANS[0]
    if fields.vlan_present:
        old = struct.pack(">H", _swap(int(fields.vlan_proto))) + struct.pack(">H", int(fields.vlan_tci))
        _spliced(context, 12, 0, old)
    fields.vlan_present, fields.vlan_tci = 1, r3 & 0xFFFF
    fields.vlan_proto = _swap(protocol)
    context.refresh()
    return 0


@helper("skb_vlan_pop")
def skb_vlan_pop(cpu: MachineCpu, r1: int, *_: int) -> int:
    context, packet = packet_of(cpu, r1)
    fields = context.fields
    if fields.vlan_present:
        fields.vlan_present = fields.vlan_tci = fields.vlan_proto = 0
    elif _protocol(packet) in _VLANS:
        _spliced(context, 12, 4, b"")
    if _protocol(packet) in _VLANS and not fields.vlan_present:
        tag = packet.read(12, 4)
        fields.vlan_present, fields.vlan_tci = 1, int.from_bytes(tag[2:], "big")
        fields.vlan_proto = _swap(int.from_bytes(tag[:2], "big"))
        _spliced(context, 12, 4, b"")
    context.refresh()
    return 0


def _swap(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8 & 0xFF


# Hashes and marks.


@helper("get_hash_recalc")
def get_hash_recalc(cpu: MachineCpu, r1: int, *_: int) -> int:
    context, packet = packet_of(cpu, r1)
    if not int(context.fields.hash):
        from ..maps.elements import hash_of

        context.fields.hash = hash_of(packet.payload[12:54]) or 1
    return int(context.fields.hash)


@helper("set_hash_invalid")
def set_hash_invalid(cpu: MachineCpu, r1: int, *_: int) -> int:
    packet_of(cpu, r1)[0].fields.hash = 0
    return 0


@helper("set_hash")
def set_hash(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    packet_of(cpu, r1)[0].fields.hash = r2 & _U32
    return 0


@helper("skb_ecn_set_ce")
def skb_ecn_set_ce(cpu: MachineCpu, r1: int, *_: int) -> int:
    context, packet = packet_of(cpu, r1)
    at = _ETHERNET + 1
    kind = _protocol(packet)
    first = packet.read(_ETHERNET, 12)
    if first is None or kind not in _HEADER_SIZES:
        return 0
    if kind == _IPV6:
        ecn = first[1] >> 4 & 3
        if ecn == 0:
            return 0
        packet.write(at, bytes([first[1] | 0x30]))
    else:
        if not first[1] & 3:
            return 0
        changed = first[1] | 3
        packet.write(at, bytes([changed]))
        old = int.from_bytes(first[:2], "little")
        new = int.from_bytes(bytes([first[0], changed]), "little")
        total = int.from_bytes(first[10:12], "little")
        packet.write(_ETHERNET + 10, by_difference(total, new + (~old & 0xFFFF)).to_bytes(2, "little"))
    context.refresh()
    return 1


# Redirects.


def _is_xdp(context: Any) -> bool:
    return not getattr(context, "_skb", True)


@helper("redirect")
def redirect(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    context = cpu.context
    xdp = _is_xdp(context)
    if r2 & ~_INGRESS or (xdp and r2):
        return XDP_ABORTED if xdp else TC_SHOT
    context.facts["redirect"] = {"ifindex": r1 & _U32, "ingress": bool(r2 & _INGRESS)}
    return XDP_REDIRECT if xdp else TC_REDIRECT


@helper("redirect_peer")
def redirect_peer(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    if r2:
        return TC_SHOT
    cpu.context.facts["redirect"] = {"ifindex": r1 & _U32, "peer": True}
    return TC_REDIRECT


@helper("redirect_neigh")
def redirect_neigh(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    size = r3 & _U32
    if r4 or (size and size < 20):
        return TC_SHOT
    params = cpu.memory.read(r2, size) if r2 and size else b""
    cpu.context.facts["redirect"] = {"ifindex": r1 & _U32, "neighbour": params}
    return TC_REDIRECT


@helper("clone_redirect")
def clone_redirect(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    context, packet = packet_of(cpu, r1)
    index = r2 & _U32
    if r3 & ~_INGRESS or cpu.machine.syscalls.resolve("device", index) is None:
        return -errno.EINVAL
    clone = {"ifindex": index, "ingress": bool(r3 & _INGRESS), "data": packet.payload}
    context.facts.setdefault("clones", []).append(clone)
    return 0


@helper("redirect_map")
def redirect_map(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    allowed = _ACTIONS | (_BROADCAST | _EXCLUDE_INGRESS if isinstance(m, DevMap) else 0)
    if r3 & ~allowed:
        return XDP_ABORTED
    index = r2 & _U32
    if isinstance(m, (DevMap, CpuMap)):
        found: Any = m.item(index)
    else:
        found = m.item(index.to_bytes(4, "little")) if isinstance(m, XskMap) else None
    if found is None and not r3 & _BROADCAST:
        return r3 & _ACTIONS
    told: dict[str, Any] = {"map": m.name, "key": index, "to": found}
    if isinstance(m, DevMap):
        if r3 & _BROADCAST:
            told["broadcast"] = [target.number for target in m.held.values()]
            told["exclude_ingress"] = bool(r3 & _EXCLUDE_INGRESS)
        else:
            told["ifindex"] = found.number
    elif isinstance(m, CpuMap):
        told["cpu"] = index
    cpu.context.facts["redirect"] = told
    return XDP_REDIRECT


# XDP.


def _adjusted(cpu: MachineCpu, address: int, method: str, by: int) -> int:
    context, packet = packet_of(cpu, address)
    result: int = getattr(packet, method)(signed(by))
    context.refresh()
    return result


@helper("xdp_adjust_head")
def xdp_adjust_head(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    return _adjusted(cpu, r1, "adjust_head", r2)


@helper("xdp_adjust_tail")
def xdp_adjust_tail(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    return _adjusted(cpu, r1, "adjust_tail", r2)


@helper("xdp_adjust_meta")
def xdp_adjust_meta(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    return _adjusted(cpu, r1, "adjust_meta", r2)


@helper("xdp_get_buff_len")
def xdp_get_buff_len(cpu: MachineCpu, r1: int, *_: int) -> int:
    return int(packet_of(cpu, r1)[1].length)


@helper("xdp_load_bytes")
def xdp_load_bytes(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    size = r4 & _U32
    found = packet_of(cpu, r1)[1].read(r2 & _U32, size)
    if found is None:
        return -errno.EINVAL
    cpu.memory.write(r3, found)
    return 0


@helper("xdp_store_bytes")
def xdp_store_bytes(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    done: bool = packet_of(cpu, r1)[1].write(r2 & _U32, cpu.memory.read(r3, r4 & _U32))
    return 0 if done else -errno.EINVAL


@helper("check_mtu")
def check_mtu(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """MTUs are the machine's `mtus` by interface, 1500 where there is none."""
    if r5 & ~1:
        return -errno.EINVAL
    index = r2 & _U32 or int(getattr(packet_of(cpu, r1)[0].fields, "ifindex", 0) or 0)
    mtu = cpu.machine.mtus.get(index, 1500)
    asked = cpu.memory.load(r3, 4)
    length = asked or packet_of(cpu, r1)[1].length - _ETHERNET
    cpu.memory.store(r3, 4, mtu)
    return 1 if length + signed(r4) > mtu else 0


@helper("skb_set_tstamp")
def skb_set_tstamp(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    context = packet_of(cpu, r1)[0]
    kind = r3 & _U32
    if _protocol(context.packet) not in _HEADER_SIZES:
        return -errno.EOPNOTSUPP
    if kind > _TAI or (kind and not r2):
        return -errno.EINVAL
    context.fields.tstamp, context.fields.tstamp_type = r2, kind
    return 0


# Routes.

_FIB = struct.Struct("<BB2s2sHI")
_NO_NEIGHBOUR, _UNREACHABLE, _NOT_FORWARDED = 7, 2, 4


@helper("fib_lookup")
def fib_lookup(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    """The machine's `routes` are dicts: `to` (a network), `ifindex`, and `via`, `smac`, `dmac`, `mtu` if any.

    No route: BPF_FIB_LKUP_RET_NOT_FWDED; one without `dmac`: BPF_FIB_LKUP_RET_NO_NEIGH.
    """
    from ipaddress import ip_address, ip_network

    size = r3 & _U32
    if size < 64:
        return -errno.EINVAL
    params = bytearray(cpu.memory.read(r2, size))
    family = params[0]
    if family not in (2, 10):
        return -errno.EAFNOSUPPORT
    width = 4 if family == 2 else 16
    target = ip_address(bytes(params[32 : 32 + width]))
    best: tuple[int, dict[str, Any]] | None = None
    for route in cpu.machine.routes:
        network = ip_network(route["to"], strict=False)
        if target in network and (best is None or network.prefixlen > best[0]):
            best = network.prefixlen, route
    if best is None:
        return _NOT_FORWARDED
    route = best[1]
    params[8:12] = int(route["ifindex"]).to_bytes(4, "little")
    params[6:8] = int(route.get("mtu", 1500)).to_bytes(2, "little")
    params[12:16] = int(route.get("metric", 0)).to_bytes(4, "little")
    if route.get("via"):
        via = ip_address(route["via"]).packed
        params[32 : 32 + len(via)] = via
    if not route.get("dmac"):
        cpu.memory.write(r2, params)
        return _NO_NEIGHBOUR
    params[48:52] = bytes(4)
    params[52:58] = bytes.fromhex(route.get("smac", "000000000000").replace(":", ""))
    params[58:64] = bytes.fromhex(route["dmac"].replace(":", ""))
    cpu.memory.write(r2, params)
    return 0
