"""The kernel's BTF: building its index, and looking up a type through it, each in a fresh process.

Run: `python bench/btf_index.py [--json]`. The reach is a first build in less than 500 ms and a warm look-up
of a type, opening included, in less than 5 ms; the exit code is 1 if it is missed. The peer is the same
look-up after a full parse, without an index.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 15
BUILD_MS = 500.0
LOOKUP_MS = 5.0

# In the process that is measured: time from before the first touch of the BTF to the members of a type.
SCRIPT = """
import sys, time
from probee.btf import Btf, kernel_btf
start = time.perf_counter()
btf = kernel_btf() if sys.argv[1] == "index" else Btf.parse(open("/sys/kernel/btf/vmlinux", "rb").read())
members = btf.type(btf.find("task_struct", 4)).members
took = time.perf_counter() - start
print(took * 1e3, len(btf), len(members))
"""


def measure(how: str, cache: str) -> tuple[float, int]:
    """(milliseconds, number of types) of one fresh process."""
    environment = {**os.environ, "PROBEE_CACHE": cache, "XDG_RUNTIME_DIR": cache, "TMPDIR": cache}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], env=environment, check=True, capture_output=True, text=True
    )
    took, types, _ = run.stdout.split()
    return float(took), int(types)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object with all figures")
    options = parser.parse_args()
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        print("this kernel has no BTF", file=sys.stderr)
        return 2
    builds, lookups, parses = [], [], []
    types = 0
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as cache:
            took, types = measure("index", cache)
            builds.append(took)
            lookups.append(measure("index", cache)[0])
            parses.append(measure("parse", cache)[0])
    build, lookup, parse = map(statistics.median, (builds, lookups, parses))
    ok = build < BUILD_MS and lookup < LOOKUP_MS
    if options.json:
        figures = {"build_ms": builds, "lookup_ms": lookups, "parse_ms": parses}
        print(json.dumps({"bench": "btf_index", "kernel": platform.release(), "types": types, **figures}))
    else:
        print(
            f"{types} types: first build {build:.0f} ms (reach {BUILD_MS:.0f}), warm look-up {lookup:.2f} ms"
            f" (reach {LOOKUP_MS:.0f}), without an index {parse:.0f} ms; medians of {ROUNDS}"
            f" ({'reached' if ok else 'MISSED'})"
        )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
