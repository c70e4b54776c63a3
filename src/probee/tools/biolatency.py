"""Show how long block I/O takes, as a histogram.

The time from handing a request to the device until the device has finished it, in powers of two: fast
requests and slow ones stand apart where an average would hide them. The caches above never ask a device,
so what they serve is not here. Requests are made by many (a write often by a kernel thread, long after the
program that wrote), so there are no filters by process: there is one by disk.

Examples:
  probee biolatency                 every disk, until Ctrl-C
  probee biolatency --by-op -d 10   reads, writes and the rest apart
  probee biolatency --disk nvme0n1 -i 5

  block I/O latency, 1342 in all
                    usecs : count     distribution
         64 -> 127        : 611       |████████████████████████████████████████|
        128 -> 255        : 498       |█████████████████████████████████       |
        256 -> 511        : 202       |██████████████                          |
        512 -> 1023       : 31        |███                                     |
"""

from __future__ import annotations

import sys

import probee as bp
from probee import u32, u64
from probee.tools._common import DURATION, INTERVAL, JSON, Log2, Option, announce, parse, rounds

READ, WRITE = 0, 1  # REQ_OP_READ, REQ_OP_WRITE: the low byte of a request's flags

issued = bp.Hash[u64, u64](65_536)  # when each request went to its device, by the request's address
reads = bp.PerCpuArray[u64](64)
writes = bp.PerCpuArray[u64](64)
others = bp.PerCpuArray[u64](64)  # flush, discard, zeroing…
only_disk = bp.Const[u32](0)  # the device number as the kernel keeps it: major << 20 | minor


@bp.tp_btf("block_rq_issue")
def on_issue(request):
    if only_disk:
        disk = request.q.disk
        if (disk.major << 20 | disk.first_minor) != only_disk:
            return
    issued[u64(request)] = bp.ktime_get_ns()


@bp.tp_btf("block_rq_complete")
def on_complete(request):
    since = issued.pop(u64(request), 0)
    if not since:
        return
    slot = bp.log2((bp.ktime_get_ns() - since) // 1000)
    match request.cmd_flags & 0xFF:
        case 0:
            reads[slot] += 1
        case 1:
            writes[slot] += 1
        case _:
            others[slot] += 1


def disk(name: str) -> int:
    """The kernel's number of the block device of that name."""
    try:
        with open(f"/sys/class/block/{name.removeprefix('/dev/')}/dev") as file:
            major, minor = file.read().split(":")
    except OSError:
        raise ValueError(f"there is no block device {name!r} in /sys/class/block") from None
    return int(major) << 20 | int(minor)


OPTIONS = (
    Option("--disk", convert=disk, meta="NAME", help="only this whole disk (nvme0n1, not nvme0n1p1)"),
    Option("--by-op", help="reads, writes and other requests apart"),
    INTERVAL,
    DURATION,
    JSON,
)


def main(argv: list[str]) -> int:
    opts = parse("biolatency", __doc__, OPTIONS, argv)
    only_disk.value = opts.disk or 0
    if opts.by_op:
        shown = [("reads", [reads]), ("writes", [writes]), ("other requests", [others])]
    else:
        shown = [("block I/O latency", [reads, writes, others])]
    histograms = [(Log2(title, "usecs", json=opts.json), maps) for title, maps in shown]
    with bp.attach(catch_interrupt=True):
        announce(opts, "Timing block I/O... Ctrl-C to end.")
        for _ in rounds(opts.interval, opts.duration):
            for histogram, maps in histograms:
                slots = zip(*(m.values() for m in maps), strict=True)
                histogram.show([map(sum, slot) for slot in slots])  # of each map the sum over all CPUs
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
