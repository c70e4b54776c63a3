"""Count the bits of a number one by one."""

import probee as bp
from probee import u64

bits = bp.Global[u64](0)


@bp.raw_tracepoint("sys_enter")
def count(regs, number):
    left = u64(number) ^ bp.nsecs()
    found = 0
    for _ in range(64):
        if not left:
            break
        left &= left - 1
        found += 1
    bits.value = found
