"""A histogram of the time threads wait for a CPU."""

import probee as bp
from probee import u32, u64

queued = bp.Hash[u32, u64](65_536)
waits = bp.PerCpuArray[u64](64)


@bp.tp_btf("sched_wakeup")
def on_wakeup(task):
    queued[task.pid] = bp.nsecs()


@bp.tp_btf("sched_switch")
def on_switch(preempted, previous, following):
    if previous.__state == 0 and previous.pid:
        queued[previous.pid] = bp.nsecs()
    since = queued.pop(following.pid, 0)
    if since:
        waits[bp.log2((bp.nsecs() - since) // 1000)] += 1
