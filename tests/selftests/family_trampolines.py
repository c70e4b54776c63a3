"""fentry, fexit, fmod_ret: programs on functions of the kernel by their types."""

from __future__ import annotations

import ctypes
import os
import time

from selftest_ports import Live, Port

import probee as bp
from probee import u64

libc = ctypes.CDLL(None)
out = bp.Array[u64](8)
target = bp.Global[u64](0)


@bp.fentry("do_nanosleep")
def start(timer, mode):
    if bp.pid() == target.value:
        out[0] = mode
        out[1] = timer.task.tgid


@bp.fexit("do_nanosleep")
def end(timer, mode, ret):
    if bp.pid() == target.value:
        out[2] += 1
        out[3] = ret == 0


@bp.fentry("bpf_fentry_test2")
def two_arguments(a, b):
    out[4] = a * 100 + b


@bp.fexit("bpf_fentry_test3")
def result_of_three(a, b, c, ret):
    out[5] = ret


@bp.fmod_ret("bpf_modify_return_test")
def changed(a, b, ret):
    return 77


def _slept(slot: int, want: int):
    def check(live: Live, program: str) -> None:
        live.globals["target"] = os.getpid()
        with live.collection.programs[program].attach():
            time.sleep(0.001)
        assert live.maps["out"][slot] == (os.getpid() if want < 0 else want)

    return check


def _run(slot: int, want: int):
    def check(live: Live, program: str) -> None:
        chosen = live.collection.programs[program]
        with chosen.attach():
            chosen.test_run()
        assert live.maps["out"][slot] == want

    return check


def _modified(live: Live, program: str) -> None:
    chosen = live.collection.programs[program]
    plain = chosen.test_run().retval & 0xFFFF  # what the function gives, 4, and what others add
    with chosen.attach():
        assert chosen.test_run().retval & 0xFFFF == plain - 4 + 77


PORTS = [
    Port("fentry_test.c", start, _slept(1, -1)),
    Port("fexit_sleep.c", end, _slept(2, 1)),
    Port("fentry_test.c/arguments", two_arguments, _run(4, 203)),
    Port("fexit_test.c", result_of_three, _run(5, 15)),
    Port("modify_return.c", changed, _modified),
]
