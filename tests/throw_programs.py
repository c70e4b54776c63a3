"""Programs that end by an exception; types by their numbers."""

from __future__ import annotations

import probee as bp
from probee import u64


class Args(bp.Struct):
    a: u64
    b: u64
    c: u64


counts = bp.Hash[u64, u64](8)
reached = bp.Global[u64]()


def deep(n):
    if n > 10:
        bp.throw(33)
    return n * 2


def deeper(n):
    reached.value += 1
    return deep(n) + 1


@bp.syscall
def thrown(args: Args):
    args.b = deeper(args.a)
    reached.value += 100
    if args.a == 5:
        bp.throw()
    return 7


@bp.syscall
def asserted(args: Args):
    assert args.a < 8, 44  # noqa: RUF040
    assert args.b
    found = counts.get(args.a)
    assert found is not None, args.c
    return found


@bp.syscall
def ids(args: Args):
    args.a = bp.type_id("task_struct")
    args.b = bp.type_id(Args)
    task = bp.rdonly_cast("task_struct", bp.get_current_task())
    args.c = task.tgid
    return task.pid == bp.tid()
