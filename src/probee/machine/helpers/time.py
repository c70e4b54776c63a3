"""Helpers about time, chance and the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu


@helper("ktime_get_ns", "ktime_get_coarse_ns")
def ktime_get_ns(cpu: MachineCpu, *_: int) -> int:
    return cpu.machine.clock.read()


@helper("ktime_get_boot_ns")
def ktime_get_boot_ns(cpu: MachineCpu, *_: int) -> int:
    clock = cpu.machine.clock
    return clock.read() + clock.asleep


@helper("ktime_get_tai_ns")
def ktime_get_tai_ns(cpu: MachineCpu, *_: int) -> int:
    clock = cpu.machine.clock
    ahead = clock.tai - clock.now
    return clock.read() + ahead


@helper("jiffies64")
def jiffies64(cpu: MachineCpu, *_: int) -> int:
    return cpu.machine.clock.jiffies


@helper("get_prandom_u32")
def get_prandom_u32(cpu: MachineCpu, *_: int) -> int:
    return cpu.machine.random.getrandbits(32)


@helper("get_smp_processor_id")
def get_smp_processor_id(cpu: MachineCpu, *_: int) -> int:
    return cpu.number


@helper("get_numa_node_id")
def get_numa_node_id(cpu: MachineCpu, *_: int) -> int:
    return cpu.numa_node


@helper("timer_init")
def timer_init(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return cpu.machine.timers.init(r1, cpu.machine.map_at(r2), r3)


@helper("timer_set_callback")
def timer_set_callback(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    return cpu.machine.timers.set_callback(r1, r2)


@helper("timer_start")
def timer_start(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return cpu.machine.timers.start(r1, r2, r3, cpu.number)


@helper("timer_cancel")
def timer_cancel(cpu: MachineCpu, r1: int, *_: int) -> int:
    return cpu.machine.timers.cancel(r1)
