"""Report read(2) calls that took longer than a limit: an entry and an exit that meet in a map, and asyncio.

`sudo probee run examples/slow_reads.py 50` reports those over 50 milliseconds.
"""

import asyncio
import sys

import probee as bp
from probee import Annotated, i64, u32, u64


class Slow(bp.Struct):
    took_ns: u64
    ret: i64
    pid: u32
    comm: Annotated[str, 16]


limit_ns = bp.Const[u64](10_000_000)
started = bp.Hash[u32, u64](10_240)
slow = bp.RingBuf[Slow](64 * 1024)


@bp.tracepoint("syscalls:sys_enter_read")
def enter(args):
    started[bp.tid()] = bp.nsecs()


@bp.tracepoint("syscalls:sys_exit_read")
def leave(args):
    took = bp.nsecs() - started.pop(bp.tid(), bp.nsecs())
    if took > limit_ns:
        slow.output(Slow(took_ns=took, ret=args.ret, pid=bp.pid(), comm=bp.comm()))


async def report() -> None:
    async for e in slow:
        print(f"{e.comm:<16} {e.pid:>7} waited {e.took_ns / 1e6:9.3f} ms for {e.ret} bytes")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        limit_ns.value = int(sys.argv[1]) * 1_000_000
    with bp.attach():
        asyncio.run(report())
