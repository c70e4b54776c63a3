"""Time to compile: a tool of about 100 lines, and a program of about 1,000.

Run: `python bench/compile_time.py [--json] [--rounds N] [--profile]`. Needs the kernel's BTF. Each round is a
process of its own that has imported all of the compiler and then compiles once, LLVM's process included; best
and median of the rounds, wall clock and processor time (children's, too). The parts are processor time, the
least of all rounds: the front end (Python, up to LLVM's text), LLVM's library loaded (while the front end
works, on another processor), text read, passes, code made. The exit code is 1 if the best time is above the
goal (30 and 300 ms).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

GOALS = {"tool": 30.0, "large": 300.0}
PARTS = ("front", "load", "read", "passes", "code")
ROUND = """
import importlib, importlib.util, os, pkgutil, resource, sys, time
spec = importlib.util.spec_from_file_location("measured", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["measured"] = module
spec.loader.exec_module(module)
from probee import lang
from probee.lang import codegen
from probee.lang.decl import programs_in
for found in pkgutil.walk_packages(lang.__path__, "probee.lang."):
    importlib.import_module(found.name)
from probee import sys as _, verifier as _
from probee.btf import choose as _
from probee.isa import helpers as _
from probee.sys import bpf as _, formats as _, tracefs as _
from probee.verifier import kfunc_rules as _

def spent():
    all = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(r.ru_utime + r.ru_stime for r in all)

if sys.argv[2] == "profile":
    import cProfile, pstats
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(lang.compile, programs_in(vars(module)))
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    sys.exit()

told, tell = os.pipe()

def timed(of, name, part):
    inner = getattr(of, name)
    def outer(*args, **kwargs):
        start = time.process_time()
        result = inner(*args, **kwargs)
        os.write(tell, f"{part} {(time.process_time() - start) * 1000}\\n".encode())
        return result
    setattr(of, name, outer)

timed(codegen._Llvm, "__init__", "load")  # these four run in the child
timed(codegen._Llvm, "_parse", "read")
timed(codegen._Llvm, "_optimise", "passes")
timed(codegen._Llvm, "_emit", "code")
compile = codegen.Compiler.compile

def begun(*args, **kwargs):
    os.write(tell, f"front {(time.process_time() - own) * 1000}\\n".encode())
    return compile(*args, **kwargs)

codegen.Compiler.compile = begun
programs = programs_in(vars(module))
before, start, own = spent(), time.perf_counter(), time.process_time()
made = lang.compile(programs)
wall = time.perf_counter() - start
time.sleep(0.02)  # the compiler's child ends behind us
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    pass
print(wall * 1000, (spent() - before) * 1000)
print(os.read(told, 4096).decode())
"""


def tool() -> str:
    """A tool with structs, maps, a ring buffer, text and kernel types; about 100 lines."""
    head = '''"""A tool."""
import probee as bp
from probee import Char, i32, u8, u16, u32, u64


class Event(bp.Struct):
    time: u64
    pid: u32
    ppid: u32
    uid: u32
    took: u64
    comm: Char[16]
    path: Char[128]


class Stats(bp.Struct):
    calls: u64
    errors: u64
    nanoseconds: u64
    longest: u64


events = bp.RingBuf[Event](256 * 1024)
started = bp.Hash[u32, u64](10_240)
stats = bp.Hash[u32, Stats](10_240)
histogram = bp.PerCpuArray[u64](64)
target = bp.Const[u32](0)
name = bp.Const[Char[16]]()


def wanted() -> bool:
    if target and bp.pid() != target:
        return False
    return not name[0] or bp.comm() == name


def bucket(n: u64) -> u64:
    return min(bp.log2(n), 63)


@bp.tracepoint("sched:sched_process_exec")
def on_exec(args):
    if not wanted():
        return
    task = bp.current_task()
    with events.reserve() as e:
        e.time = bp.nsecs()
        e.pid = args.pid
        e.ppid = task.real_parent.tgid
        e.uid = bp.uid()
        e.comm = bp.comm()
        e.path = args.filename


@bp.raw_tracepoint("sys_enter")
def enter(regs, number):
    if wanted():
        started[bp.tid()] = bp.nsecs()


@bp.raw_tracepoint("sys_exit")
def leave(regs, ret):
    at = started.pop(bp.tid())
    if at is None:
        return
    took = bp.nsecs() - at
    histogram[bucket(took)] += 1
    s = stats.get(bp.pid())
    if s is None:
        stats[bp.pid()] = Stats(calls=1, nanoseconds=took)
        return
    s.calls += 1
    s.nanoseconds += took
    if ret < 0:
        s.errors += 1
    if took > s.longest:
        s.longest = took
        if took > 1_000_000:
            with events.reserve() as e:
                e.time = at
                e.took = took
                e.pid = bp.pid()
                e.comm = bp.comm()


@bp.tp_btf("sched_process_exit")
def on_exit(task):
    if task.pid != task.tgid:
        return
    del started[task.pid]
    s = stats.get(task.tgid)
    if s is not None and s.calls == 0:
        del stats[task.tgid]
'''
    return head


def large() -> str:
    """Functions, maps and programs one after the other; about 1,000 lines."""
    out = [tool()]
    for i in range(24):
        out.append(f"""

class Record{i}(bp.Struct):
    count: u64
    last: u64
    pid: u32
    comm: Char[16]


records{i} = bp.Hash[u32, Record{i}](1024)


def mix{i}(x: u64, y: u64) -> u64:
    x ^= y >> {i % 7 + 1}
    x *= 0x9E3779B97F4A7C15
    return x ^ (x >> 29)


@bp.raw_tracepoint("sys_{"enter" if i % 2 else "exit"}")
def program{i}(regs, number):
    key = u32(mix{i}(number, bp.nsecs()))
    r = records{i}.get(key)
    if r is None:
        records{i}[key] = Record{i}(count=1, pid=bp.pid(), comm=bp.comm())
        return
    r.count += 1
    r.last = bp.nsecs()
    if r.comm != bp.comm():
        r.comm = bp.comm()
    total = 0
    for k in range({i % 5 + 3}):
        total += mix{i}(total, k)
        if total & 1:
            continue
        total += k
    if total > 1000:
        histogram[bucket(total)] += 1""")
    return "\n".join(out) + "\n"


def measure(path: Path, rounds: int) -> list[dict[str, float]]:
    """Milliseconds of each round: `wall`, `cpu`, and the parts."""
    found = []
    for _ in range(rounds):
        command = [sys.executable, "-c", ROUND, str(path), "time"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        row = {"wall": float(out[0]), "cpu": float(out[1])}
        row |= {part: float(ms) for part, ms in zip(out[2::2], out[3::2], strict=True)}
        found.append(row)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object for each program")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", action="store_true", help="where the time goes, in Python")
    options = parser.parse_args()
    slow = False
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("tool", tool()), ("large", large())):
            path = Path(folder) / f"{name}.py"
            path.write_text(text)
            if options.profile:
                subprocess.run([sys.executable, "-c", ROUND, str(path), "profile"], check=True)
                continue
            found = measure(path, options.rounds)
            least = {what: round(min(row[what] for row in found), 1) for what in ("wall", "cpu", *PARTS)}
            slow = slow or least["wall"] > GOALS[name]
            row = {
                "program": name,
                "lines": text.count("\n"),
                "best_ms": least["wall"],
                "median_ms": round(statistics.median(row["wall"] for row in found), 1),
                "cpu_ms": least["cpu"],
                "goal_ms": GOALS[name],
                **{f"{part}_ms": least[part] for part in PARTS},
            }
            print(json.dumps(row) if options.json else "  ".join(f"{k} {v}" for k, v in row.items()))
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main())
