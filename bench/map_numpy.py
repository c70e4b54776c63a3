"""A hash map of 1,000,000 entries to NumPy, against `bpftool map dump -j` of the same map.

Run as root: `python bench/map_numpy.py [--json] [--entries N]`. The exit code is 1 if `to_numpy()` is not 20
times as fast as bpftool, by the medians.
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
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from probee.kernel.maps import HASH, Map
from probee.obj import MapSpec
from probee.sys import kernel

REACH = 20


def filled(entries: int) -> Any:
    """A hash of u32 to u64."""
    m = Map.create(MapSpec("bench", map_type=HASH, key_size=4, value_size=8, max_entries=entries))
    keys = np.random.default_rng(1).permutation(entries).astype(np.uint32)
    values = keys.astype(np.uint64) * 3
    kernel().map_update_batch(m.fd, keys.view(np.uint8), values.view(np.uint8), entries)
    return m


def timed(what: Callable[[], Any], rounds: int) -> list[float]:
    """Seconds, for each round."""
    out = []
    for _ in range(rounds):
        start = time.perf_counter()
        found = what()
        out.append(time.perf_counter() - start)
        del found
    return out


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one object for each row")
    parser.add_argument("--entries", type=int, default=1_000_000)
    options = parser.parse_args()
    bpftool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if os.geteuid() or not bpftool:
        print("needs root and bpftool", file=sys.stderr)
        return 2
    with filled(options.entries) as m:
        dump = [bpftool, "map", "dump", "-j", "id", str(m.id)]
        array = m.to_numpy()
        assert len(array) == options.entries
        assert (array["value"] == array["key"].astype(np.uint64) * 3).all()
        rows = {
            "to_numpy()": timed(m.to_numpy, 7),
            "to_numpy(locked=True)": timed(lambda: m.to_numpy(locked=True), 5),
            "snapshot(), a dict": timed(m.snapshot, 2),
            "bpftool map dump -j": timed(
                lambda: subprocess.run(dump, stdout=subprocess.DEVNULL, check=True), 3
            ),
        }
    peer = statistics.median(rows["bpftool map dump -j"])
    if not options.json:
        print(f"{platform.machine()}, Linux {platform.release()}, {options.entries:,} entries")
        print(f"{'':<24}{'median':>10}{'best':>10}{'bpftool is':>12}")
    for name, times in rows.items():
        median, best = statistics.median(times), min(times)
        if options.json:
            print(json.dumps({"what": name, "median_s": median, "best_s": best, "times": peer / median}))
        else:
            print(f"{name:<24}{median:>8.3f} s{best:>8.3f} s{peer / median:>11.1f}×")
    if peer / statistics.median(rows["to_numpy()"]) < REACH:
        print(f"missed: {REACH} × bpftool", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
