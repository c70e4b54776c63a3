"""Probes on functions of the kernel by name, address and pattern."""

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


@bp.kprobe("do_nanosleep")
def start(timer, mode):
    if bp.pid() == target.value:
        out[0] += 1
        out[1] = timer.task.tgid


@bp.kretprobe("do_nanosleep")
def end(ret):
    if bp.pid() == target.value:
        out[2] += 1


@bp.ksyscall("getpgid")
def call(pid):
    if bp.pid() == target.value:
        out[3] = pid


@bp.kretsyscall("getpgid")
def answer(ret):
    if bp.pid() == target.value:
        out[4] = ret


@bp.kprobe("do_nanosleep")
def address_of_function(timer, mode):
    if bp.pid() == target.value:
        out[5] = bp.get_func_ip() != 0
        out[6] = bp.reg("ip") != 0


def _slept(slot: int, want: int):
    def check(live: Live, program: str) -> None:
        live.globals["target"] = os.getpid()
        live.maps["out"][slot] = 0
        with live.collection.programs[program].attach():
            time.sleep(0.001)
        assert live.maps["out"][slot] == (os.getpid() if want < 0 else want)

    return check


def _called(slot: int, itself: bool):
    def check(live: Live, program: str) -> None:
        live.globals["target"] = os.getpid()
        with live.collection.programs[program].attach():
            libc.getpgid(os.getpid())
        assert live.maps["out"][slot] == (os.getpid() if itself else os.getpgid(0))

    return check


PORTS = [
    Port("test_attach_probe.c", start, _slept(1, -1)),
    Port("test_attach_probe.c/return", end, _slept(2, 1)),
    Port("test_probe_user.c/ksyscall", call, _called(3, True)),
    Port("test_probe_user.c/kretsyscall", answer, _called(4, False)),
    Port("get_func_ip_test.c", address_of_function, _slept(5, 1)),
]
