"""Programs on packets and sockets send them elsewhere, take them apart and put them together."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

import netbox
from lang_attach import attaching, outs
from probee.errors import Unsupported

pytestmark = pytest.mark.root


@pytest.fixture
def attach(tmp_path) -> Iterator[Callable[..., Any]]:
    with attaching(tmp_path) as attach:
        yield attach


@pytest.fixture
def wire() -> Iterator[netbox.Pair]:
    with netbox.pair() as made:
        yield made


def udp(family: int = socket.AF_INET) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(0.5)
    return made


def route(program: Any, destination: str, **how: Any) -> Any:
    try:
        return program.attach_lwt(destination, **how)
    except Unsupported as error:
        pytest.skip(str(error))


def until(done: Callable[[], bool]) -> None:
    """Wait for packets on their way, two seconds at most."""
    deadline = time.monotonic() + 2
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)


# ---- routes with programs ----


def test_lwt_xmit_rewrites_and_drops(attach, wire):
    session, _ = attach(
        """
        @bp.lwt("xmit")
        def leaving(pkt):
            ip, udp = pkt.read(IPv4, UDP, short=LWT.OK)
            if udp.dst_port == 1:
                return LWT.DROP
            ip.update(ttl=7)
            return LWT.OK
        """
    )
    with wire.there:
        server = udp()
    with server, udp() as client, route(session.programs["leaving"], f"{wire.THERE}/32", interface="near"):
        server.bind((wire.THERE, 9))
        server.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        client.sendto(b"x", (wire.THERE, 9))
        data, about, _, _ = server.recvmsg(10, 100)
        assert (data, int.from_bytes(about[0][2][:1], "little")) == (b"x", 7)  # the checksum is right
        assert wire.reaches(1) is None


def test_lwt_in_sees_what_is_forwarded(attach, wire):
    """There packets come back by a route with a program; here they are counted as they come."""
    session, module = attach(
        """
        @bp.lwt("in")
        def through(pkt):
            ip, udp = pkt.read(IPv4, UDP, short=LWT.OK)
            out[0] += 1
            return LWT.DROP if udp.dst_port == 1 else LWT.OK

        @bp.tcx("near", "ingress")
        def back(pkt):
            eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=TC.NEXT)
            if ip.dst == ipv4("10.99.0.5"):
                out[udp.dst_port] += 1
        """,
        needs="tcx",
    )
    netbox.ip(f"route add 10.99.0.0/24 via {wire.THERE} dev near")
    with wire.there:
        for name in ("all", "far"):
            with open(f"/proc/sys/net/ipv4/conf/{name}/rp_filter", "w") as file:
                file.write("0")
        with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
            file.write("1")
        link = route(session.programs["through"], "10.99.0.0/24", interface="far", gateway=wire.HERE)
    with link, udp() as client:
        for port in (1, 2):
            client.sendto(b"x", ("10.99.0.5", port))
        until(lambda: module.out[2] == 1)
        assert outs(module, 3) == [2, 0, 1]


def test_lwt_seg6local(attach, wire):
    """A segment of a source route whose function is a program, which takes the packet on or drops it."""
    session, module = attach(
        """
        @bp.lwt("seg6local")
        def segment(pkt):
            ip = pkt.read(IPv6, short=LWT.DROP)
            out[0] += 1
            out[1] = ip.next_header
            pkt.skip(8 + 2 * 16)                 # the routing header
            udp = pkt.read(UDP, short=LWT.DROP)
            return LWT.DROP if udp.dst_port == 2 else LWT.OK

        @bp.tcx("near", "ingress")
        def back(pkt):
            eth, ip = pkt.read(Ethernet, IPv6, short=TC.NEXT)
            if ip.dst != ipv6("fd09:2::5"):
                return TC.NEXT
            pkt.skip(8 + 2 * 16)
            udp = pkt.read(UDP, short=TC.NEXT)
            out[udp.dst_port] += 1
            return TC.SHOT
        """,
        needs="tcx",
    )
    with wire.there:
        for name in ("all", "far"):
            for word in ("seg6_enabled", "forwarding"):
                with open(f"/proc/sys/net/ipv6/conf/{name}/{word}", "w") as file:
                    file.write("1")
        netbox.ip(f"-6 route add fd09:2::/64 via {wire.HERE6} dev far")
        link = route(session.programs["segment"], "fd09:1::1/128", interface="far")
    with link, udp(socket.AF_INET6) as client:
        try:
            netbox.ip(f"-6 route add fd09:1::1/128 via {wire.THERE6} dev near")
            how = "encap seg6 mode inline segs fd09:1::1"
            netbox.ip(f"-6 route add fd09:2::/64 {how} via {wire.THERE6} dev near")
        except OSError as error:
            pytest.skip(f"this kernel has no segment routing: {error}")
        for port in (2, 3):
            client.sendto(b"hello", ("fd09:2::5", port))
        until(lambda: module.out[3] == 1)
        assert outs(module, 4) == [2, 43, 0, 1]


# ---- tc ----


def test_vlan_tags_are_put_on_and_taken_off(attach, wire):
    _, sender = attach(
        """
        @bp.tcx("near", "egress")
        def tag(pkt):
            eth, ip = pkt.read(Ethernet, IPv4, short=TC.NEXT)
            if eth.type == EtherType.IPV4:
                out[0] = pkt.vlan_push(0x8100, 42)
        """,
        needs="tcx",
    )
    with wire.there:
        session, module = attach(
            """
            @bp.tcx("far", "ingress")
            def untag(pkt):
                if pkt.vlan_present:
                    out[0] = pkt.vlan_tci
                    out[1] = pkt.vlan_pop()
            """
        )
    assert wire.reaches() == b"hello"
    assert sender.out[0] == 0
    assert outs(module, 2) == [42, 0]
    session.close()
    assert wire.reaches() is None  # there is no such VLAN there


def test_room_is_made_for_a_tunnel(attach, wire):
    """IPv4 in IPv4: the outer header is written in the room, and cut out again."""
    attach(
        """
        MAC_LAYER = 1
        ENCAP_IPV4 = 1 << 1

        @bp.tcx("near", "egress")
        def wrap(pkt):
            eth, inner = pkt.read(Ethernet, IPv4, short=TC.NEXT)
            if eth.type != EtherType.IPV4:
                return TC.NEXT
            outer = IPv4(version=4, ihl=5, ttl=9, protocol=Protocol.IPIP, src=inner.src, dst=inner.dst)
            outer.total_length = inner.total_length + 20
            if pkt.adjust_room(20, MAC_LAYER, ENCAP_IPV4) != 0:
                return TC.SHOT
            if pkt.store(14, outer) != 0:
                return TC.SHOT
            eth, ip = pkt.read(Ethernet, IPv4, short=TC.SHOT)
            ip.compute_checksum()
            out[0] += 1
            return TC.NEXT
        """,
        needs="tcx",
    )
    with wire.there:
        session, module = attach(
            """
            MAC_LAYER = 1

            @bp.tcx("far", "ingress")
            def unwrap(pkt):
                eth, ip = pkt.read(Ethernet, IPv4, short=TC.NEXT)
                if ip.protocol == Protocol.IPIP:
                    out[0] = ip.ttl
                    out[1] = pkt.adjust_room(-20, MAC_LAYER)
            """
        )
    assert wire.reaches() == b"hello"
    assert outs(module, 2) == [9, 0]
    session.close()
    assert wire.reaches() is None


@contextmanager
def third(wire: netbox.Pair) -> Iterator[netbox.Namespace]:
    """A namespace more, with `side` (10.9.0.3) here's `door` leads to."""
    made = netbox.Namespace()
    try:
        netbox.ip("link add door type veth peer name side")
        netbox.ip(f"link set side netns {made.path}")
        netbox.ip("link set door up")
        with made:
            netbox.ip("addr add 10.9.0.3/24 dev side")
            netbox.ip("link set side up")
        yield made
    finally:
        made.close()


def address(device: str) -> str:
    return netbox.ip(f"-o link show {device}").split("link/ether ")[1].split()[0]


@pytest.mark.parametrize("how", ["redirect_peer", "redirect_neigh", "redirect", "clone_redirect"])
def test_packets_go_to_another_device(attach, wire, how):
    """From a third namespace through `door`: into the peer's namespace, or out of the device."""
    with third(wire) as other:
        with wire.there:
            far = address("far")
        _, module = attach(
            """
            @bp.tcx("door", "ingress")
            def send(pkt):
                eth, ip = pkt.read(Ethernet, IPv4, short=TC.NEXT)
                if ip.dst != ipv4("10.9.0.2"):
                    return TC.NEXT
                out[0] += 1
                if HOW == "redirect_peer":
                    return pkt.redirect_peer(NEAR)
                if HOW == "redirect_neigh":
                    return pkt.redirect_neigh(NEAR)
                if HOW == "redirect":
                    return pkt.redirect(NEAR)
                out[1] = pkt.clone_redirect(NEAR)
                return TC.SHOT
            """,
            needs="tcx",
            NEAR=socket.if_nametoindex("near"),
            HOW=how,
        )
        # Only redirect_neigh puts the right address in.
        to = address("door") if how == "redirect_neigh" else far
        with wire.there:
            server = udp()
        with other:
            netbox.ip(f"neigh replace {wire.THERE} lladdr {to} dev side")
            client = udp()
        with server, client:
            server.bind((wire.THERE, 9))
            client.sendto(b"over", (wire.THERE, 9))
            data, sender = server.recvfrom(10)
            assert (data, sender[0]) == (b"over", "10.9.0.3")
            assert outs(module, 2) == [1, 0]


def test_netfilter_reads_headers(attach):
    with netbox.namespace():
        _, module = attach(
            """
            @bp.netfilter("ipv4", "input")
            def judge(pkt):
                ip, udp = pkt.read(IPv4, UDP, short=NF.ACCEPT)
                out[0] = ip.src
                out[1] = udp.length
                out[2] = len(pkt)
                out[3] = pkt.state.hook
                pkt.rewind()
                pkt.skip(20)
                again = pkt.read(UDP)
                if again is not None and again.length == 8 + 3:
                    return NF.DROP
                return NF.ACCEPT
            """,
            needs="netfilter programs",
        )
        assert netbox.udp_on_lo(b"four") == b"four"
        assert outs(module, 4) == [0x7F000001, 12, 32, 1]
        assert netbox.udp_on_lo(b"thr") is None


def test_flow_dissector_says_what_a_flow_is(attach):
    """Packets are spread over the sockets of a group by their flow, and all have the same one."""
    with netbox.namespace():
        session, module = attach(
            """
            @bp.flow_dissector("/proc/thread-self/ns/net")
            def dissect(pkt):
                keys = pkt.flow_keys
                keys.thoff = keys.nhoff + 20
                keys.addr_proto = 0x800
                keys.n_proto = 0x800
                keys.ip_proto = Protocol.UDP
                keys.sport = 1
                keys.dport = 2
                keys.ipv4_src = 3
                keys.ipv4_dst = 4
                out[0] += 1
                return FLOW.OK
            """
        )
        with ExitStack() as stack:
            taps = []
            for _ in range(2):
                tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
                taps.append(stack.enter_context(tap))
                tap.bind(("lo", 0x0800))
                tap.setsockopt(263, 18, 7)  # SOL_PACKET, PACKET_FANOUT: group 7, by hash
                tap.setblocking(False)
            client = stack.enter_context(udp())

            def spread() -> list[int]:
                for port in range(5000, 5016):
                    client.sendto(b"x", ("127.0.0.1", port))
                found = []
                for tap in taps:
                    found.append(0)
                    with suppress(BlockingIOError):
                        while tap.recv(100):
                            found[-1] += 1
                return found

            assert min(spread()) == 0
            assert module.out[0] > 0
            session.close()
            assert min(spread()) > 0


# ---- XDP ----


def test_xdp_programs_where_packets_are_sent_to(attach, wire):
    """A device and a CPU with programs of their own, a device by any number."""
    with wire.there:
        session, module = attach(
            """
            cpus = bp.CpuMap(4)
            devices = bp.DevMap(4)
            by_number = bp.DevMapHash(4)

            @bp.xdp("far", mode="native")
            def first(pkt):
                eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=XDP.PASS)
                if udp.dst_port == 7001:
                    return pkt.redirect(cpus, 0)
                if udp.dst_port == 7002:
                    eth.src, eth.dst = eth.dst, eth.src
                    return pkt.redirect(devices, 1)
                if udp.dst_port == 7003:
                    eth.src, eth.dst = eth.dst, eth.src
                    return by_number.redirect(77_000)
                return XDP.PASS

            @bp.xdp(at="cpumap")
            def there(pkt):
                out[0] += 1
                return XDP.PASS

            @bp.xdp(at="devmap")
            def back(pkt):
                out[1] += 1
                out[2] = pkt.egress_ifindex
                return XDP.PASS
            """
        )
        module.cpus[0] = 16, session.programs["there"]
        far = socket.if_nametoindex("far")
        module.devices[1] = "far", session.programs["back"]
        module.by_number[77_000] = "far"
    _, here = attach(
        """
        @bp.tcx("near", "ingress")
        def returned(pkt):
            eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=TC.NEXT)
            if udp.dst_port >= 7000:
                out[udp.dst_port & 7] += 1
        """,
        needs="tcx",
    )
    # A veth's end takes what is sent by XDP if it has a program too.
    attach('@bp.xdp("near", mode="native")\ndef ready(pkt):\n    return XDP.PASS\n')
    with wire.there:
        server = udp()
    with server, udp() as client:
        server.bind((wire.THERE, 7001))
        client.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK: XDP loses that it was still to be made
        for port in (7001, 7002, 7003):
            client.sendto(b"hello", (wire.THERE, port))
        assert server.recv(10) == b"hello"
    assert module.out[0] == 1
    until(lambda: outs(here, 4)[2:] == [1, 1])
    assert outs(here, 4)[2:] == [1, 1]
    assert outs(module, 3) == [1, 1, far]


def test_xdp_of_packets_in_several_pieces(attach, wire):
    """Larger than a page: a program without `frags` could not be attached."""
    with wire.there:
        netbox.ip("link set far mtu 9000")
        _, module = attach(
            """
            @bp.xdp("far", mode="native", frags=True)
            def look(pkt):
                eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=XDP.PASS)
                out[0] = pkt.buffer_length()
                out[1] = len(pkt) < out[0]
                last = pkt.load(14 + 20 + 8 + 7999, u8)
                if last is None:
                    return XDP.DROP
                out[2] = last
                return XDP.PASS
            """,
            needs="xdp.frags",
        )
        server = udp()
    netbox.ip("link set near mtu 9000")
    with server, udp() as client:
        server.bind((wire.THERE, 9))
        client.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
        client.sendto(bytes(7999) + b"!", (wire.THERE, 9))
        assert len(server.recv(10_000)) == 8000
    assert outs(module, 3) == [14 + 20 + 8 + 8000, 1, ord("!")]


# ---- sockets ----


def test_sk_lookup_gives_ports_to_sockets(attach):
    with netbox.namespace():
        _, module = attach(
            """
            sockets = bp.SockMap(2)

            @bp.sk_lookup("/proc/thread-self/ns/net")
            def choose(ctx):
                if 4000 <= ctx.local_port < 4100:
                    with sockets.get(ctx.local_port & 1) as sk:
                        out[0] = bp.sk_assign(ctx, sk, 0)
                return SK.PASS
            """
        )
        with udp() as even, udp() as odd, udp() as client:
            for i, server in enumerate((even, odd)):
                server.bind(("127.0.0.1", 0))
                module.sockets[i] = server
            client.sendto(b"even", ("127.0.0.1", 4002))
            client.sendto(b"odd", ("127.0.0.1", 4003))
            assert (even.recv(10), odd.recv(10)) == (b"even", b"odd")
            assert module.out[0] == 0


def test_sk_reuseport_chooses(attach):
    session, module = attach(
        """
        group = bp.ReuseportArray(4)

        @bp.sk_reuseport
        def choose(pkt):
            pkt.skip(8)
            word = pkt.load(8, u8)
            if word is None:
                return SK.DROP
            if group.select(word - 48) != 0:
                return SK.DROP
            return SK.PASS
        """
    )
    with netbox.namespace(), udp() as first, udp() as second, udp() as client:
        port = 0
        for i, made in enumerate((first, second)):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(("127.0.0.1", port))
            port = made.getsockname()[1]
            module.group[i] = made
        with session.programs["choose"].attach_reuseport(first):
            for word in (b"1", b"0", b"1", b"3"):
                client.sendto(word, ("127.0.0.1", port))
            assert [first.recv(10), second.recv(10), second.recv(10)] == [b"0", b"1", b"1"]
            first.settimeout(0.05)
            with pytest.raises(TimeoutError):
                first.recv(10)


def test_sk_reuseport_migrates_connections(attach):
    """A connection that waits at a listener which is closed goes to the one that the program says."""
    session, module = attach(
        """
        group = bp.ReuseportArray(4)

        @bp.sk_reuseport(migrate=True)
        def choose(pkt):
            moving = pkt.migrating_sk
            if moving is None:
                group.select(0)
                return SK.PASS
            out[0] = moving.src_port
            group.select(1)
            return SK.PASS
        """,
        needs="sk_reuseport/migrate",
    )
    with netbox.namespace(), ExitStack() as stack:
        servers = []
        port = 0
        for i in range(2):
            made = stack.enter_context(socket.socket())
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(("127.0.0.1", port))
            port = made.getsockname()[1]
            made.listen()
            made.settimeout(1)
            module.group[i] = made
            servers.append(made)
        with session.programs["choose"].attach_reuseport(servers[0]):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            servers[0].shutdown(socket.SHUT_RDWR)
            accepted = stack.enter_context(servers[1].accept()[0])
            client.sendall(b"moved")
            assert accepted.recv(10) == b"moved"
            assert module.out[0] == port


def connections() -> tuple[list[socket.socket], list[socket.socket]]:
    """Two TCP connections over the loopback: the clients, and their other ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        clients, others = [], []
        for _ in range(2):
            clients.append(socket.create_connection(server.getsockname(), timeout=1))
            others.append(server.accept()[0])
            others[-1].settimeout(1)
    return clients, others


def test_sk_skb_verdict_without_a_parser(attach):
    """By a SockHash with keys of ours; the other program puts the sockets in as they are connected."""
    with netbox.namespace(), netbox.cgroup() as group:
        _, module = attach(
            """
            class Key(bp.Struct):
                port: u32
                side: u32

            sockets = bp.SockHash[Key](8)

            class Word(bp.Struct):
                text: u8[4]

            @bp.sk_skb("verdict", sockets)
            def judge(pkt):
                word = pkt.load(0, Word)
                if word is not None and word.text == b"drop":
                    return SK.DROP
                if word is not None and word.text == b"over":
                    return pkt.redirect(sockets, Key(port=OTHER, side=4), 1)  # to what it receives
                return SK.PASS

            @bp.sockops(GROUP)
            def event(ctx):
                if ctx.op == 4 or ctx.op == 5:  # connected from here, from there
                    key = Key(side=ctx.op)
                    key.port = ctx.local_port if ctx.op == 4 else ctx.remote_port
                    out[ctx.op] = sockets.update(key)
            """,
            needs="sk_skb/verdict",
            GROUP=group.path,
            OTHER=4321,
        )
        with group, ExitStack() as stack:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            pairs = []
            for port in (4320, 4321):
                client = stack.enter_context(
                    socket.create_connection(
                        server.getsockname(), source_address=("127.0.0.1", port), timeout=1
                    )
                )
                other = stack.enter_context(server.accept()[0])
                other.settimeout(1)
                pairs.append((client, other))
            assert len(list(module.sockets)) == 4
            assert outs(module, 6)[4:] == [0, 0]
            (client, other), (second, _) = pairs
            client.sendall(b"pass")
            assert other.recv(10) == b"pass"
            client.sendall(b"over")
            assert second.recv(10) == b"over"
            client.sendall(b"drop")
            other.settimeout(0.05)
            with pytest.raises(TimeoutError):
                other.recv(10)


ACTION = """
@bp.action
def answer(pkt):
    eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=TC.OK)
    out[0] = udp.dst_port
    return TC.SHOT if udp.dst_port == 9 else TC.OK
"""


def test_an_action_of_tc(attach):
    session, module = attach(ACTION)
    packet = bytes(12) + b"\x08\x00" + bytes([0x45]) + bytes(19) + bytes([0, 9, 0, 9, 0, 8, 0, 0]) + bytes(30)
    assert session.programs["answer"].test_run(packet).retval == 2
    assert module.out[0] == 9


def test_an_action_of_tc_behind_a_filter(attach, wire):
    session, module = attach(ACTION)
    pin = f"/sys/fs/bpf/probee-action-{os.getpid()}"
    session.programs["answer"].pin(pin)
    try:
        netbox.ip("qdisc add dev near clsact", tool="tc")
        how = "protocol ip u32 match u32 0 0 action bpf object-pinned"
        netbox.ip(f"filter add dev near egress {how} {pin}", tool="tc")
    except OSError as error:
        pytest.skip(f"this kernel has no BPF actions of tc: {error}")
    finally:
        os.unlink(pin)
    assert wire.reaches(9) is None
    assert wire.reaches(10) == b"hello"
    assert module.out[0] == 10
