"""Count the programs each process executes."""

import probee as bp
from probee import u32, u64

counts = bp.Hash[u32, u64](10_240)


@bp.tracepoint("sched:sched_process_exec")
def on_exec(args):
    counts[args.pid] += 1
