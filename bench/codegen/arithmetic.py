"""Hash, mix and average: loops, signed division and remainder, subprograms."""

import probee as bp
from probee import i64, u8, u32, u64

result = bp.Global[u64](0)
average = bp.Global[i64](0)
rounds = bp.Const[u32](100)


def fnv1a(data: u64) -> u64:
    h = u64(0xCBF29CE484222325)
    for i in range(8):
        h = (h ^ u8(data >> (8 * i))) * 0x100000001B3
    return h


def clamp(x: i64, low: i64, high: i64) -> i64:
    return max(low, min(x, high))


@bp.raw_tracepoint("sys_enter")
def mix(regs, number):
    now = bp.nsecs()
    total = u64(0)
    for i in range(rounds):
        total += fnv1a(now + i) % 1000
    result.value = total
    delta = i64(now) - i64(total)
    average.value = clamp(delta // 7, -1000, 1000) + delta % 60
