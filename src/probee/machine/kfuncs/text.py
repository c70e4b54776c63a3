"""Kernel functions on text (Linux 6.17): places in it, or -ENOENT; -EFAULT where it can't be read."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..helpers.reading import fetch_text
from .table import kfunc

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_MOST = 65536  # XATTR_SIZE_MAX
_U32 = 0xFFFFFFFF
_U64 = (1 << 64) - 1
_PAD_ZEROS = 1


def _text(cpu: MachineCpu, address: int) -> bytes | int:
    found = fetch_text(cpu, address, _MOST, "kernel")
    if found is None:
        return -errno.EFAULT
    return -errno.E2BIG if len(found) >= _MOST else found


def _or_missing(place: int) -> int:
    return -errno.ENOENT if place < 0 else place


def _two(name: str, does: Callable[[bytes, bytes], int]) -> None:
    @kfunc(name)
    def function(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
        first, second = _text(cpu, r1), _text(cpu, r2)
        if isinstance(first, int):
            return first
        return second if isinstance(second, int) else does(first, second)


def _order(first: bytes, second: bytes) -> int:
    return (first > second) - (first < second)


def _span(first: bytes, second: bytes, *, inside: bool) -> int:
    at = 0
    while at < len(first) and (first[at] in second) == inside:
        at += 1
    return at


_two("bpf_strcmp", _order)
_two("bpf_strcasecmp", lambda a, b: _order(a.lower(), b.lower()))
_two("bpf_strstr", lambda a, b: _or_missing(a.find(b)))
_two("bpf_strcasestr", lambda a, b: _or_missing(a.lower().find(b.lower())))
_two("bpf_strspn", lambda a, b: _span(a, b, inside=True))
_two("bpf_strcspn", lambda a, b: _span(a, b, inside=False))


def _char(name: str, does: Callable[[bytes, int], int]) -> None:
    @kfunc(name)
    def function(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
        found = _text(cpu, r1)
        return found if isinstance(found, int) else does(found + b"\0", r2 & 255)


_char("bpf_strchr", lambda text, char: _or_missing(text.find(char)))
_char("bpf_strrchr", lambda text, char: _or_missing(text.rfind(char)))
_char("bpf_strchrnul", lambda text, char: text.find(char) if char in text else len(text) - 1)


@kfunc("bpf_strnchr")
def bpf_strnchr(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    found = _text(cpu, r1)
    return found if isinstance(found, int) else _or_missing((found + b"\0")[: r2 & _U64].find(r3 & 255))


@kfunc("bpf_strlen")
def bpf_strlen(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = _text(cpu, r1)
    return found if isinstance(found, int) else len(found)


@kfunc("bpf_strnlen")
def bpf_strnlen(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    found = fetch_text(cpu, r1, min(r2, _MOST), "kernel")
    if found is None:
        return -errno.EFAULT
    return -errno.E2BIG if len(found) >= _MOST else len(found)


@kfunc("bpf_strnstr")
def bpf_strnstr(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    first, second = _text(cpu, r1), _text(cpu, r2)
    if isinstance(first, int):
        return first
    return second if isinstance(second, int) else _or_missing(first[:r3].find(second))


@kfunc("bpf_copy_from_user_str", "bpf_copy_from_user_task_str")
def bpf_copy_from_user_str(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Of the current task; the form with a task has the flags in r5."""
    size, flags = r2 & _U32, r4 if r4 <= 1 else r5
    if flags & ~_PAD_ZEROS:
        return -errno.EINVAL
    if not size:
        return 0
    found = fetch_text(cpu, r3, size, "user")
    if found is None:
        if flags & _PAD_ZEROS:
            cpu.memory.write(r1, bytes(size))
        return -errno.EFAULT
    text = found[: size - 1] + b"\0"
    cpu.memory.write(r1, text.ljust(size, b"\0") if flags & _PAD_ZEROS else text)
    return len(text)
