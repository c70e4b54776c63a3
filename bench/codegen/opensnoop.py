"""Report each open with its result; the path is remembered from entry to exit."""

import probee as bp
from probee import Char, i32, u32, u64


class Open(bp.Struct):
    time_ns: u64
    pid: u32
    ret: i32
    comm: Char[16]
    path: Char[256]


started = bp.Hash[u32, u64](10_240)
opens = bp.RingBuf[Open](256 * 1024)
only_pid = bp.Const[u32](0)


@bp.tracepoint("syscalls:sys_enter_openat")
def on_enter(args):
    if only_pid and bp.pid() != only_pid:
        return
    started[bp.tid()] = args.filename


@bp.tracepoint("syscalls:sys_exit_openat")
def on_exit(args):
    path = started.pop(bp.tid(), 0)
    if not path:
        return
    with opens.reserve() as e:
        e.time_ns = bp.nsecs()
        e.pid = bp.pid()
        e.ret = args.ret
        e.comm = bp.comm()
        e.path = bp.user_str(path)
