"""What registers, memory, packets and names are, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ProbeeError
from ..lang.decl import Struct
from ..machine.code import CODE_BASE
from ..machine.machine import Machine
from ..machine.memory import BASE
from . import views
from .places import Places
from .timeline import Moment

_U64 = (1 << 64) - 1
_WIDTH = 110
_PLAIN = 1 << 16  # numbers from here on are shown in hexadecimal, too


def number(value: int) -> str:
    """A 64-bit number as people read it: signed, and in hexadecimal if it is large."""
    signed = value - (1 << 64) if value >> 63 else value
    return str(signed) if abs(signed) < _PLAIN else f"{signed} ({value:#x})"


def describe(machine: Machine, places: Places, value: int) -> str:
    """A register's value: where it points to, if it is an address."""
    if CODE_BASE <= value < CODE_BASE << 1:
        for program in places.programs():
            slot = program.code.slot_of(value)
            if slot >= 0:
                return f"{value:#x} code of {places.function(program.code, slot)}"
    if not BASE <= value < BASE + machine.memory.size:
        return number(value)
    region = machine.memory.find(value)
    frame = machine.memory.find(value - 1)
    if region is None and frame is not None and frame.kind == "stack":
        return f"{value:#x} stack fp"
    if region is None:
        return f"{value:#x} no memory is there (freed, or never was)"
    known = machine.kernel.objects.get(value)
    if known is not None:
        return f"{value:#x} {known!r}"
    offset = value - region.address
    if region.kind == "stack":
        return f"{value:#x} stack fp-{region.end - value}"
    name = f" {region.name}" if region.name else ""
    return f"{value:#x} {region.kind}{name}{f' +{offset}' if offset else ''} of {region.size} bytes"


def registers(machine: Machine, places: Places, moment: Moment) -> Iterator[str]:
    """All registers, one a line; those that hold nothing yet as 0."""
    for n, value in enumerate(moment.registers):
        yield f"r{n:<2} {describe(machine, places, value)}"


def stack(machine: Machine, places: Places, moment: Moment) -> Iterator[str]:
    """The words of the function's stack that are not zero."""
    top = moment.registers[10]
    region = machine.memory.find(top - 1)
    if region is None:
        return
    for address in range(region.address, top, 8):
        value = int.from_bytes(_bytes(machine, address, 8), "little")
        if value:
            yield f"fp-{top - address:<4} {describe(machine, places, value)}"


def _bytes(machine: Machine, address: int, size: int) -> bytes:
    start = address - BASE
    return bytes(machine.memory.buffer[start : start + size])


def hexdump(data: bytes, start: int = 0) -> Iterator[str]:
    """16 bytes a line, with their text."""
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        hexed = " ".join(part[i : i + 1].hex() for i in range(len(part)))
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
        yield f"{start + at:04x}  {hexed:<47}  {text}"


def memory(machine: Machine, address: int, size: int) -> Iterator[str]:
    """Bytes of memory. Raises Fault if they are none that exist."""
    machine.memory.check(address, size)
    return hexdump(machine.memory.read(address, size), address)


_ETHERTYPES = {0x0800: "IPv4", 0x86DD: "IPv6", 0x0806: "ARP", 0x8100: "VLAN", 0x88A8: "VLAN"}
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
_TAGS = 4  # VLAN tags that are looked behind


def layers(data: bytes, link_layer: bool = True) -> Iterator[tuple[str, int, int]]:
    """The headers of a packet as far as they are Ethernet, VLAN, ARP, IP, TCP, UDP and ICMP: in words, with
    where each begins and ends.
    """
    at, kind = 0, 0
    if link_layer:
        if len(data) < 14:
            return
        kind = _number(data, 12)
        mac = "{} > {}".format(data[6:12].hex(":"), data[0:6].hex(":"))
        yield f"Ethernet  {mac}  {_ETHERTYPES.get(kind, hex(kind))}", 0, 14
        at = 14
        for _ in range(_TAGS):
            if _ETHERTYPES.get(kind) != "VLAN" or len(data) < at + 4:
                break
            tag, kind = _number(data, at), _number(data, at + 2)
            yield f"VLAN      {tag & 0xFFF}  {_ETHERTYPES.get(kind, hex(kind))}", at, at + 4
            at += 4
    elif data:
        kind = {4: 0x0800, 6: 0x86DD}.get(data[0] >> 4, 0)
    if kind == 0x0800 and len(data) >= at + 20:
        source, to = ".".join(map(str, data[at + 12 : at + 16])), ".".join(map(str, data[at + 16 : at + 20]))
        protocol, size = data[at + 9], max(20, (data[at] & 15) * 4)
        name = _PROTOCOLS.get(protocol, protocol)
        yield f"IPv4      {source} > {to}  {name}  ttl {data[at + 8]}", at, min(at + size, len(data))
        if _number(data, at + 6) & 0x1FFF:
            return  # a later fragment
        at += size
    elif kind == 0x86DD and len(data) >= at + 40:
        from ipaddress import IPv6Address

        ends = [str(IPv6Address(data[at + n : at + n + 16])) for n in (8, 24)]
        protocol = data[at + 6]
        name = _PROTOCOLS.get(protocol, protocol)
        yield f"IPv6      {ends[0]} > {ends[1]}  {name}  hops {data[at + 7]}", at, at + 40
        at += 40
    elif kind == 0x0806 and len(data) >= at + 28:
        sender, target = data[at + 14 : at + 18], data[at + 24 : at + 28]
        what = {1: "asks for", 2: "answers"}.get(_number(data, at + 6), "to")
        yield f"ARP       {'.'.join(map(str, sender))} {what} {'.'.join(map(str, target))}", at, at + 28
        return
    else:
        return
    yield from _transport(data, at, protocol)


def _transport(data: bytes, at: int, protocol: int) -> Iterator[tuple[str, int, int]]:
    left = len(data) - at
    if protocol == 17 and left >= 8:
        yield f"UDP       {_number(data, at)} > {_number(data, at + 2)}", at, at + 8
    elif protocol == 6 and left >= 14:
        bits, size = data[at + 13], max(20, (data[at + 12] >> 4) * 4)
        flags = " ".join(name for i, name in enumerate(_TCP_FLAGS) if bits >> i & 1)
        ports = f"{_number(data, at)} > {_number(data, at + 2)}"
        yield f"TCP       {ports}  {flags}", at, min(at + size, len(data))
    elif protocol in (1, 58) and left >= 4:
        name = _PROTOCOLS[protocol]
        yield f"{name:<9} type {data[at]}, code {data[at + 1]}", at, min(at + 8, len(data))


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def headers(data: bytes, link_layer: bool = True) -> Iterator[str]:
    """The headers of a packet in words."""
    return (line for line, _, _ in layers(data, link_layer))


def dissected(data: bytes, link_layer: bool = True) -> Iterator[str]:
    """The headers of a packet, each with its bytes, and what they carry."""
    done = 0
    for line, start, end in layers(data, link_layer):
        yield line
        yield from hexdump(data[start:end], start)
        done = end
    if done < len(data):
        if done:
            yield f"payload   {len(data) - done} bytes"
        yield from hexdump(data[done:], done)


def show(value: Any) -> str:
    """A value for people: structs by their fields, numbers as `number`."""
    if isinstance(value, ProbeeError):
        return f"<{value}>"
    if isinstance(value, views.Struct):
        whole = repr(value)
        short = whole[:1] != "<" and len(whole) <= _WIDTH
        return whole if short else "\n".join(views.lines(value))
    if isinstance(value, bool) or value is None or isinstance(value, (views.Enum, views.Pointer)):
        return repr(value)
    if isinstance(value, int):
        return number(value & _U64) if value >= 0 else str(value)
    if isinstance(value, Struct):
        return repr(value)
    if isinstance(value, Mapping) or hasattr(value, "items"):
        entries = list(value.items())
        lines = [f"{key!r}: {item!r}" for key, item in entries[:20]]
        more = f", … {len(entries) - 20} more" if len(entries) > 20 else ""
        return "{" + ", ".join(lines) + more + "}"
    return repr(value)


def brief(value: Any) -> str:
    """A value in one line."""
    text = repr(value) if isinstance(value, views.View) else show(value)
    return text if len(text) <= 2 * _WIDTH else text[: 2 * _WIDTH - 1] + "…"
