"""Which program it is, by the start of its name."""

import probee as bp
from probee import u64

hits = bp.PerCpuArray[u64](4)


@bp.raw_tracepoint("sys_enter")
def look(regs, number):
    name = bp.comm()
    kind = 0
    if name.startswith("python"):
        kind = 1
    elif name.startswith("kworker/"):
        kind = 2
    hits[kind] += 1
