"""Count execs of processes that descend from a given one, at most eight generations away."""

import probee as bp
from probee import u32, u64

root = bp.Const[u32](1)
generations = bp.Array[u64](16)


@bp.tracepoint("sched:sched_process_exec")
def on_exec(args):
    task = bp.current_task()
    for depth in range(8):
        if task.tgid == root:
            generations[depth] += 1
            return
        task = task.real_parent
