"""`probee demo`: three of the tools at once, a small workload to look at, and what the kernel saw of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .. import session as sessions
from ..tools import execsnoop, opensnoop, runqlat
from ..tools._common import histogram
from .style import bold, dim

HELP = """\
usage: probee demo [--machine]

Attach an exec tracer, an open tracer and a run-queue latency histogram to the running kernel, make a small
workload (some programs, a file, more busy processes than CPUs; about two seconds), and show what the kernel
saw of it. Nothing is left behind. Without root, off Linux, or with --machine, the same tools run in probee's
user-space machine on events that are made up."""

PROGRAMS = (["true"], ["uname", "-s"], ["sh", "-c", "echo $((6 * 7))"])
NEXT = """\
  sudo probee execsnoop                      the same, of the whole machine, until Ctrl-C
  sudo probee opensnoop --comm bash          files by program name
  sudo probee syscount --latency -d 5        where the time in system calls goes
  probee execsnoop --help                    every tool explains itself
  probee --help                              a first program of your own"""


def main(argv: list[str]) -> int:
    if argv and argv != ["--machine"]:
        print(HELP)
        return 0 if argv[0] in ("-h", "--help") else 2
    why = "You asked for no kernel" if argv else _no_kernel()
    if why:
        from .demo_machine import main as demo_machine

        return demo_machine(why)
    began = time.monotonic()
    with ExitStack() as stack:
        attached = [stack.enter_context(sessions.attach(tool)) for tool in (execsnoop, opensnoop, runqlat)]
        took = (time.monotonic() - began) * 1e3
        programs = sum(len(s.programs) for s in attached)
        cached = all(s.stats["from_cache"] for s in attached)
        how = "from the cache" if cached else "compiled from Python"
        print(f"Attached {programs} programs to the kernel in {took:.0f} ms ({how}):")
        for session in attached:
            for link in session.links:
                print(dim(f"  {link.hook}"))
        print(
            "\nNow it starts some programs, opens a file, and keeps every CPU busy twice over…\n", flush=True
        )
        with tempfile.NamedTemporaryFile(prefix="hello-probee-") as file:
            pids = workload(file.name)
            show_execs(pids)
            show_opens(file.name)
        print(bold("How long threads waited for a CPU meanwhile"))
        counts = [sum(cpus) for cpus in runqlat.waits.values()]
        print("\n".join(histogram(counts, "run-queue latency", "usecs")))
        lost = sum(s.dropped for s in attached)
    fate = f"{lost} events were lost" if lost else "no event was lost"
    print(f"\nDetached; {fate}. What to try next:\n\n{NEXT}")
    return 0


def _no_kernel() -> str:
    """Why programs can't be attached here; "" if they can."""
    if sys.platform != "linux":
        return "This is no Linux"
    from ..sys import caps

    if caps.missing(caps.CAP_BPF, caps.CAP_PERFMON):
        return "Attaching programs to the kernel needs root"
    return ""


def workload(path: str) -> set[int]:
    """Start the programs, open the file, spin. Returns the process ids of the programs."""
    pids = set()
    for words in PROGRAMS:
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            pids.add(process.pid)
    subprocess.run(["cat", path, f"{path}.not-there"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with busy(2 * (os.cpu_count() or 1)):
        time.sleep(1.5)
    return pids


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep `count` processes computing."""
    spin = [sys.executable, "-S", "-c", "while True: pass"]
    spinners = [subprocess.Popen(spin) for _ in range(count)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def show_execs(pids: set[int]) -> None:
    print(bold("Programs it started (execsnoop)"))
    print(f"  {'PID':>7} {'PARENT':>7} {'COMM':<12} ARGS")
    for e in execsnoop.execs.consume():
        if e.pid in pids:
            print(f"  {e.pid:>7} {e.ppid:>7} {e.comm:<12} {' '.join(execsnoop.words(e))}")
    print(dim(f"  (this process is {os.getpid()})\n"))


def show_opens(path: str) -> None:
    print(bold("Who opened the file it made (opensnoop)"))
    print(f"  {'PID':>7} {'COMM':<12} {'RESULT':<26} PATH")
    for e in opensnoop.opens.consume():
        if e.path.startswith(path):
            result = f"fd {e.ret}" if e.ret >= 0 else os.strerror(-e.ret)
            print(f"  {e.pid:>7} {e.comm:<12} {result:<26} {e.path}")
    print()
