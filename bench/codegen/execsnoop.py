"""Report each exec with its parent, name and path, through a ring buffer."""

import probee as bp
from probee import Char, u32, u64


class Exec(bp.Struct):
    time_ns: u64
    pid: u32
    ppid: u32
    comm: Char[16]
    filename: Char[256]


execs = bp.RingBuf[Exec](256 * 1024)


@bp.tracepoint("sched:sched_process_exec")
def on_exec(args):
    task = bp.current_task()
    with execs.reserve() as e:
        e.time_ns = bp.ktime_get_ns()
        e.pid = args.pid
        e.ppid = task.real_parent.tgid
        e.comm = bp.comm()
        e.filename = args.filename
