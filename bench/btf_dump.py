"""The kernel's types as C (vmlinux.h): `probee btf dump` against `bpftool btf dump`, in turns.

Run: `python bench/btf_dump.py [--json]`. The first dump of a kernel is made by Python; later ones come from
the cache. Both are whole processes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 7
FILE = "/sys/kernel/btf/vmlinux"


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Milliseconds of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return (time.perf_counter() - start) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object with all figures")
    options = parser.parse_args()
    bpftool = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if bpftool is None or not os.path.exists(FILE):
        sys.exit(f"this benchmark needs bpftool and {FILE}")
    words = ["btf", "dump", "file", FILE, "format", "c"]
    ours, theirs = [sys.executable, "-m", "probee", *words], [bpftool, *words]
    first, later, peer = [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as cache:
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
            environment |= {"PROBEE_CACHE": cache, "XDG_RUNTIME_DIR": cache, "TMPDIR": cache}
            first.append(timed(ours, environment))
            later.append(timed(ours, environment))
            peer.append(timed(theirs, environment))
    a, b, c = map(statistics.median, (first, later, peer))
    if options.json:
        figures = {"first_ms": a, "later_ms": b, "bpftool_ms": c}
        print(json.dumps({"bench": "btf_dump", "kernel": platform.release(), **figures}))
    else:
        print(
            f"first {a:.0f} ms ({a / c:.1f} × bpftool), later {b:.0f} ms ({b / c:.2f} ×), bpftool {c:.0f} ms;"
            f" medians of {ROUNDS}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
