"""The format language of bpf_trace_printk, bpf_snprintf and bpf_seq_printf.

`%d %i %u %x %X` with `l` and `ll`, `%c`, `%s` (kernel memory), `%pks %pus` (text in kernel, user memory),
`%p %px %pK` (an address; the kernel hashes those of `%p`, the machine shows them), `%ps %pS %pB` (a
symbol), `%pi4 %pI4 %pi6 %pI6` (an address of the internet in memory), `%%`, each with a width and the flags
`0`, `-`, `+` and blank.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .reading import fetch, fetch_text

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_SPEC = re.compile(
    rb"%(?:(?P<percent>%)|(?P<flags>[0 +-]*)(?P<width>[1-9][0-9]*)?(?:"
    rb"p(?P<pointer>ks|us|s|S|B|x|K|[iI][46]|(?![0-9A-Za-z]))|(?P<text>s)|(?P<char>c)"
    rb"|(?P<long>ll|l)?(?P<number>[diuxX])))"
)
_TEXT_MOST = 511
_U64 = (1 << 64) - 1


class BadFormat(Exception):
    """The kernel would refuse it: EINVAL."""


def pieces(fmt: bytes) -> list[bytes | re.Match[bytes]]:
    """Literal text and conversions. Raises BadFormat."""
    if any(not (32 <= byte < 127 or 9 <= byte <= 13) for byte in fmt):
        raise BadFormat
    out: list[bytes | re.Match[bytes]] = []
    at = 0
    while True:
        found = fmt.find(b"%", at)
        if found < 0:
            out.append(fmt[at:])
            return out
        out.append(fmt[at:found])
        match = _SPEC.match(fmt, found)
        if match is None:
            raise BadFormat
        out.append(match)
        at = match.end()


def render(cpu: MachineCpu, fmt: bytes, arguments: Sequence[int]) -> bytes | int:
    """The text, or a negative errno."""
    out = []
    left = list(arguments)
    try:
        for piece in pieces(fmt):
            if isinstance(piece, bytes):
                out.append(piece)
            elif piece["percent"]:
                out.append(b"%")
            elif not left:
                return -errno.EINVAL
            else:
                out.append(_padded(piece, _one(cpu, piece, left.pop(0))))
    except BadFormat:
        return -errno.EINVAL
    return b"".join(out)


def _padded(piece: re.Match[bytes], text: bytes) -> bytes:
    width = int(piece["width"] or 0)
    flags: bytes = piece["flags"] or b""
    if b"-" in flags:
        return text.ljust(width)
    if b"0" in flags and piece["number"]:
        sign = text[:1] if text[:1] in (b"-", b"+", b" ") else b""
        return sign + text[len(sign) :].rjust(width - len(sign), b"0")
    return text.rjust(width)


def _one(cpu: MachineCpu, piece: re.Match[bytes], value: int) -> bytes:
    if piece["number"]:
        return _number(piece, value)
    if piece["char"]:
        return bytes([value & 255])
    if piece["text"]:
        return fetch_text(cpu, value, _TEXT_MOST, "kernel") or b""
    return _pointer(cpu, piece["pointer"].decode(), value)


def _number(piece: re.Match[bytes], value: int) -> bytes:
    bits = 64 if piece["long"] else 32
    value &= (1 << bits) - 1
    kind = piece["number"]
    if kind in (b"x", b"X"):
        return format(value, kind.decode()).encode()
    if kind in (b"d", b"i") and value >> bits - 1:
        value -= 1 << bits
    flags: bytes = piece["flags"] or b""
    sign = b"" if value < 0 or kind == b"u" else b"+" if b"+" in flags else b" " if b" " in flags else b""
    return sign + str(value).encode()


def _pointer(cpu: MachineCpu, kind: str, value: int) -> bytes:
    if kind in ("ks", "us"):
        return fetch_text(cpu, value, _TEXT_MOST, "user" if kind == "us" else "kernel") or b""
    if kind in ("s", "S", "B"):
        return symbol(cpu, value, offset=kind != "s")
    if kind in ("i4", "I4"):
        raw = fetch(cpu, value, 4, "kernel") or bytes(4)
        return ".".join(f"{byte:03}" if kind == "i4" else str(byte) for byte in raw).encode()
    if kind in ("i6", "I6"):
        raw = fetch(cpu, value, 16, "kernel") or bytes(16)
        groups = [raw[i : i + 2].hex() for i in range(0, 16, 2)]
        return ("" if kind == "i6" else ":").join(groups).encode()
    return f"{value & _U64:016x}".encode()


def symbol(cpu: MachineCpu, value: int, *, offset: bool) -> bytes:
    """The kernel symbol that an address lies in, with its offset if wanted; its digits if there is none."""
    best, name = -1, ""
    for found, address in cpu.machine.symbols.items():
        if best < address <= value:
            best, name = address, found
    if not name or value - best >= 1 << 20:
        return f"0x{value:x}".encode()
    return f"{name}+{value - best:#x}".encode() if offset else name.encode()
