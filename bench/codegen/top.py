"""The largest of a table of values, and where it is."""

import probee as bp
from probee import u32, u64


class Table(bp.Struct):
    values: u64[32]
    best: u32


tables = bp.Array[Table](1)


@bp.raw_tracepoint("sys_enter")
def largest(regs, number):
    table = tables.get(0)
    if table is None:
        return
    best = 0
    most = u64(0)
    for i in range(32):
        if table.values[i] > most:
            most = table.values[i]
            best = i
    table.best = best
