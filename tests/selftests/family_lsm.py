"""Security programs that deny and watch."""

from __future__ import annotations

import os
import socket

import pytest
from selftest_ports import Live, Port

import probee as bp
from probee import u64

out = bp.Array[u64](8)
target = bp.Global[u64](0)


@bp.lsm("file_open")
def no_directories_by_path(file):
    if bp.pid() == target.value and file.f_flags & 0x10000:
        out[0] += 1
        return -1


@bp.lsm("socket_bind")
def no_binding(sock, address):
    if bp.pid() == target.value:
        out[1] += 1
        return -1


def _opened(live: Live, program: str) -> None:
    live.globals["target"] = os.getpid()
    with live.collection.programs[program].attach(), pytest.raises(PermissionError):
        os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    assert live.maps["out"][0]


def _bound(live: Live, program: str) -> None:
    live.globals["target"] = os.getpid()
    with (
        socket.socket() as made,
        live.collection.programs[program].attach(),
        pytest.raises(PermissionError),
    ):
        made.bind(("127.0.0.1", 0))
    assert live.maps["out"][1]


PORTS = [
    Port("lsm.c", no_directories_by_path, _opened),
    Port("test_deny_namespace.c/socket_bind", no_binding, _bound),
]
