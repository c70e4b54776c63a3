"""Which program it is, by the start of its name."""

import probee as bp
from probee import u64

hits = bp.PerCpuArray[u64](4)


@bp.raw_tracepoint("sys_enter")
def look(regs, number):
    name = bp.comm()
    if name.startswith("python"):
        hits[1] += 1
    elif name.startswith("kworker/"):
        hits[2] += 1
    else:
        hits[0] += 1
