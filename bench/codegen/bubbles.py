"""Eight numbers of a map are sorted in place."""

import probee as bp
from probee import u64


class Numbers(bp.Struct):
    of: u64[8]


numbers = bp.Array[Numbers](1)


@bp.raw_tracepoint("sys_enter")
def sort(regs, number):
    n = numbers.get(0)
    if n is None:
        return
    n.of[7] = number
    for end in range(7):
        for i in range(7 - end):
            if n.of[i] > n.of[i + 1]:
                n.of[i], n.of[i + 1] = n.of[i + 1], n.of[i]
