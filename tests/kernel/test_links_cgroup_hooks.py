"""Every hook of a cgroup, by what its program does to a process inside."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netbox import Cgroup, cgroup, live, namespace, udp_on_lo
from probee.errors import AttachError, LoadError, PermissionDenied, Unsupported
from probee.kernel import cgroups
from probee.kernel.links import Link
from probee.kernel.load import Collection

pytestmark = pytest.mark.root

COMMON = r"""
struct sock_addr { u32 user_family, user_ip4, user_ip6[4], user_port, family, type, protocol; };
struct sockopt { u64 sk, optval, optval_end; s32 level, optname, optlen, retval; };
struct sock_ops { u32 op; };
u64 seen; u32 port;
"""
DENY = "{ seen++; return 0; }"
SEE = "{ seen++; return 1; }"
TO_PORT = "(struct sock_addr *ctx) { seen++; if (port) ctx->user_port = port; return 1; }"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c")


@pytest.fixture
def group() -> Iterator[Cgroup]:
    with namespace(), cgroup() as made:
        yield made


def program(folder: Path, section: str, body: str) -> Collection:
    if not body.startswith("("):
        body = "(void *ctx) " + body
    name = section.replace("/", "_")
    try:
        return live(folder, f'{COMMON}\nSEC("{section}") int hook{body}\n', f"cg_{name}")
    except (LoadError, AttachError, Unsupported) as error:
        lacks = isinstance(error, PermissionDenied | Unsupported)
        if lacks or getattr(error, "errno", 0) in (22, 524):
            pytest.skip(f"this kernel takes no programs of section {section}: {error}")
        raise


def attached(loaded: Collection, group: Cgroup) -> Link:
    try:
        return loaded.programs["hook"].attach_cgroup(group.path)
    except Unsupported as error:
        pytest.skip(str(error))


# What a process in the cgroup does; True if it may.


def udp() -> bool:
    return udp_on_lo(wait=0.1) is not None


def creates_socket() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except PermissionError:
        return False
    return True


def binds(family: int) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        try:
            one.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        except PermissionError:
            return False
    return True


def connects(family: int) -> bool:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as server:
        try:
            socket.create_connection(server.getsockname()[:2], timeout=1).close()
        except PermissionError:
            return False
    return True


def sends(family: int) -> bool:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        try:
            one.sendto(b"x", (host, 9))
        except PermissionError:
            return False
    return True


def unix_connects() -> bool:
    address = f"\0probee-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(address)
        server.listen()
        try:
            client.connect(address)
        except PermissionError:
            return False
    return True


def unix_sends() -> bool:
    address = f"\0probee-{os.getpid()}"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
    ):
        server.bind(address)
        client.bind(address + "-client")
        try:
            client.sendto(b"x", address)
        except PermissionError:
            return False
        server.recvfrom(10)
        client.getsockname()
    return True


def unix_asks_peer() -> bool:
    address = f"\0probee-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(address)
        server.listen()
        client.connect(address)
        client.getpeername()
    return True


def reads_sysctl() -> bool:
    try:
        return bool(Path("/proc/sys/kernel/ostype").read_text())
    except PermissionError:
        return False


def opens_device() -> bool:
    try:
        os.close(os.open("/dev/zero", os.O_RDONLY))
    except PermissionError:
        return False
    return True


def sets_option() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        try:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 8)
        except PermissionError:
            return False
    return True


V4, V6 = socket.AF_INET, socket.AF_INET6
DENIALS: list[tuple[str, Callable[[], bool]]] = [
    ("cgroup_skb/ingress", udp),
    ("cgroup_skb/egress", udp),
    ("cgroup/sock_create", creates_socket),
    ("cgroup/sock", creates_socket),
    ("cgroup/post_bind4", lambda: binds(V4)),
    ("cgroup/post_bind6", lambda: binds(V6)),
    ("cgroup/bind4", lambda: binds(V4)),
    ("cgroup/bind6", lambda: binds(V6)),
    ("cgroup/connect4", lambda: connects(V4)),
    ("cgroup/connect6", lambda: connects(V6)),
    ("cgroup/connect_unix", unix_connects),
    ("cgroup/sendmsg4", lambda: sends(V4)),
    ("cgroup/sendmsg6", lambda: sends(V6)),
    ("cgroup/sendmsg_unix", unix_sends),
    ("cgroup/setsockopt", sets_option),
    ("cgroup/sysctl", reads_sysctl),
    ("cgroup/dev", opens_device),
]


@pytest.mark.parametrize(("section", "may"), [pytest.param(s, m, id=s) for s, m in DENIALS])
def test_denials_hold_inside_only(folder: Path, group: Cgroup, section: str, may: Callable[[], bool]) -> None:
    with program(folder, section, DENY) as loaded:
        assert may()
        with attached(loaded, group):
            assert may()  # this process is outside
            with group:
                assert not may()
        with group:
            assert may()
        assert loaded.globals.seen >= 1


SEEN: list[tuple[str, Callable[[], object]]] = [
    ("cgroup/sock_release", creates_socket),
    ("cgroup/recvmsg_unix", unix_sends),
    ("cgroup/getsockname_unix", unix_sends),
    ("cgroup/getpeername_unix", unix_asks_peer),
    ("sockops", lambda: connects(V4)),
]


@pytest.mark.parametrize(("section", "do"), [pytest.param(s, m, id=s) for s, m in SEEN])
def test_programs_see_what_happens_inside(
    folder: Path, group: Cgroup, section: str, do: Callable[[], object]
) -> None:
    with program(folder, section, SEE) as loaded, attached(loaded, group):
        do()
        assert loaded.globals.seen == 0
        with group:
            do()
        assert loaded.globals.seen >= 1


# ---- addresses that are rewritten


def swapped(port: int) -> int:
    return socket.htons(port)


@pytest.mark.parametrize(("section", "host"), [("cgroup/connect4", "127.0.0.1"), ("cgroup/connect6", "::1")])
def test_connect_leads_elsewhere(folder: Path, group: Cgroup, section: str, host: str) -> None:
    family = V6 if ":" in host else V4
    with (
        program(folder, section, TO_PORT) as loaded,
        attached(loaded, group),
        group,
        socket.create_server((host, 0), family=family) as asked,
        socket.create_server((host, 0), family=family) as given,
    ):
        loaded.globals.port = swapped(given.getsockname()[1])
        with socket.create_connection(asked.getsockname()[:2], timeout=1) as client:
            assert client.getpeername()[1] == given.getsockname()[1]


@pytest.mark.parametrize(("section", "host"), [("cgroup/bind4", "127.0.0.1"), ("cgroup/bind6", "::1")])
def test_bind_takes_another_port(folder: Path, group: Cgroup, section: str, host: str) -> None:
    with program(folder, section, TO_PORT) as loaded, attached(loaded, group), group:
        loaded.globals.port = swapped(4321)
        with socket.socket(V6 if ":" in host else V4, socket.SOCK_DGRAM) as one:
            one.bind((host, 1234))
            assert one.getsockname()[1] == 4321


@pytest.mark.parametrize(("section", "host"), [("cgroup/sendmsg4", "127.0.0.1"), ("cgroup/sendmsg6", "::1")])
def test_datagrams_go_elsewhere(folder: Path, group: Cgroup, section: str, host: str) -> None:
    family = V6 if ":" in host else V4
    with (
        program(folder, section, TO_PORT) as loaded,
        attached(loaded, group),
        group,
        socket.socket(family, socket.SOCK_DGRAM) as given,
        socket.socket(family, socket.SOCK_DGRAM) as client,
    ):
        given.bind((host, 0))
        given.settimeout(0.5)
        loaded.globals.port = swapped(given.getsockname()[1])
        client.sendto(b"astray", (host, 9))
        assert given.recv(10) == b"astray"


@pytest.mark.parametrize(("section", "host"), [("cgroup/recvmsg4", "127.0.0.1"), ("cgroup/recvmsg6", "::1")])
def test_senders_look_like_others(folder: Path, group: Cgroup, section: str, host: str) -> None:
    family = V6 if ":" in host else V4
    with (
        program(folder, section, TO_PORT) as loaded,
        attached(loaded, group),
        group,
        socket.socket(family, socket.SOCK_DGRAM) as server,
        socket.socket(family, socket.SOCK_DGRAM) as client,
    ):
        server.bind((host, 0))
        server.settimeout(0.5)
        loaded.globals.port = swapped(4321)
        client.sendto(b"x", server.getsockname()[:2])
        assert server.recvfrom(10)[1][1] == 4321


@pytest.mark.parametrize(
    ("section", "host"),
    [
        ("cgroup/getpeername4", "127.0.0.1"),
        ("cgroup/getpeername6", "::1"),
        ("cgroup/getsockname4", "127.0.0.1"),
        ("cgroup/getsockname6", "::1"),
    ],
)
def test_names_are_others(folder: Path, group: Cgroup, section: str, host: str) -> None:
    family = V6 if ":" in host else V4
    with (
        program(folder, section, TO_PORT) as loaded,
        attached(loaded, group),
        group,
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2], timeout=1) as client,
    ):
        ask = client.getpeername if "peer" in section else client.getsockname
        assert ask()[1] != 4321
        loaded.globals.port = swapped(4321)
        assert ask()[1] == 4321
        loaded.globals.port = 0


def test_getsockopt_answers_what_the_program_says(folder: Path, group: Cgroup) -> None:
    body = """(struct sockopt *ctx) {
        u8 *value = (u8 *)(long)ctx->optval;
        if (ctx->level == 0 && ctx->optname == 1 && value + 1 <= (u8 *)(long)ctx->optval_end)
            { *value = 77; ctx->retval = 0; }
        return 1;
    }"""
    with program(folder, "cgroup/getsockopt", body) as loaded, attached(loaded, group):
        with socket.socket(V4, socket.SOCK_STREAM) as one:
            assert one.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0
            with group:
                assert one.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0  # the socket's cgroup counts
        with group, socket.socket(V4, socket.SOCK_STREAM) as one:
            assert one.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 77


def test_lsm_cgroup_denies_inside_only(folder: Path, group: Cgroup) -> None:
    text = COMMON + 'SEC("lsm_cgroup/socket_create") int hook(void *ctx) ' + DENY
    try:
        loaded = live(folder, text, "cg_lsm")
        link = loaded.programs["hook"].attach_cgroup(group.path)
    except (LoadError, AttachError, Unsupported) as error:
        if "loaded" in locals():
            loaded.close()
        pytest.skip(f"no lsm_cgroup here: {error}")
    with loaded, link:
        assert creates_socket()
        with group:
            assert not creates_socket()
        fd = cgroups.open_cgroup(group.path)
        found = cgroups.attached(fd)
        os.close(fd)
        assert [one.hook for one in found] == ["lsm_cgroup"]
