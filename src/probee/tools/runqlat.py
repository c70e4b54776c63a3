"""Show how long threads wait for a CPU, as a histogram.

A thread that wakes up, or that is put back while it could still run, waits in a run queue until the
scheduler picks it. Long waits mean that there is more to do than CPUs to do it. The time from waking to
running is counted in powers of two.

Examples:
  probee runqlat               until Ctrl-C
  probee runqlat -i 1 -d 10    ten histograms, one a second
  probee runqlat -p 4711 -d 5  the threads of one process

  run-queue latency, 23761 in all
                    usecs : count     distribution
          0 -> 1          : 5120      |██████████████                          |
          2 -> 3          : 14310     |████████████████████████████████████████|
          4 -> 7          : 4022      |████████████                            |
          8 -> 15         : 309       |█                                       |
"""

from __future__ import annotations

import sys

import probee as bp
from probee import u32, u64
from probee.tools._common import COMM, DURATION, INTERVAL, JSON, PID, UID, Log2, announce, parse, rounds
from probee.tools._filter import ANYBODY, choose, only_comm, only_pid, only_uid

queued = bp.Hash[u32, u64](65_536)  # when each waiting thread entered a run queue
waits = bp.PerCpuArray[u64](64)  # how many waits took 2**n microseconds


def wanted(task) -> bool:
    """As in _filter, but about the thread that is scheduled, which need not be the current one."""
    if only_pid and task.tgid != only_pid:
        return False
    if only_uid != ANYBODY and task.cred.uid.val != only_uid:
        return False
    return not only_comm[0] or task.comm == only_comm


def enqueue(task) -> None:
    if task.pid and wanted(task):  # pid 0 is the idle thread, which never waits
        queued[task.pid] = bp.ktime_get_ns()


def runnable(task) -> bool:
    if hasattr(task, "__state"):  # since Linux 5.14
        return not task.__state  # TASK_RUNNING is 0
    if hasattr(task, "state"):
        return not task.state
    return False


@bp.tp_btf("sched_wakeup")
def on_wakeup(task):
    enqueue(task)


@bp.tp_btf("sched_wakeup_new")
def on_first_wakeup(task):
    enqueue(task)


@bp.tp_btf("sched_switch")
def on_switch(preempted, previous, following):
    if runnable(previous):  # it did not go to sleep: it waits again
        enqueue(previous)
    since = queued.pop(following.pid, 0)
    if since:
        waits[bp.log2((bp.ktime_get_ns() - since) // 1000)] += 1


OPTIONS = (PID, UID, COMM, INTERVAL, DURATION, JSON)


def main(argv: list[str]) -> int:
    opts = parse("runqlat", __doc__, OPTIONS, argv)
    choose(opts)
    histogram = Log2("run-queue latency", "usecs", json=opts.json)
    with bp.attach(catch_interrupt=True):
        announce(opts, "Timing waits for a CPU... Ctrl-C to end.")
        for _ in rounds(opts.interval, opts.duration):
            histogram.show(waits.values())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
