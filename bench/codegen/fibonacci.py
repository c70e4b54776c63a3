"""A recurrence in a loop with a bound that is set before the load."""

import probee as bp
from probee import u32, u64

rounds = bp.Const[u32](40)
result = bp.Global[u64](0)


@bp.raw_tracepoint("sys_enter")
def fibonacci(regs, number):
    a = u64(0)
    b = u64(1)
    for _ in range(rounds):
        a, b = b, a + b
    result.value = a ^ number
