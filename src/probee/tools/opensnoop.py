"""Print every file opened: by whom, which, and how it ended.

Follows open(2), openat(2) and openat2(2). Paths are as the program gave them: a relative one starts at its
working directory, or at openat's directory. JSON also has the flags.

Examples:
  probee opensnoop                    everything, until Ctrl-C
  probee opensnoop -c nginx -x        files nginx looked for in vain
  probee opensnoop --path /etc -d 10  whatever has /etc in its path, for ten seconds
  probee opensnoop --json -p 4711

  TIME             PID    UID COMM               FD ERROR    PATH
  14:05:43.118   92011   1000 python3               ENOENT   /usr/lib/python3.11/_json.py
  14:05:43.118   92011   1000 python3             3          /usr/lib/python3.11/json/__init__.py
"""

from __future__ import annotations

import sys
from errno import errorcode

import probee as bp
from probee import Annotated, i32, u32, u64
from probee.tools._common import COMM, DURATION, JSON, PID, UID, Option, Rows, parse, stream
from probee.tools._filter import choose, wanted


class Started(bp.Struct):
    path: u64  # where the caller keeps it
    flags: u64


class Open(bp.Struct):
    time_ns: u64
    pid: u32
    uid: u32
    flags: u32
    ret: i32
    comm: Annotated[str, 16]
    path: Annotated[str, 256]


started = bp.Hash[u32, Started](10_240)  # by thread
opens = bp.RingBuf[Open](1024 * 1024)
only_failed = bp.Const[u32](0)


@bp.tracepoint("syscalls:sys_enter_open")
def enter_open(args):
    if wanted():
        started[bp.tid()] = Started(path=args.filename, flags=args.flags)


@bp.tracepoint("syscalls:sys_enter_openat")
def enter_openat(args):
    if wanted():
        started[bp.tid()] = Started(path=args.filename, flags=args.flags)


@bp.tracepoint("syscalls:sys_enter_openat2")
def enter_openat2(args):
    if wanted():
        started[bp.tid()] = Started(path=args.filename, flags=args.how.flags)


def finish(ret: int) -> None:
    start = started.get(bp.tid())
    if start is None:
        return
    if ret < 0 or not only_failed:
        with opens.reserve() as e:
            e.time_ns = bp.ktime_get_ns()
            e.pid = bp.pid()
            e.uid = bp.uid()
            e.flags = start.flags
            e.ret = ret
            e.comm = bp.comm()
            e.path = bp.user_str(start.path)  # read now: on entry the page might not have been in memory
    del started[bp.tid()]


@bp.tracepoint("syscalls:sys_exit_open")
def exit_open(args):
    finish(args.ret)


@bp.tracepoint("syscalls:sys_exit_openat")
def exit_openat(args):
    finish(args.ret)


@bp.tracepoint("syscalls:sys_exit_openat2")
def exit_openat2(args):
    finish(args.ret)


OPTIONS = (
    PID,
    UID,
    COMM,
    Option("-x", "--failed", help="only opens that failed"),
    Option("--path", convert=str, meta="TEXT", help="only paths with this text in them"),
    DURATION,
    JSON,
)


def main(argv: list[str]) -> int:
    opts = parse("opensnoop", __doc__, OPTIONS, argv)
    choose(opts)
    only_failed.value = opts.failed
    with bp.attach(catch_interrupt=True) as session:
        rows = Rows("{time:<12} {pid:>7} {uid:>6} {comm:<16} {fd:>4} {error:<8} {path}", json=opts.json)
        for e in stream(session, opens, opts.duration):
            if opts.path and opts.path not in e.path:
                continue
            fd, error = (e.ret, None) if e.ret >= 0 else (None, errorcode.get(-e.ret, -e.ret))
            rows.add(
                time_ns=e.time_ns,
                pid=e.pid,
                uid=e.uid,
                comm=e.comm,
                fd=fd,
                error=error,
                flags=e.flags,
                path=e.path,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
