"""`probee demo` without root, and off Linux: the same tools in the machine, on events that are made up."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..machine_target import Machine
from ..tools import execsnoop, opensnoop, runqlat
from ..tools._common import histogram
from .style import bold, dim

WHY = """\
{why}, so nothing is attached to it.
The same programs run in probee's machine instead: an eBPF machine in this process, without privileges.
"""
LABEL = "(what follows is made up: no kernel was watched)"
PROGRAMS = ((["true"], 1), (["uname", "-s"], 2), (["sh", "-c", "echo $((6 * 7))"], 3))
NEXT = """\
  sudo probee demo                           the same, of this machine's kernel (Linux)
  probee run --machine FILE.py               your programs on events that you make up
  pytest                                     tests with bp.Machine: see docs/testing.md
  probee --help                              a first program of your own"""


def main(why: str) -> int:
    print(WHY.format(why=why))
    began = time.monotonic()
    with Machine(execsnoop) as m:
        took = (time.monotonic() - began) * 1e3
        print(f"Made execsnoop ready in {took:.0f} ms.  {dim(LABEL)}\n")
        print(bold("Programs that were started (execsnoop)"))
        print(f"  {'PID':>7} {'PARENT':>7} {'COMM':<12} ARGS")
        shell = m.task(2000, "bash", ppid=1)
        for words, number in PROGRAMS:
            m.current = m.task(2000 + number, words[0], parent=shell, args=words)
            m.fire("sched:sched_process_exec", pid=2000 + number, filename=f"/usr/bin/{words[0]}")
        for e in m.read(execsnoop.execs):
            print(f"  {e.pid:>7} {e.ppid:>7} {e.comm:<12} {' '.join(execsnoop.words(e))}")
    with Machine(opensnoop) as m:
        print("\n" + bold("Files that were opened (opensnoop)"))
        print(f"  {'PID':>7} {'COMM':<12} {'RESULT':<26} PATH")
        m.current = m.task(2004, "cat", ppid=2000)
        m.syscall("openat", -100, "/tmp/hello-probee", 0, 0, ret=3)
        m.syscall("openat", -100, "/tmp/hello-probee.not-there", 0, 0, ret=-2)
        for o in m.read(opensnoop.opens):
            result = f"fd {o.ret}" if o.ret >= 0 else "No such file or directory"
            print(f"  {o.pid:>7} {o.comm:<12} {result:<26} {o.path}")
    with Machine(runqlat) as m:
        print("\n" + bold("How long threads waited for a CPU meanwhile (runqlat)"))
        waker, sleeper = m.task(3001, "waker"), m.task(3002, "sleeper")
        for us in _waits():
            m.fire("sched_wakeup", sleeper)
            m.clock.advance(us=us)
            m.fire("sched_switch", False, waker, sleeper)
            waker.__setattr__("__state", 1)  # it sleeps, so that it does not wait itself
        counts = [sum(cpus) for cpus in runqlat.waits.values()]
        print("\n".join(histogram(counts, "run-queue latency", "usecs")))
    print(f"\n{dim(LABEL)}\nWhat to try next:\n\n{NEXT}")
    return 0


def _waits() -> Iterator[int]:
    """Waiting times in µs, many short ones and a few long ones."""
    for n in range(160):
        yield (3, 2, 5, 3, 9, 3, 6, 18)[n % 8] * (1 + (n % 40 == 39) * 60)
