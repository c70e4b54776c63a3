"""Print every program executed, with its arguments and its parent.

Short-lived processes hide from top and ps; this shows each of them at the moment exec(2) succeeds.
Arguments are read from the new program's memory, at most 256 bytes of them; "..." marks a cut.

Examples:
  probee execsnoop                  everything, until Ctrl-C
  probee execsnoop -u www-data      what the web server starts
  probee execsnoop --ppid 1 -d 60   what init starts within a minute
  probee execsnoop --json | jq .filename

  TIME             PID    PPID    UID COMM             ARGS
  14:02:11.402   91822   91810   1000 git              git status --short
  14:02:11.409   91823   91822   1000 less             less -FRX
"""

from __future__ import annotations

import sys

import probee as bp
from probee import Annotated, u8, u32, u64
from probee.tools._common import COMM, DURATION, JSON, PID, UID, Option, Rows, parse, positive, stream
from probee.tools._filter import choose, wanted

ARGS = 256


class Exec(bp.Struct):
    time_ns: u64
    pid: u32
    ppid: u32
    uid: u32
    args_size: u32  # of all arguments, also those that did not fit
    comm: Annotated[str, 16]
    filename: Annotated[str, 128]
    args: Annotated[list[u8], ARGS]  # as in memory: each ends with a NUL


execs = bp.RingBuf[Exec](1024 * 1024)
only_ppid = bp.Const[u32](0)


@bp.tracepoint("sched:sched_process_exec")
def on_exec(args):
    task = bp.current_task()
    ppid = task.real_parent.tgid
    if not wanted() or (only_ppid and ppid != only_ppid):
        return
    with execs.reserve() as e:
        e.time_ns = bp.ktime_get_ns()
        e.pid = args.pid
        e.ppid = ppid
        e.uid = bp.uid()
        e.comm = bp.comm()
        e.filename = args.filename
        e.args_size = task.mm.arg_end - task.mm.arg_start
        bp.probe_read_user(e.args, min(e.args_size, ARGS), task.mm.arg_start)


def words(e: Exec) -> list[str]:
    """The arguments as a list."""
    text = bytes(e.args[: e.args_size]).decode(errors="replace").removesuffix("\0").split("\0")
    return [*text, "..."] if e.args_size > ARGS else text


OPTIONS = (
    PID,
    Option("--ppid", convert=positive, meta="PID", help="only children of this"),
    UID,
    COMM,
    DURATION,
    JSON,
)


def main(argv: list[str]) -> int:
    opts = parse("execsnoop", __doc__, OPTIONS, argv)
    choose(opts)
    only_ppid.value = opts.ppid or 0
    with bp.attach(catch_interrupt=True) as session:
        rows = Rows("{time:<12} {pid:>7} {ppid:>7} {uid:>6} {comm:<16} {args}", json=opts.json)
        for e in stream(session, execs, opts.duration):
            rows.add(
                time_ns=e.time_ns,
                pid=e.pid,
                ppid=e.ppid,
                uid=e.uid,
                comm=e.comm,
                filename=e.filename,
                args=words(e),
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
