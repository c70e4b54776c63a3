"""Loading and attaching a CO-RE object that clang made, against a C program on libbpf, in turns.

Run: `python bench/load.py [--json] [--rounds N]`. Two figures each: the library's own time from opening
the file to the last link, and the whole process, imports and all, until it says that it is attached. The
reach is at most 1 × libbpf's library time and 3 × its process; the exit code is 1 if it is missed.

It needs root, clang, a C compiler, bpftool and libbpf's headers; `--libbpf DIR` takes libbpf from another
place than the system's (DIR holds `include/bpf` and `libbpf.a`).
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
from pathlib import Path

HERE = Path(__file__).parent / "load"
LIBRARY_REACH, PROCESS_REACH = 1.0, 3.0

OURS = """
import sys, time
from probee import load
ready = time.perf_counter()
with load(sys.argv[1]) as collection:
    links = collection.attach()
    print((time.perf_counter() - ready) * 1e3, flush=True)
    sys.stdin.read()
"""


def _find(*names: str) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    sys.exit(f"this benchmark needs {' or '.join(names)}")


def build(folder: Path, libbpf: Path | None) -> tuple[Path, Path]:
    """The object and the C loader."""
    clang = _find("clang-22", "clang-21", "clang-20", "clang-19", "clang")
    arch = {"x86_64": "x86", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    include = [f"-I{libbpf}/include"] if libbpf else []
    link = [str(libbpf / "libbpf.a")] if libbpf else ["-lbpf"]
    with (folder / "vmlinux.h").open("w") as out:
        dump = [_find("bpftool"), "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"]
        subprocess.run(dump, stdout=out, check=True)
    target, loader = folder / "tool.bpf.o", folder / "loader"
    flags = ["-g", "-O2", "-target", "bpf", f"-D__TARGET_ARCH_{arch}", f"-I{folder}", *include]
    subprocess.run([clang, *flags, "-c", str(HERE / "tool.bpf.c"), "-o", str(target)], check=True)
    compile_loader = [_find("gcc", "cc", "clang"), "-O2", *include, str(HERE / "loader.c"), *link]
    subprocess.run([*compile_loader, "-lelf", "-lz", "-o", str(loader)], check=True)
    return target, loader


def once(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """(library, process) milliseconds of one run."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as run:
        assert run.stdout is not None
        said = run.stdout.readline()
        took = (time.perf_counter() - start) * 1e3
        run.communicate()
    if run.returncode or not said:
        sys.exit(f"{command[0]} failed")
    return float(said), took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object with all figures")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--libbpf", type=Path, help="a directory with include/bpf and libbpf.a")
    options = parser.parse_args()
    if os.geteuid():
        sys.exit("this benchmark needs root")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as temporary:
        target, loader = build(Path(temporary), options.libbpf)
        theirs, ours = [str(loader), str(target)], [sys.executable, "-c", OURS, str(target)]
        for command in (theirs, ours):
            once(command, environment)  # caches: byte code, the index of the kernel's BTF
        runs = [(once(theirs, environment), once(ours, environment)) for _ in range(options.rounds)]
    their_library, their_process = (statistics.median(t[i] for t, _ in runs) for i in (0, 1))
    our_library, our_process = (statistics.median(o[i] for _, o in runs) for i in (0, 1))
    library, process = our_library / their_library, our_process / their_process
    ok = library <= LIBRARY_REACH and process <= PROCESS_REACH
    if options.json:
        figures = {
            "libbpf_ms": {"library": their_library, "process": their_process},
            "probee_ms": {"library": our_library, "process": our_process},
            "ratio": {"library": library, "process": process},
        }
        print(json.dumps({"bench": "load", "kernel": platform.release(), **figures}))
    else:
        print(
            f"library: probee {our_library:.1f} ms, libbpf {their_library:.1f} ms: {library:.2f} ×"
            f" (reach {LIBRARY_REACH:g})\n"
            f"process: probee {our_process:.1f} ms, libbpf {their_process:.1f} ms: {process:.2f} ×"
            f" (reach {PROCESS_REACH:g}); medians of {options.rounds} ({'reached' if ok else 'MISSED'})"
        )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
