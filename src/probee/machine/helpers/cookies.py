"""SYN cookies: made of a connection's ends and its sequence number, by a hash of the machine's own.

A machine's cookies are right for its own checks, whatever the run; they are not those of a kernel, which are
secret.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING
from zlib import crc32

from .sockets import LISTEN, TCP, socket_for
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_U32 = 0xFFFFFFFF
_TCP = 20  # bytes of a header without options
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_SEGMENT4, _SEGMENT6 = 536, 1220  # bytes that any host takes: TCP_MSS_DEFAULT, IPV6_MIN_MTU - 60
_SEGMENT_OPTION = 2


def _ends(ip: bytes) -> bytes:
    """Source and destination of an IP header."""
    return ip[12:20] if ip[0] >> 4 == 4 else ip[8:40]


def cookie(ip: bytes, tcp: bytes, sequence: int) -> int:
    """The cookie for the first packet of a connection."""
    return crc32(_ends(ip) + tcp[:4] + struct.pack(">I", sequence & _U32))


def _segment(ip: bytes, tcp: bytes) -> int:
    """The segment size that a SYN asks for, or the one that any host takes."""
    least = _SEGMENT4 if ip[0] >> 4 == 4 else _SEGMENT6
    options = tcp[_TCP : 4 * (tcp[12] >> 4)]
    at = 0
    while at + 1 < len(options) and options[at]:
        if options[at] == 1:
            at += 1
            continue
        if options[at] == _SEGMENT_OPTION and options[at + 1] == 4:
            return int.from_bytes(options[at + 2 : at + 4], "big") or least
        at += max(2, options[at + 1])
    return least


def _made(ip: bytes, tcp: bytes) -> int:
    return cookie(ip, tcp, int.from_bytes(tcp[4:8], "big")) | _segment(ip, tcp) << 32


def _is_right(ip: bytes, tcp: bytes) -> bool:
    """Whether an ACK answers a cookie."""
    sequence, answer = struct.unpack_from(">II", tcp, 4)
    return cookie(ip, tcp, sequence - 1) == (int(answer) - 1 & _U32)


def _listens(cpu: MachineCpu, address: int) -> bool:
    found = socket_for(cpu, address)
    return found is not None and found.protocol == TCP and found.state == LISTEN


@helper("tcp_gen_syncookie")
def tcp_gen_syncookie(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    ip, tcp = cpu.memory.read(r2, r3 & _U32), cpu.memory.read(r4, r5 & _U32)
    if len(tcp) < _TCP or len(tcp) != 4 * (tcp[12] >> 4) or not _listens(cpu, r1):
        return -errno.EINVAL
    if tcp[13] & (_SYN | _ACK | _FIN | _RST) != _SYN:
        return -errno.EINVAL
    return _made(ip, tcp)


@helper("tcp_check_syncookie")
def tcp_check_syncookie(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    ip, tcp = cpu.memory.read(r2, r3 & _U32), cpu.memory.read(r4, r5 & _U32)
    if len(tcp) < _TCP or not _listens(cpu, r1):
        return -errno.EINVAL
    if tcp[13] & (_SYN | _ACK | _RST) != _ACK:
        return -errno.ENOENT
    return 0 if _is_right(ip, tcp) else -errno.ENOENT


def _raw(version: int, size: int) -> None:
    @helper(f"tcp_raw_gen_syncookie_ipv{version}")
    def generate(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
        length = r3 & _U32
        if length < _TCP:
            return -errno.EINVAL
        return _made(cpu.memory.read(r1, size), cpu.memory.read(r2, length))

    @helper(f"tcp_raw_check_syncookie_ipv{version}")
    def check(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
        right = _is_right(cpu.memory.read(r1, size), cpu.memory.read(r2, _TCP))
        return 0 if right else -errno.EACCES


_raw(4, 20)
_raw(6, 40)
