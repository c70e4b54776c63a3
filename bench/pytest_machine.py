"""Times pytest with 100 tests of a program in the machine, each with a machine of its own.

    python bench/pytest_machine.py [--rounds N]

Prints the seconds of whole runs, start of Python included; the first, which compiles the program, by itself.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path

TESTS = """
import pytest

import probee as bp
from probee import Char, u32, u64


class Exec(bp.Struct):
    pid: u32
    filename: Char[64]


execs = bp.RingBuf[Exec](64 * 1024)
runs = bp.Hash[u32, u64](1024)


@bp.tracepoint("sched:sched_process_exec")
def on_exec(args):
    runs[args.pid] += 1
    with execs.reserve() as e:
        e.pid = args.pid
        e.filename = args.filename


@pytest.mark.parametrize("pid", range(1, 101))
def test_exec(machine, pid):
    machine.fire("sched:sched_process_exec", pid=pid, filename="/bin/ls")
    assert runs[pid] == 1
    assert [(e.pid, e.filename) for e in execs] == [(pid, "/bin/ls")]
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    known = any(e.value == "probee.pytest_plugin" for e in entry_points(group="pytest11"))
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    words += [] if known else ["-p", "probee.pytest_plugin"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_many.py").write_text(TESTS)
        env = {**os.environ, "PROBEE_CACHE": folder}
        took: list[float] = []
        used: list[float] = []
        for _ in range(rounds + 1):
            began = time.monotonic()
            done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
            took.append(time.monotonic() - began)
            spent = resource.getrusage(resource.RUSAGE_CHILDREN)
            used.append(spent.ru_utime + spent.ru_stime)
            if "100 passed" not in done.stdout:
                raise SystemExit(done.stdout + done.stderr)
    each = [b - a for a, b in pairwise(used)]
    print(
        f"100 machine tests under pytest: {statistics.median(took[1:]):.2f} s, of which "
        f"{statistics.median(each):.2f} s of processor time; the first run {took[0]:.2f} s"
    )


if __name__ == "__main__":
    main()
