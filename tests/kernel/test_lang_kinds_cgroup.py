"""Every hook of a cgroup, by what programs in the language do there to sockets and their addresses."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import netbox
from lang_attach import attaching, outs

pytestmark = pytest.mark.root

V4, V6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
HOST = {V4: "127.0.0.1", V6: "::1"}


@pytest.fixture
def attach(tmp_path) -> Iterator[Callable[..., Any]]:
    with attaching(tmp_path) as attach:
        yield attach


@pytest.fixture
def group() -> Iterator[netbox.Cgroup]:
    with netbox.namespace(), netbox.cgroup() as made:
        yield made


def udp(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(1)
    return made


@pytest.mark.parametrize("family", [V4, V6], ids=["4", "6"])
def test_bind_and_what_sockets_say_of_themselves(attach, group, family):
    """bind, post_bind, getsockname, getpeername, connect."""
    _, module = attach(
        """
        @bp.cgroup_sock_addr(f"bind{V}", GROUP)
        def bind(ctx):
            if ctx.user_port == 1111:
                ctx.user_port = 2222
            elif ctx.user_port == 3333:
                return CGROUP.DENY

        @bp.cgroup_sock(f"post_bind{V}", GROUP)
        def bound(ctx):
            out[0] = ctx.src_port
            if ctx.src_port == 4444:
                return CGROUP.DENY

        @bp.cgroup_sock_addr(f"connect{V}", GROUP)
        def connect(ctx):
            if ctx.user_port == 5555:
                ctx.user_port = 2222

        @bp.cgroup_sock_addr(f"getsockname{V}", GROUP)
        def own(ctx):
            if ctx.user_port == 2222:
                ctx.user_port = 1111

        @bp.cgroup_sock_addr(f"getpeername{V}", GROUP)
        def peer(ctx):
            ctx.user_port = 5555
        """,
        GROUP=group.path,
        V=4 if family == V4 else 6,
    )
    host = HOST[family]
    with group, socket.socket(family) as server, socket.socket(family) as client:
        server.bind((host, 1111))
        server.listen()
        assert module.out[0] == 2222
        assert server.getsockname()[1] == 1111
        client.connect((host, 5555))
        assert client.getpeername()[1] == 5555
        with server.accept()[0]:
            pass
        with udp(family) as other:
            for refused in (3333, 4444):
                with pytest.raises(PermissionError):
                    other.bind((host, refused))


@pytest.mark.parametrize("family", [V4, V6], ids=["4", "6"])
def test_datagrams(attach, group, family):
    """sendmsg sends elsewhere and refuses; recvmsg tells another sender."""
    with udp(family) as server:
        server.bind((HOST[family], 0))
        attach(
            """
            @bp.cgroup_sock_addr(f"sendmsg{V}", GROUP)
            def send(ctx):
                if ctx.user_port == 53:
                    ctx.user_port = PORT
                elif ctx.user_port == 54:
                    return CGROUP.DENY

            @bp.cgroup_sock_addr(f"recvmsg{V}", GROUP)
            def receive(ctx):
                ctx.user_port = 53
            """,
            GROUP=group.path,
            V=4 if family == V4 else 6,
            PORT=server.getsockname()[1],
        )
        with group, udp(family) as client, udp(family) as other:
            client.sendto(b"astray", (HOST[family], 53))
            assert server.recv(10) == b"astray"
            with pytest.raises(PermissionError):
                client.sendto(b"no", (HOST[family], 54))
            other.bind((HOST[family], 0))
            client.sendto(b"x", other.getsockname()[:2])
            assert other.recvfrom(10)[1][1] == 53


def test_senders_addresses_in_sendmsg(attach, group):
    """The source of a datagram is chosen by the program."""
    attach(
        """
        @bp.cgroup_sock_addr("sendmsg4", GROUP)
        def send(ctx):
            ctx.msg_src_ip4 = ipv4("127.0.0.9")
        """,
        GROUP=group.path,
    )
    with group, udp(V4) as server, udp(V4) as client:
        server.bind(("127.0.0.1", 0))
        client.sendto(b"x", server.getsockname())
        assert server.recvfrom(10)[1][0] == "127.0.0.9"


def test_unix_sockets(attach, group):
    """connect and sendmsg lead elsewhere and refuse; recvmsg and names tell what the programs say."""
    stream, datagram, told = (f"\0probee-{os.getpid()}-{word}".ljust(24, ".").encode() for word in "sdt")
    session, module = attach(
        """
        class Name(bp.Struct):
            path: u8[24]

        def name(text):
            return Name(path=list(text))

        deny = bp.Global[u64](0)
        stream = bp.Global[Name](name(STREAM))
        datagram = bp.Global[Name](name(DATAGRAM))
        told = bp.Global[Name](name(TOLD))

        @bp.cgroup_sock_addr("connect_unix", GROUP)
        def connect(ctx):
            bp.kfunc.bpf_sock_addr_set_sun_path(ctx, stream.value, 24)
            if deny.value:
                return CGROUP.DENY

        @bp.cgroup_sock_addr("sendmsg_unix", GROUP)
        def send(ctx):
            bp.kfunc.bpf_sock_addr_set_sun_path(ctx, datagram.value, 24)
            if deny.value:
                return CGROUP.DENY

        @bp.cgroup_sock_addr("recvmsg_unix", GROUP)
        def receive(ctx):
            out[0] = ctx.family
            out[1] = bp.kfunc.bpf_sock_addr_set_sun_path(ctx, told.value, 24)

        @bp.cgroup_sock_addr("getsockname_unix", GROUP)
        def own(ctx):
            bp.kfunc.bpf_sock_addr_set_sun_path(ctx, told.value, 24)

        @bp.cgroup_sock_addr("getpeername_unix", GROUP)
        def peer(ctx):
            bp.kfunc.bpf_sock_addr_set_sun_path(ctx, told.value, 24)
        """,
        needs="cgroup/connect_unix",
        GROUP=group.path,
        STREAM=stream,
        DATAGRAM=datagram,
        TOLD=told,
    )
    with group, socket.socket(UNIX) as server, socket.socket(UNIX) as client, socket.socket(UNIX) as late:
        server.bind(stream)
        server.listen()
        client.connect("\0nowhere")
        assert (server.getsockname(), client.getpeername()) == (told, told)
        with socket.socket(UNIX, socket.SOCK_DGRAM) as a, socket.socket(UNIX, socket.SOCK_DGRAM) as b:
            a.bind(datagram)
            b.bind(datagram + b"-b")
            b.sendto(b"x", "\0nowhere")
            assert a.recvfrom(10) == (b"x", told)
            assert outs(module, 2) == [UNIX, 0]
            session.globals.deny = 1
            with pytest.raises(PermissionError):
                b.sendto(b"x", datagram)
        with pytest.raises(PermissionError):
            late.connect(stream)
