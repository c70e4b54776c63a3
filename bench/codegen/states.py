"""A state machine over system calls: open, read or write, close."""

import probee as bp
from probee import u32, u64

states = bp.Hash[u32, u32](1024)
cycles = bp.Global[u64](0)


@bp.raw_tracepoint("sys_enter")
def step(regs, number):
    state = states.get(bp.tid())
    if state is None:
        if number == 257:
            states[bp.tid()] = 1
        return
    match number:
        case 0 | 1:
            if state == 1:
                states[bp.tid()] = 2
        case 3:
            if state == 2:
                cycles.value += 1
            del states[bp.tid()]
