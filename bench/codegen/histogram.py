"""A linear and a logarithmic histogram of times since the last call."""

import probee as bp
from probee import u64

linear = bp.PerCpuArray[u64](32)
logarithmic = bp.PerCpuArray[u64](64)
last = bp.Global[u64](0)


@bp.raw_tracepoint("sys_enter")
def measure(regs, number):
    now = bp.nsecs()
    delta = now - last.value
    last.value = now
    linear[min(delta // 1000, 31)] += 1
    logarithmic[bp.log2(delta)] += 1
