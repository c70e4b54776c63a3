"""netfilter, sk_lookup, the flow dissector and routes with programs, by what they do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbox import Pair, ip, live, namespace, pair, udp_on_lo
from probee.errors import AttachError, LoadError, Unsupported
from probee.kernel import network
from probee.kernel.load import Collection

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c")


@pytest.fixture
def wire() -> Iterator[Pair]:
    with pair() as made:
        yield made


# ---- netfilter

NETFILTER = r"""
u64 dropped, order;
SEC("netfilter") int drop(void *ctx) { dropped++; return 0; }
SEC("netfilter") int one(void *ctx) { order = order * 10 + 1; return 1; }
SEC("netfilter") int two(void *ctx) { order = order * 10 + 2; return 1; }
"""


@pytest.fixture
def filters(folder: Path) -> Iterator[Collection]:
    try:
        loaded = live(folder, NETFILTER, "netfilter")
    except (LoadError, Unsupported) as error:
        pytest.skip(f"no netfilter programs in this kernel: {error}")
    with loaded, namespace():
        yield loaded


@pytest.mark.parametrize("hook", ["prerouting", "input", "output", "postrouting"])
def test_netfilter_drops(filters: Collection, hook: str) -> None:
    with filters.programs["drop"].attach_netfilter("ipv4", hook) as link:
        assert udp_on_lo() is None
        assert filters.globals.dropped >= 1
        found = [one for one in network.netfilter() if one.id == link.id]
        assert [(one.pf, one.hooknum, one.priority) for one in found] == [
            (2, ["prerouting", "input", "forward", "output", "postrouting"].index(hook), 0)
        ]
    assert udp_on_lo() == b"hello"


def test_netfilter_families_are_apart(filters: Collection) -> None:
    with filters.programs["drop"].attach_netfilter("ipv6", "input"):
        assert udp_on_lo() == b"hello"


def test_netfilter_priorities_decide_the_order(filters: Collection) -> None:
    one, two = filters.programs["one"], filters.programs["two"]
    with one.attach_netfilter(priority=10):
        with two.attach_netfilter(priority=-10):
            assert udp_on_lo() == b"hello"
            assert filters.globals.order == 21
        with pytest.raises(AttachError, match=rf"program {one.id} \(one\) has that priority"):
            two.attach_netfilter(priority=10)


def test_netfilter_defrag(filters: Collection) -> None:
    try:
        with filters.programs["one"].attach_netfilter(hook="prerouting", priority=-100, defrag=True):
            ip("link set lo mtu 600")
            assert udp_on_lo(b"x" * 2000) == b"x" * 2000
            assert filters.globals.order == 1  # four fragments, one packet
    except Unsupported as error:
        pytest.skip(str(error))
    with pytest.raises(AttachError, match="choose a higher one"):
        filters.programs["one"].attach_netfilter(hook="prerouting", priority=-400, defrag=True)


def test_netfilter_words_are_checked(filters: Collection) -> None:
    one = filters.programs["one"]
    with pytest.raises(AttachError, match="expected ipv4 or ipv6"):
        one.attach_netfilter("ipx")
    with pytest.raises(AttachError, match="expected one of prerouting"):
        one.attach_netfilter("ipv4", "inside")
    with pytest.raises(AttachError, match="without its extremes"):
        one.attach_netfilter(priority=1 << 40)
    with pytest.raises(Unsupported, match="can't change the program"), one.attach_netfilter() as link:
        link.update(filters.programs["two"])


# ---- sk_lookup

SK_LOOKUP = r"""
static long (*sk_assign)(void *, void *, u64) = (void *)124;
static long (*sk_release)(void *) = (void *)86;
MAP(15, 1, u32, u64) sockets SEC(".maps");
struct bpf_sk_lookup { u64 cookie; u32 family, protocol, remote_ip4, remote_ip6[4]; u16 remote_port, pad;
    u32 local_ip4, local_ip6[4], local_port; };
SEC("sk_lookup") int to_ours(struct bpf_sk_lookup *ctx) {
    u32 key = 0;
    if (ctx->local_port < 4000 || ctx->local_port >= 4100) return 1;
    void *sk = map_lookup(&sockets, &key);
    if (!sk) return 1;
    long failed = sk_assign(ctx, sk, 0);
    sk_release(sk);
    return failed ? 0 : 1;
}
SEC("sk_lookup") int refuse(void *ctx) { return 0; }
SEC("flow_dissector") int dissect(void *ctx) { return 0; }
SEC("flow_dissector") int dissect_too(void *ctx) { return 0; }
"""


def listener() -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0))
    made.settimeout(1)
    return made


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def lookups(folder: Path) -> Iterator[Collection]:
    with live(folder, SK_LOOKUP, "lookup") as loaded:
        yield loaded


def test_sk_lookup_gives_many_ports_to_one_socket(lookups: Collection) -> None:
    with namespace(), listener() as server:
        lookups.maps["sockets"][0] = server.fileno()
        with lookups.programs["to_ours"].attach_sk_lookup() as link:
            for port in (4000, 4050, 4099):
                with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                    accepted, _ = server.accept()
                    accepted.send(b"ours")
                    assert client.recv(4) == b"ours"
                    accepted.close()
            assert not connects(4100)
            link.update(lookups.programs["refuse"])
            assert not connects(4000)
        assert not connects(4000)


def test_sk_lookup_in_another_namespace(lookups: Collection) -> None:
    """By path, descriptor and process; only there are connections refused."""
    refuse = lookups.programs["refuse"]
    with namespace() as other, listener() as inside:
        port = inside.getsockname()[1]
        assert connects(port)
        other._before.append(os.dup(other._before[-1]))
        for which in (other.path, other.fd):
            other.__exit__()
            link = refuse.attach_netns(which)
            other.__enter__()
            assert not connects(port)
            link.close()
            assert connects(port)
        other.__exit__()
        other.__enter__()
        with refuse.attach_netns(pid=os.getpid()) as link:
            assert "network namespace process" in link.hook
        os.close(other._before.pop(0))


def test_namespaces_that_are_none(lookups: Collection, tmp_path: Path) -> None:
    refuse = lookups.programs["refuse"]
    with pytest.raises(AttachError, match="no network namespace nowhere"):
        refuse.attach_netns("nowhere")
    with pytest.raises(AttachError, match="no network namespace of process 2147483647"):
        refuse.attach_netns(pid=2147483647)
    with pytest.raises(AttachError, match="is no network namespace"):
        refuse.attach_netns("/proc/self/ns/mnt")
    with pytest.raises(AttachError, match="is no network namespace"):
        refuse.attach_netns(str(tmp_path))


def test_flow_dissector_is_one_for_each_namespace(lookups: Collection) -> None:
    first, second = lookups.programs["dissect"], lookups.programs["dissect_too"]
    with namespace(), first.attach_flow_dissector() as link:
        assert network.flow_dissector() == [first.id]
        with pytest.raises(AttachError, match=rf"program {first.id} \(dissect\) is attached already; a name"):
            second.attach_flow_dissector()
        link.update(second)
        assert network.flow_dissector() == [second.id]
        with namespace():
            assert network.flow_dissector() == []


def test_flow_dissector_sees_packets(folder: Path) -> None:
    text = r"""
    u64 seen;
    SEC("flow_dissector") int dissect(void *ctx) { seen++; return 1; }
    """
    with (
        live(folder, text, "dissect") as loaded,
        namespace(),
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as tap,
    ):
        tap.bind(("lo", 0x0800))
        # Sockets of a fanout group share packets by their flows: SOL_PACKET, PACKET_FANOUT, by hash.
        tap.setsockopt(263, 18, 7)
        with loaded.programs["dissect"].attach_flow_dissector():
            assert udp_on_lo() == b"hello"
        seen = loaded.globals.seen
        assert seen >= 1
        assert udp_on_lo() == b"hello"
        assert loaded.globals.seen == seen


# ---- routes

LWT = r"""
u64 seen;
SEC("lwt_xmit") int drop_sent(void *ctx) { seen++; return 2; }
SEC("lwt_out") int drop_out(void *ctx) { seen++; return 2; }
SEC("lwt_in") int drop_in(void *ctx) { seen++; return 2; }
"""


@pytest.mark.parametrize("name", ["drop_sent", "drop_out"])
def test_a_route_with_a_program_drops(folder: Path, wire: Pair, name: str) -> None:
    with live(folder, LWT, "lwt") as loaded:
        with loaded.programs[name].attach_lwt(f"{Pair.THERE}/32", interface="near") as link:
            assert wire.reaches() is None
            assert loaded.globals.seen >= 1
            with pytest.raises(AttachError, match="there is such a route already"):
                loaded.programs[name].attach_lwt(f"{Pair.THERE}/32", interface="near")
            with pytest.raises(Unsupported, match="can't change its program"):
                link.update(loaded.programs[name])
            assert link.info().attached is None
        assert wire.reaches() == b"hello"


def test_routes_are_checked(folder: Path) -> None:
    with live(folder, LWT, "lwt") as loaded, namespace():
        program = loaded.programs["drop_out"]
        with pytest.raises(AttachError, match="needs an interface or a gateway"):
            program.attach_lwt("10.0.0.0/8")
        with pytest.raises(AttachError, match="does not appear to be an IPv4 or IPv6 network"):
            program.attach_lwt("ten", interface="lo")
        with pytest.raises(AttachError, match="only lwt_xmit programs have headroom"):
            program.attach_lwt("10.0.0.0/8", interface="lo", headroom=20)


# ---- infrared


def test_lirc_needs_a_receiver(folder: Path) -> None:
    text = 'SEC("lirc_mode2") int decode(u32 *sample) { return 0; }'
    try:
        loaded = live(folder, text, "lirc")
    except (LoadError, Unsupported) as error:
        pytest.skip(f"no lirc_mode2 programs in this kernel: {error}")
    with loaded:
        with pytest.raises(AttachError, match="there is no lirc device /dev/lirc99; "):
            loaded.programs["decode"].attach_lirc("/dev/lirc99")
        with pytest.raises(AttachError, match="no infrared receiver with raw signals"):
            loaded.programs["decode"].attach_lirc("/dev/null")
