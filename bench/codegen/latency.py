"""From the start of a call to its end, by thread."""

import probee as bp
from probee import u32, u64

started = bp.Hash[u32, u64](10_240)
longest = bp.Global[u64](0)
total = bp.Global[u64](0)


@bp.raw_tracepoint("sys_enter")
def enter(regs, number):
    started[bp.tid()] = bp.nsecs()


@bp.raw_tracepoint("sys_exit")
def leave(regs, ret):
    at = started.get(bp.tid())
    if at is None:
        return
    took = bp.nsecs() - at
    total.value += took
    if took > longest.value:
        longest.value = took
    del started[bp.tid()]
