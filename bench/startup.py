"""Start-up, memory and shut-down against bpftrace, in one run. Needs root.

`python bench/startup.py [ROUNDS]`

"Attached" is the first line that tells of an event, while another process opens a file every half
millisecond: it does not depend on what a program says about itself. Memory is the peak of a process and its
children (getrusage). The rivals take turns, so that a busy moment hits all of them. bpftrace 0.27 is Debian
sid's package, unpacked beside the system.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from peers import new_bpftrace

HERE = Path(__file__).resolve().parent / "startup"
PROBEE = str(Path(sys.executable).parent / "probee")
ONE_LINER = 'tracepoint:syscalls:sys_enter_openat { printf("%s %s\\n", comm, str(args->filename)); }'
CALLS = ("openat", "close", "read", "write", "mmap", "munmap", "brk", "futex")
SIXTEEN = ",".join(f"tracepoint:syscalls:sys_{way}_{call}" for way in ("enter", "exit") for call in CALLS)
SIXTEEN += ' { @ = count(); } interval:ms:1 { if (@once == 0) { @once = 1; printf("attached\\n"); } }'


class Result:
    """What one program took: milliseconds to the first event, to end, and the peak of memory in MB."""

    def __init__(self) -> None:
        self.start: list[float] = []
        self.stop: list[float] = []
        self.memory: list[float] = []


@contextmanager
def opening_files() -> Iterator[None]:
    script = "import time\nwhile True:\n open('/dev/null').close()\n time.sleep(0.0005)"
    busy = subprocess.Popen([sys.executable, "-S", "-c", script])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def once(
    command: list[str], first: Callable[[bytes], bool], environment: dict[str, str], into: Result
) -> None:
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if first(line):
            break
    else:
        raise SystemExit(f"{command} ended without an event:\n{process.stderr.read().decode()}")
    into.start.append((time.perf_counter() - began) * 1e3)
    time.sleep(0.1)
    began = time.perf_counter()
    process.send_signal(signal.SIGINT)
    process.stdout.read()  # bpftrace hangs at the end if nobody reads what it still has to say
    process.stdout.close()
    _, _, usage = os.wait4(process.pid, 0)
    into.stop.append((time.perf_counter() - began) * 1e3)
    into.memory.append(usage.ru_maxrss / 1024)
    process.returncode = 0
    process.stderr.close()


def table(title: str, results: dict[str, Result], targets: list[tuple[str, str, str, float]]) -> None:
    print(f"\n{title}\n{'':34}{'median':>9} {'best':>8}")
    units = {"start": "ms", "stop": "ms", "memory": "MB"}
    for name, result in results.items():
        for what, values in vars(result).items():
            print(
                f"  {name:<24} {what:<7} {statistics.median(values):>8.1f} {min(values):>8.1f} {units[what]}"
            )
    for ours, what, theirs, most in targets:
        mine = statistics.median(getattr(results[ours], what))
        if theirs in results:
            ratio = mine / statistics.median(getattr(results[theirs], what))
            verdict = "ok" if ratio <= most else "MISSED"
            print(f"  {ours}, {what} / {theirs}: {ratio:.3f}, to reach {most}: {verdict}")
        elif not theirs:
            verdict = "ok" if mine <= most else "MISSED"
            print(f"  {ours}, {what}: {mine:.1f} {units[what]}, to reach {most}: {verdict}")


def compare(
    title: str,
    commands: dict[str, list[str]],
    first: Callable[[bytes], bool],
    targets: list[tuple[str, str, str, float]],
    rounds: int,
    environment: dict[str, str],
    cold: str = "",
) -> None:
    """Take turns; `cold` names the command that finds no compiled object."""
    results = {name: Result() for name in commands}
    objects = Path(environment["PROBEE_CACHE"]) / "objects"
    for n in range(rounds + 1):
        for name, command in commands.items():
            if name == cold:
                shutil.rmtree(objects, ignore_errors=True)
            once(command, first, environment, results[name] if n else Result())  # the first round warms up
    table(title, results, targets)


def main() -> None:
    if os.geteuid() != 0:
        raise SystemExit("needs root: sudo python bench/startup.py")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    old = shutil.which("bpftrace")
    new = new_bpftrace()
    rivals: dict[str, list[str]] = {}
    if old:
        version = subprocess.run([old, "--version"], capture_output=True, text=True).stdout.strip()
        rivals["bpftrace 0.17"] = [old, "-B", "line"]
        print(f"{version} at {old}")
    if new:
        version = subprocess.run([*new, "--version"], capture_output=True, text=True).stdout.strip()
        rivals["bpftrace 0.27"] = [*new, "-B", "line"]
        print(f"{version} of Debian sid")
    if not rivals:
        raise SystemExit("no bpftrace to compare with")
    with tempfile.TemporaryDirectory() as folder, opening_files():
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment |= {"PROBEE_CACHE": f"{folder}/cache", "PYTHONPYCACHEPREFIX": f"{folder}/pyc"}
        one = [sys.executable, str(HERE / "open_line.py")]
        compare(
            "One tracepoint that prints comm and a path",
            {
                "probee, first time": one,
                "probee, from cache": one,
                **{name: [*command, "-e", ONE_LINER] for name, command in rivals.items()},
            },
            lambda line: b"/" in line,
            [
                ("probee, first time", "start", "bpftrace 0.27", 0.6),
                ("probee, first time", "memory", "", 100),
                ("probee, from cache", "start", "bpftrace 0.27", 0.35),
                ("probee, from cache", "start", "bpftrace 0.17", 0.6),
                ("probee, from cache", "memory", "", 45),
            ],
            rounds,
            environment,
            cold="probee, first time",
        )
        scripts = {"bpftrace 0.17": "/usr/sbin/opensnoop.bt"}
        if new:
            root = Path(new[-1]).parents[2]
            found = next(root.glob("usr/**/opensnoop.bt"), None)
            scripts["bpftrace 0.27"] = str(found) if found else ""
        compare(
            "opensnoop",
            {
                "probee opensnoop": [PROBEE, "opensnoop"],
                **{name: [*command, scripts[name]] for name, command in rivals.items() if scripts.get(name)},
            },
            lambda line: bool(re.search(rb"\s/", line)),
            [
                ("probee opensnoop", "start", "bpftrace 0.17", 0.4),
                ("probee opensnoop", "start", "bpftrace 0.27", 0.4),
            ],
            rounds,
            environment,
        )
        compare(
            "Sixteen syscalls: tracepoints, and Ctrl-C",
            {
                "probee, sixteen": [sys.executable, str(HERE / "sixteen.py")],
                **{name: [*command, "-e", SIXTEEN] for name, command in rivals.items()},
            },
            lambda line: b"attached" in line,
            [
                ("probee, sixteen", "stop", "bpftrace 0.17", 0.1),
                ("probee, sixteen", "stop", "bpftrace 0.27", 0.1),
            ],
            max(3, rounds // 3),
            environment,
        )


if __name__ == "__main__":
    main()
