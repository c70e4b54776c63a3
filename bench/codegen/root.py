"""Integer square root, digit by digit."""

import probee as bp
from probee import u64

result = bp.Global[u64](0)


@bp.raw_tracepoint("sys_enter")
def root(regs, number):
    left = bp.nsecs() & 0xFFFFFF
    found = u64(0)
    bit = u64(1 << 22)
    for _ in range(12):
        if left >= found + bit:
            left -= found + bit
            found = (found >> 1) + bit
        else:
            found >>= 1
        bit >>= 2
    result.value = found
