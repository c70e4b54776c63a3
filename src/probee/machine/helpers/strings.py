"""Helpers on text and numbers."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_BASES = (0, 8, 10, 16)
_MOST = 64  # characters of a number that are looked at
_SPACE = b" \t\n\v\f\r\xa0"


def parse(text: bytes, flags: int, *, signed: bool) -> tuple[int, int]:
    """The number of characters and the number; a negative errno for the first if there is none."""
    base = flags & 31
    if base not in _BASES or flags & ~31:
        return -errno.EINVAL, 0
    at = 0
    while at < len(text) and text[at] in _SPACE:
        at += 1
    negative = at < len(text) and text[at : at + 1] == b"-"
    at += negative
    digits = text[at : at + _MOST - 1].partition(b"\0")[0].lower()
    if at >= len(text):
        return -errno.EINVAL, 0
    begin = 0
    if digits[:2] == b"0x" and (base == 16 or (base == 0 and digits[2:3].isalnum() and digits[2:3] <= b"f")):
        base, begin = 16, 2
    elif base == 0:
        base = 8 if digits[:1] == b"0" else 10
    end = begin
    while end < len(digits) and digits[end : end + 1] in _digits(base):
        end += 1
    if end == begin:
        return -errno.EINVAL, 0
    number = int(digits[begin:end], base)
    if number >= 1 << 64 or (signed and number > (1 << 63) - (not negative)):
        return -errno.ERANGE, 0
    if negative and not signed:
        return -errno.EINVAL, 0
    return at + end, -number if negative else number


def _digits(base: int) -> bytes:
    return b"0123456789abcdef"[:base]


def _convert(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *, signed: bool) -> int:
    used, number = parse(cpu.memory.read(r1, r2), r3, signed=signed)
    if used > 0:
        cpu.memory.store(r4, 8, number)
    return used


@helper("strtol")
def strtol(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _convert(cpu, r1, r2 & 0xFFFFFFFF, r3, r4, signed=True)


@helper("strtoul")
def strtoul(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _convert(cpu, r1, r2 & 0xFFFFFFFF, r3, r4, signed=False)


@helper("strncmp")
def strncmp(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    size = r2 & 0xFFFFFFFF
    first = cpu.memory.read(r1, size).partition(b"\0")[0]
    second = cpu.memory.read_string(r3, size)
    return (first > second) - (first < second)
