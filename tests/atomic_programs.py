"""Programs of atomic operations on globals, values of maps and an arena."""

from __future__ import annotations

import probee as bp
from probee import i32, i64, u8, u16, u32, u64


class Args(bp.Struct):
    a: u64
    b: u64
    c: u64


class Value(bp.Struct):
    wide: u64
    narrow: i32
    byte: u8
    half: u16
    many: u64[4]


class Cell(bp.Struct):
    next: bp.ArenaPtr[Cell]
    n: u64


arena = bp.Arena(pages=4)
wide = bp.Global[u64](10)
narrow = bp.Global[u32](10)
signed = bp.Global[i64](-3)
values = bp.Array[Value](1)
counts = bp.Hash[u32, u64](4)
inside = bp.Global[u64](0, arena=arena)
top = bp.Global[bp.ArenaPtr[Cell]](arena=arena)


@bp.syscall
def change(args: Args):
    """What each gives on a 64-bit and a 32-bit number."""
    args.a = bp.atomic.add(wide.value, 5)  # 10 -> 15
    args.b = bp.atomic.sub(wide.value, 1)  # 15 -> 14
    args.a = args.a * 100 + bp.atomic.or_(wide.value, 1)  # 14 -> 15
    args.b = args.b * 100 + bp.atomic.and_(wide.value, 6)  # 15 -> 6
    args.c = bp.atomic.xor(wide.value, 0xFF)  # 6 -> 0xf9
    args.c = args.c * 1000 + bp.atomic.exchange(wide.value, 77)
    bp.atomic.add(narrow.value, -11)
    return i64(bp.atomic.add(signed.value, -1)) + 100


@bp.syscall
def in_a_value(args: Args):
    v = values.get(0)
    if v is None:
        return 1
    args.a = bp.atomic.add(v.many[args.b], 3)
    bp.atomic.add(v.narrow, -7)
    args.c = u64(bp.atomic.add(v.narrow, 1))
    return 0


@bp.syscall
def exchange(args: Args):
    before = bp.atomic.compare_exchange(wide.value, args.a, args.b)
    args.c = before
    return i64(before == args.a)


@bp.syscall
def by_key(args: Args):
    args.b = bp.atomic.add(counts[args.a], 4)
    return 0


@bp.syscall
def ordered(args: Args):
    v = values.get(0)
    if v is None:
        return 1
    bp.atomic.store(v.byte, args.c + 0x1FF)
    bp.atomic.store(v.half, args.c + 0x12345)
    bp.atomic.store(v.narrow, -5)
    bp.atomic.store(v.wide, args.a)
    args.b = bp.atomic.load(v.byte) + (bp.atomic.load(v.half) << 8)
    args.c = bp.atomic.load(v.wide) + 1
    return i64(bp.atomic.load(v.narrow))


@bp.syscall
def in_the_arena(args: Args):
    """A stack that any CPU may push to."""
    cells = arena.alloc_pages(1, Cell)
    if cells is None:
        return -12
    for i in range(5):
        cell = cells[i]
        cell.n = i
        for _ in range(10):
            first = bp.atomic.load(top.value)
            cell.next = first
            if bp.atomic.compare_exchange(top.value, first, cell) == first:
                break
        bp.atomic.add(inside.value, 1)
    taken = bp.atomic.exchange(top.value, None)
    sum = u64(0)
    for _ in range(10):
        if taken is None:
            break
        sum = sum * 10 + taken.n
        taken = taken.next
    args.a = sum
    args.b = bp.atomic.load(inside.value)
    args.c = bp.atomic.exchange(cells[0].n, 9)
    bp.atomic.store(top.value, cells)
    return 0
