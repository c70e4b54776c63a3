"""Ctrl-C and SIGTERM at any moment, once or more: an end in silence, with what was seen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

SHOWN = """
import probee as bp
from probee import u32, u64
total = bp.Global[u64](0)
seen = bp.Hash[u32, u64](1024)
@bp.tracepoint("syscalls:sys_enter_getppid")
def on_getppid(args):
    total.value += 1
    seen[bp.pid()] += 1
    print(f"by {bp.pid()}")
"""
OWN = """
if __name__ == "__main__":
    import time
    with bp.attach():
        print("attached", flush=True)
        while True:
            time.sleep(0.01)
    print("after")
"""


# CPython says so of a Ctrl-C that comes while its imports give back a lock: nothing can be raised there.
OF_CPYTHON = re.compile(
    r"Exception ignored in: <function _get_module_lock\..*\n(?:Traceback.*\n  File \"<frozen importlib.*\n)?"
    r"KeyboardInterrupt: *\n"
)


def start(path: Path, **environment: str) -> subprocess.Popen[str]:
    """In a process group of its own, so that it gets Ctrl-C as from a terminal: LLVM's child, too."""
    return subprocess.Popen(
        [sys.executable, "-m", "probee", "run", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )


def send(process: subprocess.Popen[str], numbers: list[int]) -> None:
    """To the group, and each one after the first to the process also: `timeout` does the same."""
    for n, number in enumerate(numbers):
        if n:
            process.send_signal(number)
            time.sleep(0.003)
        os.killpg(process.pid, number)


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGINT] * 2, [signal.SIGTERM]])
def test_while_it_starts(numbers: list[int], tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    # Python itself is in its own hands for the first moments: begin once it has read our file.
    path.write_text("import os; os.write(1, b'begun\\n')\n" + SHOWN)
    for step in range(12):
        with start(path, PROBEE_CACHE=str(tmp_path / f"cache{step}")) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(0.04 * step)
            send(process, numbers)
            _, error = process.communicate(timeout=20)
        assert OF_CPYTHON.sub("", error) == "", step
        assert process.returncode in (0, 130, -signal.SIGINT), step


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGINT] * 3, [signal.SIGTERM] * 2])
def test_what_was_seen_is_shown(numbers: list[int], tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(SHOWN)
    for _ in range(4):
        with start(path) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("attached to ")
            for _ in range(20):
                os.getppid()
                time.sleep(0.005)
            send(process, numbers)
            out, error = process.communicate(timeout=20)
        assert error == ""
        assert process.returncode == 0
        assert re.search(r"^total = \d+$", out, re.M)
        assert re.search(rf"^  {os.getpid()} +20$", out, re.M)


def test_code_after_the_block_runs_although_it_came_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(SHOWN + OWN)
    for _ in range(4):
        with start(path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "attached\n"
            os.kill(process.pid, signal.SIGINT)
            out, error = process.communicate(timeout=20)
        assert (process.returncode, out, error) == (0, "after\n", "")
