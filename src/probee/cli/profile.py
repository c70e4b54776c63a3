"""`probee prog profile`: how often a program runs and how long that takes, as the kernel counts it."""

from __future__ import annotations

import os
import sys
import time

from .. import sys as kernel_calls
from ..errors import ProbeeError
from ..sys import caps
from . import seek
from .grammar import Words
from .main import one_interrupt
from .output import Output, duration_text

STATS = "/proc/sys/kernel/bpf_stats_enabled"
_HARDWARE = ("cycles", "instructions", "l1d_loads", "llc_misses", "itlb_misses", "dtlb_misses")


class Statistics:
    """While it is open, the kernel counts runs and time of all programs (Linux 5.8; before, by sysctl)."""

    def __init__(self) -> None:
        self._fd = -1
        self._set = False

    def __enter__(self) -> Statistics:
        try:
            self._fd = kernel_calls.kernel().enable_stats()
        except OSError as error:
            if error.errno in (1, 13):
                raise caps.denied("counting programs' runs", caps.CAP_SYS_ADMIN, error=error.errno) from error
            self._set = self._switch("0", "1")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._fd >= 0:
            kernel_calls.kernel().close(self._fd)
        if self._set:
            self._switch("1", "0")

    def _switch(self, before: str, after: str) -> bool:
        with open(STATS, "r+") as file:
            if file.read().strip() != before:
                return False
            file.seek(0)
            file.write(after)
        return True


def profile(words: Words, output: Output) -> int:
    with seek.program(words) as handle:
        seconds = 0
        while words:
            what = words.one_of("duration", "runs", *_HARDWARE)
            if what == "duration":
                seconds = words.number("SECONDS")
            elif what in _HARDWARE:
                raise ProbeeError(f"probee counts runs and their time, not {what}; see bpftool prog profile")
        with Statistics():
            before = handle.program()
            began = time.monotonic_ns()
            how_long = f"for {seconds} s" if seconds else "until Ctrl-C"
            name = seek.prog_name(handle, before)
            _wait(seconds, "" if output.json else f"counting runs of {name} (id {before.id}) {how_long}")
            passed = time.monotonic_ns() - began
            after = handle.program()
    runs = after.run_count - before.run_count
    spent = after.run_time_ns - before.run_time_ns
    if output.json:
        facts = {"metric": "run_time_ns", "run_cnt": runs, "value": spent}
        output.emit([{**facts, "enabled": passed, "running": passed}])
        return 0
    output.facts(
        (
            ("runs", f"{runs}  ({runs / (passed / 1e9):.1f}/s)"),
            ("per run", duration_text(spent / runs) if runs else ""),
            ("in all", f"{duration_text(spent)}  ({100 * spent / passed:.3g} % of a CPU)"),
        )
    )
    return 0


def _wait(seconds: int, note: str) -> None:
    """Say what is done and wait that long, or until Ctrl-C, which is no error here."""
    one_interrupt()
    try:
        if note:
            print(f"probee: {note}", file=sys.stderr, flush=True)
        if seconds:
            time.sleep(seconds)
        else:
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        if os.isatty(2):
            print(file=sys.stderr)
