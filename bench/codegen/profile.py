"""Count samples by process and stacks."""

import probee as bp
from probee import Char, i64, u32, u64


class Sample(bp.Struct):
    kernel: i64
    user: i64
    pid: u32
    comm: Char[16]


stacks = bp.StackTrace(1024)
samples = bp.Hash[Sample, u64](10_240)
only_pid = bp.Const[u32](0)


@bp.perf_event(freq=99)
def on_sample(ctx):
    if bp.pid() == 0 or (only_pid and bp.pid() != only_pid):
        return
    key = Sample(pid=bp.pid(), comm=bp.comm())
    key.kernel = bp.kstack(stacks)
    key.user = bp.ustack(stacks)
    samples[key] += 1
