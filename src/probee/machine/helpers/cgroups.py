"""Helpers of sysctl programs. The context's facts: `name`, `current`, `new` (text), the last being what is
written, which the program may change."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_BASE_NAME = 1


def _copy(cpu: MachineCpu, text: bytes, to: int, size: int) -> int:
    """The text with its zero, cut where there is no room: then -E2BIG."""
    size &= 0xFFFFFFFF
    if not size:
        return -errno.EINVAL
    cpu.memory.write(to, text[: size - 1].ljust(size, b"\0"))
    return len(text) if len(text) < size else -errno.E2BIG


def _fact(cpu: MachineCpu, context: int, name: str) -> bytes | None:
    found = cpu.machine.context_at(cpu, context).facts.get(name)
    return found.encode() if isinstance(found, str) else found


@helper("sysctl_get_name")
def sysctl_get_name(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    name = _fact(cpu, r1, "name") or b""
    return _copy(cpu, name.rpartition(b"/")[2] if r4 & _BASE_NAME else name, r2, r3)


@helper("sysctl_get_current_value")
def sysctl_get_current_value(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    value = _fact(cpu, r1, "current")
    return -errno.EINVAL if value is None else _copy(cpu, value, r2, r3)


@helper("sysctl_get_new_value")
def sysctl_get_new_value(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    value = _fact(cpu, r1, "new")
    if value is None:
        cpu.memory.write(r2, bytes(r3 & 0xFFFFFFFF))
        return -errno.EINVAL
    return _copy(cpu, value, r2, r3)


@helper("sysctl_set_new_value")
def sysctl_set_new_value(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    if _fact(cpu, r1, "new") is None:
        return -errno.EINVAL
    size = r3 & 0xFFFFFFFF
    if size >= 4096:
        return -errno.E2BIG
    facts = cpu.machine.context_at(cpu, r1).facts
    facts["new"] = cpu.memory.read(r2, size).rstrip(b"\0").decode("utf-8", "replace")
    return 0
