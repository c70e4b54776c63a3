"""Helpers that print: to the trace pipe, into memory, into an iterator's output."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from .format import render
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_MOST_ARGUMENTS = 12  # MAX_BPRINTF_VARARGS
_MOST_TEXT = 1023
_PAGE_MOST = 1 << 20


def _arguments(cpu: MachineCpu, address: int, size: int) -> list[int] | int:
    if size % 8 or size > 8 * _MOST_ARGUMENTS or (size and not address):
        return -errno.EINVAL
    return list(struct.unpack(f"<{size // 8}Q", cpu.memory.read(address, size))) if size else []


def _format(cpu: MachineCpu, address: int, size: int) -> bytes | None:
    text, end, _ = cpu.memory.read(address, size).partition(b"\0")
    return text if end else None


def _print(cpu: MachineCpu, fmt: bytes | None, arguments: list[int] | int) -> int:
    if isinstance(arguments, int):
        return arguments
    if fmt is None:
        return -errno.EINVAL
    text = render(cpu, fmt, arguments)
    if isinstance(text, int):
        return text
    cpu.machine.printed.append(text[:_MOST_TEXT].decode("utf-8", "replace"))
    return len(text)


@helper("trace_printk")
def trace_printk(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _print(cpu, _format(cpu, r1, r2 & 0xFFFFFFFF), [r3, r4, r5])


@helper("trace_vprintk")
def trace_vprintk(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    arguments = _arguments(cpu, r3, r4 & 0xFFFFFFFF)
    return _print(cpu, _format(cpu, r1, r2 & 0xFFFFFFFF), arguments)


@helper("snprintf")
def snprintf(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    arguments = _arguments(cpu, r4, r5 & 0xFFFFFFFF)
    if isinstance(arguments, int):
        return arguments
    text = render(cpu, cpu.memory.read_string(r3, 1 << 16), arguments)
    if isinstance(text, int):
        return text
    size = r2 & 0xFFFFFFFF
    if size:
        cpu.memory.write(r1, text[: size - 1] + b"\0")
    return len(text) + 1


def sequence(cpu: MachineCpu, address: int, data: bytes) -> int:
    out = cpu.machine.sequences.setdefault(address, bytearray())
    if len(out) + len(data) > _PAGE_MOST:
        return -errno.EOVERFLOW
    out += data
    return 0


@helper("seq_printf")
def seq_printf(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    arguments = _arguments(cpu, r4, r5 & 0xFFFFFFFF)
    fmt = _format(cpu, r2, r3 & 0xFFFFFFFF)
    if isinstance(arguments, int):
        return arguments
    text = -errno.EINVAL if fmt is None else render(cpu, fmt, arguments)
    return text if isinstance(text, int) else sequence(cpu, r1, text)


@helper("seq_write")
def seq_write(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return sequence(cpu, r1, cpu.memory.read(r2, r3 & 0xFFFFFFFF))
