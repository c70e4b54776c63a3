"""A product of matrices of 4 by 4 in globals."""

import probee as bp
from probee import u64

left = bp.Global[u64[16]]()
right = bp.Global[u64[16]]()
product = bp.Global[u64[16]]()


@bp.raw_tracepoint("sys_enter")
def multiply(regs, number):
    for row in range(4):
        for column in range(4):
            total = u64(0)
            for k in range(4):
                total += left.value[row * 4 + k] * right.value[k * 4 + column]
            product.value[row * 4 + column] = total
