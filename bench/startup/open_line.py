"""The one-tracepoint program of bench/startup.py: print the command and the path of each openat(2)."""

import probee as bp
from probee import Char


class Open(bp.Struct):
    comm: Char[16]
    path: Char[256]


opens = bp.RingBuf[Open](256 * 1024)


@bp.tracepoint("syscalls:sys_enter_openat")
def on_open(args):
    with opens.reserve() as e:
        e.comm = bp.comm()
        e.path = args.filename


if __name__ == "__main__":
    with bp.attach():
        for e in opens:
            print(e.comm, e.path, flush=True)
