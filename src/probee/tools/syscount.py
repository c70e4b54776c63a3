"""Count system calls: which are made, how often, and with --latency how long they take.

Counting sees each call as it starts; --latency sees it as it ends, so a call that never returns is in the
first only.

Examples:
  probee syscount -d 5                the machine's favourite calls in five seconds
  probee syscount -p 4711 --latency   where one process spends its time in the kernel
  probee syscount --by-process -t 5   who makes most calls
  probee syscount -c nginx -i 1

  SYSCALL                   COUNT     TOTAL ms     MEAN us      MAX us
  futex                     20113     4512.330       224.3     10024.1
  epoll_wait                 8190     4100.207       500.6     10010.8
  read                       7544       15.018         2.0        92.5
"""

from __future__ import annotations

import os
import sys

import probee as bp
from probee import Annotated, u32, u64
from probee.isa.syscalls import SYSCALLS
from probee.tools._common import (
    COMM,
    DURATION,
    INTERVAL,
    JSON,
    PID,
    UID,
    Option,
    Rows,
    announce,
    parse,
    positive,
    rounds,
)
from probee.tools._filter import choose, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from probee.tools._common import Options

CALLS = 1024  # more than any architecture has


class Started(bp.Struct):
    call: u64
    time_ns: u64


class Latency(bp.Struct):
    count: u64
    total_ns: u64
    max_ns: u64


class Process(bp.Struct):
    pid: u32
    comm: Annotated[str, 16]


counts = bp.PerCpuArray[u64](CALLS)
processes = bp.Hash[Process, u64](10_240)
started = bp.Hash[u32, Started](65_536)
latencies = bp.PerCpuArray[Latency](CALLS)


@bp.tp_btf("sys_enter")
def count(regs, call):
    if wanted():
        counts[call] += 1


@bp.tp_btf("sys_enter")
def count_process():
    if wanted():
        processes[Process(pid=bp.pid(), comm=bp.comm())] += 1


@bp.tp_btf("sys_enter")
def start(regs, call):
    if wanted():
        started[bp.tid()] = Started(call=call, time_ns=bp.ktime_get_ns())


@bp.tp_btf("sys_exit")
def finish():
    begun = started.get(bp.tid())
    if begun is None:
        return
    took = bp.ktime_get_ns() - begun.time_ns
    latency = latencies.get(begun.call)
    if latency is not None:
        latency.count += 1
        latency.total_ns += took
        latency.max_ns = max(latency.max_ns, took)
    del started[bp.tid()]


def names() -> dict[int, str]:
    """System call numbers of this machine -> names."""
    machine = os.uname().machine
    return {number: name for name, number in SYSCALLS.get(machine, {}).items()}


def totals(made: dict[Any, list[int]], before: dict[Any, list[int]]) -> list[tuple[Any, list[int]]]:
    """What came on top of `before`, the most first; `before` becomes `made`."""
    new = {
        key: [a - b for a, b in zip(now, before.get(key, [0, 0]), strict=False)] for key, now in made.items()
    }
    before.update(made)
    return sorted(((key, n) for key, n in new.items() if n[0]), key=lambda item: item[1][-1], reverse=True)


def by_call(opts: Options, before: dict[Any, list[int]]) -> None:
    name = names()
    made = {call: [sum(cpus)] for call, cpus in counts.items() if any(cpus)}
    rows = Rows("{syscall:<24} {count:>10}", json=opts.json)
    for call, (count,) in totals(made, before)[: opts.top]:
        rows.add(syscall=name.get(call, f"[{call}]"), count=count)


def by_process(opts: Options, before: dict[Any, list[int]]) -> None:
    made = {(process.pid, process.comm): [n] for process, n in processes.items()}
    rows = Rows("{pid:>7} {comm:<16} {count:>10}", json=opts.json)
    for (pid, comm), (count,) in totals(made, before)[: opts.top]:
        rows.add(pid=pid, comm=comm, count=count)


def by_latency(opts: Options, before: dict[Any, list[int]]) -> None:
    name = names()
    made, longest = {}, {}
    for call, cpus in latencies.items():
        if any(cpu.count for cpu in cpus):
            made[call] = [sum(cpu.count for cpu in cpus), sum(cpu.total_ns for cpu in cpus)]
            longest[call] = max(cpu.max_ns for cpu in cpus)
    rows = Rows(
        "{syscall:<24} {count:>10} {total_ms:>12.3f} {mean_us:>11.1f} {max_us:>11.1f}", json=opts.json
    )
    for call, (count, ns) in totals(made, before)[: opts.top]:
        rows.add(
            syscall=name.get(call, f"[{call}]"), count=count,
            total_ms=ns / 1e6, mean_us=ns / count / 1e3, max_us=longest[call] / 1e3,
        )  # fmt: skip


OPTIONS = (
    PID,
    UID,
    COMM,
    Option("-L", "--latency", help="also the time each call takes"),
    Option("-P", "--by-process", help="count by process, not by call"),
    Option("-t", "--top", convert=positive, meta="N", default=20, help="print the first N (default: 20)"),
    INTERVAL,
    DURATION,
    JSON,
)


def main(argv: list[str]) -> int:
    opts = parse("syscount", __doc__, OPTIONS, argv)
    choose(opts)
    if opts.by_process:
        programs, report = [count_process], by_process
    elif opts.latency:
        programs, report = [start, finish], by_latency
    else:
        programs, report = [count], by_call
    seen: dict[Any, list[int]] = {}
    with bp.attach(*programs, catch_interrupt=True):
        announce(opts, "Counting system calls... Ctrl-C to end.")
        for _ in rounds(opts.interval, opts.duration):
            report(opts, seen)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
