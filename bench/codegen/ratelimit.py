"""A token bucket for each user."""

import probee as bp
from probee import u32, u64


class Bucket(bp.Struct):
    tokens: u64
    filled: u64


buckets = bp.LruHash[u32, Bucket](1024)
passed = bp.PerCpuArray[u64](2)
SIZE = 100
PER_TOKEN = 10_000_000


@bp.raw_tracepoint("sys_enter")
def limit(regs, number):
    now = bp.nsecs()
    bucket = buckets.get(bp.uid())
    if bucket is None:
        buckets[bp.uid()] = Bucket(tokens=SIZE, filled=now)
        return
    fresh = (now - bucket.filled) // PER_TOKEN
    if fresh:
        bucket.tokens = min(SIZE, bucket.tokens + fresh)
        bucket.filled = now
    enough = bucket.tokens > 0
    if enough:
        bucket.tokens -= 1
    passed[enough] += 1
