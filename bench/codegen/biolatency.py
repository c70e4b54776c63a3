"""A histogram of block I/O time, by device."""

import probee as bp
from probee import u32, u64


class Request(bp.Struct):
    device: u32
    sectors: u32
    sector: u64


class Bucket(bp.Struct):
    device: u32
    slot: u32


issued = bp.Hash[Request, u64](10_240)
times = bp.PerCpuHash[Bucket, u64](4096)


@bp.tracepoint("block:block_rq_issue")
def on_issue(args):
    issued[Request(device=args.dev, sectors=args.nr_sector, sector=args.sector)] = bp.nsecs()


@bp.tracepoint("block:block_rq_complete")
def on_complete(args):
    request = Request(device=args.dev, sectors=args.nr_sector, sector=args.sector)
    since = issued.get(request)
    if since is None:
        return
    times[Bucket(device=args.dev, slot=bp.log2((bp.nsecs() - since) // 1000))] += 1
    del issued[request]
