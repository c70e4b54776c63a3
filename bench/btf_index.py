"""The kernel's BTF: building its index, and looking up a type through it, each in a fresh process.

Reach: first build < 500 ms, warm look-up of a type, opening included, < 5 ms. The peer is a full parse without
an index, with the same look-up.
"""

from __future__ import annotations

import os
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
    environment = {**os.environ, "PROBEE_CACHE": cache}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], env=environment, check=True, capture_output=True, text=True
    )
    took, types, _ = run.stdout.split()
    return float(took), int(types)


def main() -> int:
    """Measure, print one line; 1 if a reach is missed."""
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        print("btf_index: skipped, this kernel has no BTF")
        return 0
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
    print(
        f"btf_index: {types} types: build {build:.0f} ms (reach {BUILD_MS:.0f}),"
        f" warm look-up {lookup:.2f} ms (reach {LOOKUP_MS:.0f}), without an index {parse:.0f} ms;"
        f" medians of {ROUNDS}: {'ok' if ok else 'MISSED'}"
    )
    return not ok


if __name__ == "__main__":
    sys.exit(main())
