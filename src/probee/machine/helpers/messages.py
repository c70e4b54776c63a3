"""Helpers of sk_msg programs: how much a verdict is for, and what of a message is seen, added, taken away."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_U32 = 0xFFFFFFFF


@helper("msg_apply_bytes")
def msg_apply_bytes(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    """The fact `apply_bytes`: how many bytes the verdict is for."""
    cpu.machine.context_at(cpu, r1).facts["apply_bytes"] = r2 & _U32
    return 0


@helper("msg_cork_bytes")
def msg_cork_bytes(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    """The fact `cork_bytes`: how many bytes to wait for before the program runs again."""
    cpu.machine.context_at(cpu, r1).facts["cork_bytes"] = r2 & _U32
    return 0


def _change(cpu: MachineCpu, method: str, r1: int, r2: int, r3: int, r4: int) -> int:
    if r4:
        return -errno.EINVAL
    context: Any = cpu.machine.context_at(cpu, r1)
    result: int = getattr(context.packet, method)(r2 & _U32, r3 & _U32)
    context.refresh()
    return result


@helper("msg_pull_data")
def msg_pull_data(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _change(cpu, "pull", r1, r2, r3, r4)


@helper("msg_push_data")
def msg_push_data(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _change(cpu, "push", r1, r2, r3, r4)


@helper("msg_pop_data")
def msg_pop_data(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _change(cpu, "pop", r1, r2, r3, r4)
