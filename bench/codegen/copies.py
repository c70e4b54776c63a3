"""A struct goes from one map to another."""

import probee as bp
from probee import Char, u32, u64


class Entry(bp.Struct):
    time: u64
    pid: u32
    uid: u32
    comm: Char[16]
    values: u64[4]


latest = bp.Array[Entry](1)
history = bp.Hash[u32, Entry](256)


@bp.raw_tracepoint("sys_enter")
def keep(regs, number):
    entry = latest.get(0)
    if entry is None:
        return
    history[entry.pid] = entry
    entry.time = bp.nsecs()
    entry.pid = bp.pid()
    entry.uid = bp.uid()
    entry.comm = bp.comm()
    entry.values[1] = number
