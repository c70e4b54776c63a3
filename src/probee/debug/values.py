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


_ETHERTYPES = {0x0800: "IPv4", 0x86DD: "IPv6", 0x0806: "ARP", 0x8100: "VLAN"}
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}


def headers(data: bytes, link_layer: bool = True) -> Iterator[str]:
    """The headers of a packet, as far as they are Ethernet, IP, TCP and UDP."""
    from ..lang.packets import protocols as p

    at, kind = 0, 0
    if link_layer:
        if len(data) < 14:
            return
        kind = int.from_bytes(data[12:14], "big")
        mac = "{} > {}".format(data[6:12].hex(":"), data[0:6].hex(":"))
        yield f"Ethernet  {mac}  {_ETHERTYPES.get(kind, hex(kind))}"
        at = 14
    elif data:
        kind = {4: 0x0800, 6: 0x86DD}.get(data[0] >> 4, 0)
    if kind == 0x0800 and len(data) >= at + 20:
        ip: Any = p.IPv4.parse(data[at:])
        source, to = ".".join(map(str, data[at + 12 : at + 16])), ".".join(map(str, data[at + 16 : at + 20]))
        yield f"IPv4      {source} > {to}  {_PROTOCOLS.get(ip.protocol, ip.protocol)}  ttl {ip.ttl}"
        at, protocol = at + (data[at] & 15) * 4, ip.protocol
    elif kind == 0x86DD and len(data) >= at + 40:
        from ipaddress import IPv6Address

        ends = [str(IPv6Address(data[at + n : at + n + 16])) for n in (8, 24)]
        protocol = data[at + 6]
        yield f"IPv6      {ends[0]} > {ends[1]}  {_PROTOCOLS.get(protocol, protocol)}  hops {data[at + 7]}"
        at += 40
    else:
        return
    if protocol in (6, 17) and len(data) >= at + 8:
        ports = [int.from_bytes(data[at + n : at + n + 2], "big") for n in (0, 2)]
        if protocol == 6 and len(data) >= at + 14:
            bits = data[at + 13]
            flags = " ".join(
                n for i, n in enumerate(("FIN", "SYN", "RST", "PSH", "ACK", "URG")) if bits >> i & 1
            )
            yield f"TCP       {ports[0]} > {ports[1]}  {flags}"
        elif protocol == 17:
            yield f"UDP       {ports[0]} > {ports[1]}"


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
