"""Adler-32 of eight bytes."""

import probee as bp
from probee import u32, u64

checksum = bp.Global[u32](0)


@bp.raw_tracepoint("sys_enter")
def compute(regs, number):
    data = bp.nsecs()
    a = u64(1)
    b = u64(0)
    for i in range(8):
        a = (a + ((data >> (8 * i)) & 0xFF)) % 65521
        b = (b + a) % 65521
    checksum.value = b << 16 | a
