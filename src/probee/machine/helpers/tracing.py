"""Helpers of tracing programs: stacks, arguments, cookies, results."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ..maps.stacks import SKIP_MASK, USER_STACK, StackTrace
from ..memory import BASE, Fault
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_BUILD_ID = 1 << 11
_FRAME_SIZE = 32
_MOST_ERRNO = 4095
_M64 = (1 << 64) - 1


def _stack(cpu: MachineCpu, context: Any, *, user: bool) -> list[int]:
    found: list[int] = getattr(context, "user_stack" if user else "stack", [])
    return found or (cpu.task.user_stack if user else cpu.task.stack)


@helper("get_stackid")
def get_stackid(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    m = cpu.machine.map_at(r2)
    if not isinstance(m, StackTrace):
        raise Fault(f"map {m.name!r} takes no stacks", address=r2)
    context = cpu.machine.contexts.get(r1, cpu.context)
    return m.store(_stack(cpu, context, user=bool(r3 & USER_STACK)), r3)


def _frames(cpu: MachineCpu, stack: list[int], to: int, size: int, flags: int) -> int:
    by_id = bool(flags & _BUILD_ID)
    frame = _FRAME_SIZE if by_id else 8
    wrong = 0
    if flags & ~(SKIP_MASK | USER_STACK | _BUILD_ID) or (by_id and not flags & USER_STACK) or size % frame:
        wrong = -errno.EINVAL
    kept = stack[flags & SKIP_MASK :][: size // frame]
    if not wrong and not kept:
        wrong = -errno.EFAULT
    if wrong:
        cpu.memory.write(to, bytes(size))
        return wrong
    if by_id:
        raw = b"".join(
            (2).to_bytes(4, "little") + bytes(20) + address.to_bytes(8, "little") for address in kept
        )
    else:
        raw = b"".join((address & _M64).to_bytes(8, "little") for address in kept)
    cpu.memory.write(to, raw.ljust(size, b"\0"))
    return len(raw)


@helper("get_stack")
def get_stack(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    context = cpu.machine.contexts.get(r1, cpu.context)
    return _frames(cpu, _stack(cpu, context, user=bool(r4 & USER_STACK)), r2, r3 & 0xFFFFFFFF, r4)


@helper("get_task_stack")
def get_task_stack(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    task = cpu.machine.tasks.task_at(r1)
    stack: list[int] = []
    if task is not None:
        stack = task.user_stack if r4 & USER_STACK else task.stack
    return _frames(cpu, stack, r2, r3 & 0xFFFFFFFF, r4)


@helper("get_attach_cookie")
def get_attach_cookie(cpu: MachineCpu, r1: int, *_: int) -> int:
    return int(cpu.machine.context_at(cpu, r1).cookie)


def _word(cpu: MachineCpu, address: int) -> int:
    """A word of the header before a tracing context, which programs may not read themselves."""
    start = address - BASE
    return int.from_bytes(cpu.memory.buffer[start : start + 8], "little")


def argument_count(cpu: MachineCpu, context: int) -> int:
    return _word(cpu, context - 8)


@helper("get_func_ip")
def get_func_ip(cpu: MachineCpu, r1: int, *_: int) -> int:
    context = cpu.machine.context_at(cpu, r1)
    known = context.facts.get("ip")
    return _word(cpu, r1 - 16) if known is None else int(known)


@helper("get_func_arg_cnt")
def get_func_arg_cnt(cpu: MachineCpu, r1: int, *_: int) -> int:
    return argument_count(cpu, r1)


@helper("get_func_arg")
def get_func_arg(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    number = r2 & 0xFFFFFFFF
    if number >= argument_count(cpu, r1):
        return -errno.EINVAL
    cpu.memory.store(r3, 8, _word(cpu, r1 + 8 * number))
    return 0


@helper("get_func_ret")
def get_func_ret(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    context = cpu.machine.context_at(cpu, r1)
    count = argument_count(cpu, r1)
    if context.address + 8 * count >= context.region.end:
        return -errno.EOPNOTSUPP
    cpu.memory.store(r2, 8, _word(cpu, r1 + 8 * count))
    return 0


@helper("override_return")
def override_return(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    """What the function returns instead is the fact `override_return`, signed."""
    value = r2 - (1 << 64) if r2 >> 63 else r2
    cpu.machine.context_at(cpu, r1).facts["override_return"] = value
    return 0


@helper("task_pt_regs")
def task_pt_regs(cpu: MachineCpu, r1: int, *_: int) -> int:
    """The address of the registers that a test gave the task, as `task.registers`."""
    return int(getattr(cpu.machine.tasks.task_at(r1), "registers", 0))


@helper("get_retval")
def get_retval(cpu: MachineCpu, *_: int) -> int:
    return cpu.retval


@helper("set_retval")
def set_retval(cpu: MachineCpu, r1: int, *_: int) -> int:
    value = r1 & 0xFFFFFFFF
    value -= (1 << 32) if value >> 31 else 0
    if value > 0 or value < -_MOST_ERRNO:
        return -errno.EINVAL
    cpu.retval = value
    return 0
