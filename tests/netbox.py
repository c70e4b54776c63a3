"""Network namespaces and cgroups that tests make for themselves, and live programs from C text."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from c_objects import object_from_c
from probee.kernel.cgroups import mounts
from probee.kernel.load import Collection, load

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Namespace:
    """A network namespace, with `lo` up. `with namespace:` is inside it."""

    def __init__(self) -> None:
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _checked(_libc.unshare(_CLONE_NEWNET))
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            ip("link set lo up")
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error.strerror}")
        finally:
            _checked(_libc.setns(before, _CLONE_NEWNET))
            os.close(before)
        self._before: list[int] = []

    def __enter__(self) -> Namespace:
        self._before.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        _checked(_libc.setns(self.fd, _CLONE_NEWNET))
        return self

    def __exit__(self, *exc: object) -> None:
        before = self._before.pop()
        _checked(_libc.setns(before, _CLONE_NEWNET))
        os.close(before)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        os.close(self.fd)


def ip(command: str, tool: str = "ip") -> str:
    """Run `ip` (or `tc`) in the namespace the thread is in. Its output."""
    run = subprocess.run([tool, *command.split()], capture_output=True, text=True)
    if run.returncode:
        raise OSError(run.returncode, f"{tool} {command}: {run.stderr.strip()}")
    return run.stdout


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Inside a fresh network namespace."""
    made = Namespace()
    try:
        with made:
            yield made
    finally:
        made.close()


class Pair:
    """Two namespaces with a veth pair between: `here` has `near` (10.9.0.1), `there` has `far` (10.9.0.2)."""

    HERE, THERE = "10.9.0.1", "10.9.0.2"
    HERE6, THERE6 = "fd09::1", "fd09::2"

    def __init__(self) -> None:
        self.here = Namespace()
        self.there = Namespace()
        with self.here:
            ip("link add near type veth peer name far")
            ip(f"link set far netns {self.there.path}")
            ip(f"addr add {self.HERE}/24 dev near")
            ip(f"-6 addr add {self.HERE6}/64 dev near nodad")
            ip("link set near up")
        with self.there:
            ip(f"addr add {self.THERE}/24 dev far")
            ip(f"-6 addr add {self.THERE6}/64 dev far nodad")
            ip("link set far up")
            # Answers must not depend on ARP having been asked before a test drops packets.
            ip(f"neigh replace {self.HERE} lladdr {_mac(self.here, 'near')} dev far")
        with self.here:
            ip(f"neigh replace {self.THERE} lladdr {_mac(self.there, 'far')} dev near")

    def close(self) -> None:
        self.here.close()
        self.there.close()

    def reaches(self, port: int = 7777, *, payload: bytes = b"hello", wait: float = 0.25) -> bytes | None:
        """Send a datagram from `here` to `there`: what arrives, None if nothing does."""
        with self.there:
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with self.here:
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with server, client:
            server.bind((self.THERE, port))
            server.settimeout(wait)
            try:
                client.sendto(payload, (self.THERE, port))
                return server.recv(2048)
            except (TimeoutError, PermissionError):
                return None


def _mac(box: Namespace, name: str) -> str:
    with box:
        return ip(f"-o link show {name}").split("link/ether ")[1].split()[0]


@contextmanager
def pair() -> Iterator[Pair]:
    """Two namespaces with a wire between; the thread is in `here`."""
    made = Pair()
    try:
        with made.here:
            yield made
    finally:
        made.close()


def udp_on_lo(payload: bytes = b"hello", *, wait: float = 0.2) -> bytes | None:
    """Send a datagram over the loopback of the current namespace: what arrives, None if nothing does."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        server.settimeout(wait)
        try:
            client.sendto(payload, server.getsockname())
            return server.recv(2048)
        except (TimeoutError, PermissionError):
            return None


class Cgroup:
    """A cgroup made for a test. `with cgroup:` is inside it."""

    def __init__(self, path: str) -> None:
        self.path = path
        os.mkdir(path)
        self._before = ""

    def child(self, name: str = "child") -> Cgroup:
        return Cgroup(f"{self.path}/{name}")

    def __enter__(self) -> Cgroup:
        root = mounts()[0]
        line = next(x for x in Path("/proc/self/cgroup").read_text().splitlines() if x.startswith("0::"))
        self._before = root + line[3:].rstrip("/")
        _move(self.path)
        return self

    def __exit__(self, *exc: object) -> None:
        _move(self._before)

    def remove(self) -> None:
        for name in os.listdir(self.path):
            if os.path.isdir(f"{self.path}/{name}"):
                os.rmdir(f"{self.path}/{name}")
        os.rmdir(self.path)


def _move(path: str) -> None:
    Path(path, "cgroup.procs").write_text(str(os.getpid()))


@contextmanager
def cgroup() -> Iterator[Cgroup]:
    """A fresh cgroup below the mount; the process is not in it."""
    roots = mounts()
    if not roots:
        pytest.skip("no cgroup2 file system is mounted")
    made = Cgroup(f"{roots[0]}/probee-test-{os.getpid()}-{uuid4().hex[:6]}")
    try:
        yield made
    finally:
        made.remove()


def live(folder: Path, text: str, name: str = "program") -> Collection:
    """The programs of C `text`, loaded."""
    return load(object_from_c(folder, text, name))
