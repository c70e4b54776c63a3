"""Count system calls by process and number, and their time."""

import probee as bp
from probee import u32, u64


class Key(bp.Struct):
    pid: u32
    number: u32


class Total(bp.Struct):
    calls: u64
    nanoseconds: u64


started = bp.Hash[u32, u64](10_240)
totals = bp.Hash[Key, Total](10_240)


@bp.tp_btf("sys_enter")
def on_enter(regs, number):
    started[bp.tid()] = bp.nsecs()


@bp.tracepoint("raw_syscalls:sys_exit")
def on_exit(args):
    since = started.get(bp.tid(), 0)
    if since == 0 or args.id < 0:
        return
    key = Key(pid=bp.pid(), number=args.id)
    total = totals.get(key)
    if total:
        total.calls += 1
        total.nanoseconds += bp.nsecs() - since
    else:
        totals[key] = Total(calls=1, nanoseconds=bp.nsecs() - since)
