"""Rounds of adding, rotating and mixing."""

import probee as bp
from probee import u64

result = bp.Global[u64](0)


def rotate(x: u64, n: u64) -> u64:
    return (x << n) | (x >> (64 - n))


@bp.raw_tracepoint("sys_enter")
def mix(regs, number):
    a = bp.nsecs()
    b = u64(number)
    c = u64(0x736F6D6570736575)
    d = u64(0x646F72616E646F6D)
    for _ in range(6):
        a += b
        b = rotate(b, 13) ^ a
        a = rotate(a, 32)
        c += d
        d = rotate(d, 16) ^ c
        a += d
        d = rotate(d, 21) ^ a
        c += b
        b = rotate(b, 17) ^ c
        c = rotate(c, 32)
    result.value = a ^ b ^ c ^ d
