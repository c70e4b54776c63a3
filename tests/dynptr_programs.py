"""Programs that change packets and memory through dynptrs."""

from __future__ import annotations

import probee as bp
from probee import i64, u8, u32, u64


class Args(bp.Struct):
    a: u64
    b: u64
    c: u64


class Eight(bp.Struct):
    first: u32
    second: u32


class Block(bp.Struct):
    data: u8[64]


blocks = bp.Array[Block](2)


def swap(packet, at):
    """Exchange two numbers at a place."""
    d = bp.dynptr(packet)
    with d.edit(at, Eight) as part:
        kept = part.first
        part.first = part.second
        part.second = kept
        return 1
    return 0


@bp.xdp(frags=True)
def in_xdp(packet):
    return 2 if swap(packet, 4090) else 1


@bp.tc
def in_tc(packet):
    d = bp.dynptr(packet)
    if d.is_null() or d.is_rdonly() or d.size() < 30:
        return 2
    return 0 if swap(packet, 20) else 2


@bp.tc
def as_the_kernel_has_it(packet):
    """The kernel's own struct behind the context."""
    skb = bp.kfunc.bpf_cast_to_kern_ctx(packet)
    return i64(skb.len + skb.data_len * 1000)


@bp.syscall
def memory(args: Args):
    """Filled, copied, clipped."""
    one = blocks.get(0)
    two = blocks.get(1)
    if one is None or two is None:
        return 1
    d = bp.dynptr(one.data)
    e = bp.dynptr(two.data)
    if d.memset(7, 4, 8) != 0:
        return 2
    if d.memset(1, 60, 8) == 0:
        return 3
    args.a = u64(e.copy(d, 12, 32, 0) == 0)
    d.adjust(4, 12)
    args.b = d.size()
    other = d.clone()
    other.adjust(1, 3)
    args.c = d.size() * 100 + other.size()
    return i64(e.copy(d, 9))
