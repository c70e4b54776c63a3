"""CRC-32 of eight bytes, bit by bit."""

import probee as bp
from probee import u32, u64

crc = bp.Global[u32](0)


@bp.raw_tracepoint("sys_enter")
def compute(regs, number):
    data = bp.nsecs()
    c: u32 = 0xFFFFFFFF
    for i in range(8):
        c ^= (data >> (8 * i)) & 0xFF
        for _ in range(8):
            c = (c >> 1) ^ (0xEDB88320 if c & 1 else 0)
    crc.value = ~c
