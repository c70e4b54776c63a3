"""One event in so many goes out, with the rate as a constant."""

import probee as bp
from probee import Char, u32, u64


class Sample(bp.Struct):
    time: u64
    number: u64
    pid: u32
    cpu: u32
    comm: Char[16]


rate = bp.Const[u32](64)
samples = bp.RingBuf[Sample](64 * 1024)


@bp.raw_tracepoint("sys_enter")
def sample(regs, number):
    if bp.rand() % rate:
        return
    with samples.reserve() as s:
        s.time = bp.nsecs()
        s.number = number
        s.pid = bp.pid()
        s.cpu = bp.cpu()
        s.comm = bp.comm()
