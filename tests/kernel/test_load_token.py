"""BPF tokens: a process without privileges loads what a BPF file system of its user namespace lets it."""

from __future__ import annotations

import ctypes
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from c_objects import object_from_c
from probee.errors import LoadError, PermissionDenied
from probee.kernel.features import ask
from probee.kernel.load import load
from probee.kernel.token import VARIABLE
from probee.obj import ObjectSpec

pytestmark = pytest.mark.root

# The same numbers on all architectures.
FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
SET_STRING, CREATE = 1, 6
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
TEXT = 'HASH(seen, u32, u64, 8); SEC("xdp") int f(void *ctx) { count(&seen, 1); return 2; }'

libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def in_user_namespace(work: Callable[[str], str], delegate: bool = True) -> str:
    """What `work` says when it runs without privileges, given the path of a BPF file system of its own."""
    mine, its = socket.socketpair()
    child = os.fork()
    if not child:
        try:
            mine.close()
            if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET):
                its.send(f"no user namespace: {os.strerror(ctypes.get_errno())}".encode())
                os._exit(0)
            its.send(b"unshared")
            its.recv(100)  # the parent has mapped our ids
            fs = call(FSOPEN, b"bpf", 0)
            socket.send_fds(its, [b"x"], [fs])
            _, (mount,), _, _ = socket.recv_fds(its, 100, 1)
            its.send(work(f"/proc/self/fd/{mount}").encode())
        except BaseException:
            its.send(traceback.format_exc().encode())
        os._exit(0)
    its.close()
    try:
        said = mine.recv(10000)
        if said.startswith(b"no user namespace"):
            pytest.skip(f"{said.decode()} (in a chroot, or user.max_user_namespaces is 0)")
        if said != b"unshared":
            return said.decode()
        for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
            Path(f"/proc/{child}/{name}").write_text(text)
        mine.send(b"mapped")
        said, fds, _, _ = socket.recv_fds(mine, 10000, 1)
        if not fds:
            return said.decode()
        for name in ("delegate_cmds", "delegate_maps", "delegate_progs", "delegate_attachs"):
            if delegate:
                call(FSCONFIG, fds[0], SET_STRING, name.encode(), b"any", 0)
        call(FSCONFIG, fds[0], CREATE, None, None, 0)
        mount = call(FSMOUNT, fds[0], 0, 0)
        socket.send_fds(mine, [b"x"], [mount])
        os.close(mount)
        os.close(fds[0])
        return mine.recv(100000).decode()
    finally:
        mine.close()
        os.waitpid(child, 0)


@pytest.fixture
def spec(tmp_path: Path) -> ObjectSpec:
    answer = ask("token")
    if not answer:
        pytest.skip(f"this kernel has no token {answer.detail}")
    return object_from_c(tmp_path, TEXT)


def names(spec: ObjectSpec, path: str | None) -> str:
    with load(spec, token=path) as live:
        live.maps["seen"][3] = 4
        return f"{list(live.programs)} {live.maps['seen'].snapshot()} {live.btf_error}"


def test_a_token_from_a_path(spec: ObjectSpec) -> None:
    assert in_user_namespace(lambda path: names(spec, path)) == "['f'] {3: 4} "


def test_a_token_from_the_environment(spec: ObjectSpec) -> None:
    def work(path: str) -> str:
        os.environ[VARIABLE] = path
        return names(spec, None)

    assert in_user_namespace(work) == "['f'] {3: 4} "


def test_without_a_token_there_is_no_way(spec: ObjectSpec) -> None:
    def work(path: str) -> str:
        try:
            return names(spec, "")
        except PermissionDenied as error:
            return f"denied: {error}"

    said = in_user_namespace(work)
    assert said.startswith("denied: creating map seen is not permitted: this is a user namespace")


def test_a_file_system_that_delegates_nothing(spec: ObjectSpec) -> None:
    def work(path: str) -> str:
        try:
            return names(spec, path)
        except LoadError as error:
            return f"refused: {error}"

    assert in_user_namespace(work, delegate=False).startswith("refused: no BPF token from /proc/self/fd/")
