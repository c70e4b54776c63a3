"""Every kind of program does what it is for, in the running kernel."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
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
def group() -> Iterator[netbox.Cgroup]:
    with netbox.cgroup() as made:
        yield made


# ---- the network ----


def test_xdp_and_tc_on_a_wire(attach):
    with netbox.pair() as pair:
        assert pair.reaches(payload=b"a") == b"a"
        with pair.there:
            session, module = attach(
                """
                @bp.xdp("far", mode="generic")
                def drop(pkt):
                    eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=XDP.PASS)
                    if udp.dst_port == 7777:
                        out[0] += 1
                        return XDP.DROP
                    return XDP.PASS

                @bp.tcx("far", "ingress")
                def look(pkt):
                    out[1] += 1
                    out[2] = pkt.ifindex

                @bp.tc("far", "ingress")
                def classic(pkt):
                    out[3] += 1
                """
            )
        assert pair.reaches(payload=b"b") is None
        assert pair.reaches(port=7778, payload=b"c") == b"c"
        assert module.out[0] == 1
        assert module.out[1] > 0
        assert module.out[3] > 0  # both let it go on
        session.close()
        assert pair.reaches(payload=b"d") == b"d"


def test_a_port_is_rewritten_on_the_way(attach):
    with netbox.pair() as pair:
        attach(
            """
            @bp.tcx("near", "egress")
            def rewrite(pkt):
                eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=TC.NEXT)
                if ip.protocol == Protocol.UDP and udp.dst_port == 9:
                    udp.update(dst_port=7001)
            """
        )
        with pair.there:
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with pair.here:
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with server, client:
            server.bind((pair.THERE, 7001))
            server.settimeout(1)
            client.sendto(b"hello", (pair.THERE, 9))
            assert server.recv(100) == b"hello"  # the checksum is right


def test_netkit(attach):
    """What either end sends is dropped or goes to the other."""
    with netbox.namespace() as here:
        try:
            netbox.ip("link add nkp type netkit")
        except OSError as error:
            pytest.skip(f"this kernel has no netkit: {error}")
        other = netbox.Namespace()
        peer = next(name for _, name in socket.if_nameindex() if name not in ("lo", "nkp"))
        netbox.ip(f"link set {peer} netns {other.path}")
        with other:
            netbox.ip(f"addr add 10.8.0.2/24 dev {peer}")
            netbox.ip(f"link set {peer} up")
        netbox.ip("addr add 10.8.0.1/24 dev nkp")
        netbox.ip("link set nkp up")
        _, module = attach(
            """
            @bp.netkit("nkp", "primary")
            def sent(pkt):
                eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=TC.NEXT)
                out[udp.dst_port] += 1
                return TC.SHOT if udp.dst_port == 1 else TC.NEXT

            @bp.netkit("nkp", "peer")
            def answered(pkt):
                eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=TC.NEXT)
                out[udp.dst_port] += 1
                return TC.SHOT if udp.dst_port == 3 else TC.NEXT
            """,
            needs="netkit",
        )
        with ExitStack() as stack:
            sockets = []
            for place, port in ((here, 4), (other, 2)):
                with place:
                    made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    made.bind(("", port))
                    made.settimeout(1)
                    sockets.append(made)
            near, far = sockets
            for port in (1, 2):
                near.sendto(b"to", ("10.8.0.2", port))
            for port in (3, 4):
                far.sendto(b"back", ("10.8.0.1", port))
            assert (far.recv(10), near.recv(10)) == (b"to", b"back")
            assert outs(module, 5) == [0, 1, 1, 1, 1]
        other.close()


def test_socket_filter(attach):
    session, module = attach(
        """
        @bp.socket_filter
        def keep(pkt):
            udp = pkt.read(UDP)
            if udp is None:
                return 0
            out[0] = udp.dst_port
            return 8 + 2
        """
    )
    with (
        netbox.namespace(),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        link = session.programs["keep"].attach_socket(server)
        client.sendto(b"hello", server.getsockname())
        server.settimeout(1)
        assert server.recv(100) == b"he"
        link.close()
        assert module.out[0] == server.getsockname()[1]


def test_netfilter(attach):
    with netbox.namespace():
        session, module = attach(
            """
            @bp.netfilter("ipv4", "input", priority=-77)
            def judge(ctx):
                out[0] = ctx.skb.len
                if ctx.skb.len == 20 + 8 + 5:
                    return NF.DROP
                return NF.ACCEPT
            """,
            needs="netfilter programs",
        )
        assert netbox.udp_on_lo(b"five!") is None
        assert netbox.udp_on_lo(b"four") == b"four"
        assert module.out[0] == 32
        session.close()
        assert netbox.udp_on_lo(b"five!") == b"five!"


def test_lwt(attach):
    with netbox.pair():
        session, module = attach(
            """
            @bp.lwt("out")
            def leaving(pkt):
                ip = pkt.read(IPv4, short=LWT.OK)
                out[0] = ip.dst
                return LWT.DROP
            """
        )
        try:
            link = session.programs["leaving"].attach_lwt("10.77.0.0/24", interface="near")
        except Unsupported as error:
            pytest.skip(str(error))
        with link, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            with suppress(OSError):
                client.sendto(b"x", ("10.77.0.5", 9))
            assert module.out[0] == 0x0A4D0005


# ---- sockets ----


def test_sk_lookup(attach):
    with netbox.namespace():
        _, module = attach(
            """
            @bp.sk_lookup("/proc/thread-self/ns/net")
            def choose(ctx):
                if ctx.local_port == 7777:
                    out[0] = ctx.local_ip4
                    out[1] = ctx.remote_port
                    return SK.DROP
                return SK.PASS
            """
        )
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            server.bind(("127.0.0.1", 7777))
            server.settimeout(0.2)
            client.bind(("127.0.0.1", 0))
            with suppress(OSError):
                client.sendto(b"x", ("127.0.0.1", 7777))
            with pytest.raises(TimeoutError):
                server.recv(10)
            assert outs(module, 2) == [0x7F000001, client.getsockname()[1]]
    assert netbox.udp_on_lo() is not None


def test_sk_reuseport(attach):
    session, module = attach(
        """
        @bp.sk_reuseport
        def choose(pkt):
            udp = pkt.read(UDP, short=SK.DROP)
            out[0] = udp.dst_port
            out[1] = pkt.ip_protocol
            out[2] = pkt.eth_protocol
            return SK.DROP
        """
    )
    with netbox.namespace(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        link = session.programs["choose"].attach_reuseport(server)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, suppress(OSError):
            client.sendto(b"x", server.getsockname())
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.recv(10)
        assert outs(module, 3) == [server.getsockname()[1], 17, 0x800]
        link.close()


def test_flow_dissector(attach):
    session, _ = attach(
        """
        @bp.flow_dissector
        def dissect(pkt):
            keys = pkt.flow_keys
            keys.sport = 7
            keys.ip_proto = Protocol.UDP
            return FLOW.OK
        """
    )
    result = session.programs["dissect"].test_run(bytes(12) + b"\x08\x00" + bytes(40))
    assert result.retval == 0
    assert (result.data[9], result.data[12:14]) == (17, b"\x00\x07")


# ---- cgroups ----


def connected(address: tuple[str, int]) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(address)
        except OSError:
            return False
        return True


def test_cgroup_addresses_are_rewritten_and_refused(attach, group):
    with netbox.namespace(), socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        _, module = attach(
            """
            @bp.cgroup_sock_addr("connect4", GROUP)
            def connect(ctx):
                out[0] = ctx.user_ip4
                out[1] = ctx.user_port
                out[2] = ctx.family
                if ctx.user_port == 1:
                    ctx.user_ip4 = ipv4("127.0.0.1")
                    ctx.user_port = PORT
                    return CGROUP.ALLOW
                return CGROUP.DENY

            @bp.cgroup_sock_addr("getpeername4", GROUP)
            def peer(ctx):
                ctx.user_port = 1
                ctx.user_ip4 = ipv4("10.1.2.3")

            @bp.cgroup_sock_addr("bind4", GROUP)
            def bind(ctx):
                if ctx.user_port == 4444:
                    return 0

            @bp.cgroup_sock_addr("sendmsg4", GROUP)
            def send(ctx):
                out[3] += 1

            @bp.cgroup_sock_addr("recvmsg4", GROUP)
            def receive(ctx):
                ctx.user_port = 5
                out[4] += 1

            @bp.cgroup_sock_addr("connect6", GROUP)
            def connect6(ctx):
                out[5] = ctx.user_ip6[3]
                if ctx.user_ip6 == ipv6("fd00::1"):
                    out[6] = 1
                ctx.user_ip6[0] = 0
                return 0
            """,
            GROUP=group.path,
            PORT=port,
        )
        with group:
            assert not connected(("127.0.0.1", port))
            assert connected(("10.1.2.3", 1))
            assert outs(module, 3) == [0x0A010203, 1, socket.AF_INET]
            with socket.create_connection(("10.1.2.3", 1)) as client:
                assert client.getpeername() == ("10.1.2.3", 1)
            with socket.socket() as other, pytest.raises(PermissionError):
                other.bind(("127.0.0.1", 4444))
            with (
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as a,
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as b,
            ):
                a.bind(("127.0.0.1", 0))
                b.sendto(b"x", a.getsockname())
                assert a.recvfrom(10)[1][1] == 5
            assert outs(module, 5)[3:] == [1, 1]
            with socket.socket(socket.AF_INET6) as six, pytest.raises(OSError):
                six.connect(("fd00::1", 80))
            assert outs(module, 7)[5:] == [1, 1]


def test_cgroup_skb(attach, group):
    with netbox.namespace():
        _, module = attach(
            """
            @bp.cgroup_skb("egress", GROUP)
            def leaving(pkt):
                ip, udp = pkt.read(IPv4, UDP, short=CGROUP.ALLOW)
                out[0] = ip.protocol
                out[1] = len(pkt)
                return CGROUP.DENY if udp.length == 8 + 3 else CGROUP.ALLOW

            @bp.cgroup_skb("ingress", GROUP)
            def coming(pkt):
                out[2] += 1
            """,
            GROUP=group.path,
        )
        with group:
            assert netbox.udp_on_lo(b"abcd") == b"abcd"
            assert outs(module, 2) == [17, 32]
            assert module.out[2] == 1
            assert netbox.udp_on_lo(b"abc") is None


def test_cgroup_sockets(attach, group):
    _, module = attach(
        """
        @bp.cgroup_sock("sock_create", GROUP)
        def create(ctx):
            out[0] = ctx.family
            ctx.mark = 77
            if ctx.type == 5:
                return CGROUP.DENY

        @bp.cgroup_sock("sock_release", GROUP)
        def release(ctx):
            out[1] += 1

        @bp.cgroup_sock("post_bind4", GROUP)
        def bound(ctx):
            out[2] = ctx.src_port
            out[3] = ctx.src_ip4
        """,
        GROUP=group.path,
    )
    with group:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.bind(("127.0.0.1", 0))
            assert made.getsockopt(socket.SOL_SOCKET, 36) == 77  # SO_MARK
            assert outs(module, 4)[2:] == [made.getsockname()[1], 0x7F000001]
        assert outs(module, 2) == [socket.AF_INET, 1]
        with pytest.raises(OSError):
            socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET)


def test_cgroup_sockopt(attach, group):
    _, module = attach(
        """
        @bp.cgroup_sockopt("setsockopt", GROUP)
        def set(ctx):
            if ctx.level == 0xCAFE:
                value = ctx.read(Number, short=0)
                out[0] = value.n
                ctx.optlen = -1
                return CGROUP.ALLOW
            return CGROUP.ALLOW

        @bp.cgroup_sockopt("getsockopt", GROUP)
        def get(ctx):
            if ctx.level == 0xCAFE:
                value = ctx.read(Number, short=0)
                value.n = 1234
                ctx.retval = 0
                ctx.optlen = 4


        class Number(bp.Struct):
            n: u32
        """,
        GROUP=group.path,
    )
    with group, socket.socket() as made:
        made.setsockopt(0xCAFE, 1, 99)
        assert module.out[0] == 99
        assert made.getsockopt(0xCAFE, 1) == 1234
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM


def test_cgroup_sysctl_and_device(attach, group):
    _, module = attach(
        """
        @bp.cgroup_sysctl(GROUP)
        def sysctl(ctx):
            out[0] += 1
            return CGROUP.DENY if ctx.write else CGROUP.ALLOW

        @bp.cgroup_device(GROUP)
        def device(ctx):
            out[1] = ctx.major
            if ctx.major == 1 and ctx.minor == 7:
                return CGROUP.DENY
        """,
        GROUP=group.path,
    )
    with group:
        with open("/proc/sys/kernel/hostname") as file:
            file.read()
        assert module.out[0] > 0
        with pytest.raises(PermissionError), open("/proc/sys/kernel/hostname", "w") as file:
            file.write(os.uname().nodename)
        with open("/dev/zero", "rb"):
            pass
        assert module.out[1] == 1
        with pytest.raises(PermissionError), open("/dev/full", "rb"):
            pass


def test_sockops(attach, group):
    with netbox.namespace():
        _, module = attach(
            """
            @bp.sockops(GROUP)
            def event(ctx):
                if ctx.op == 3:
                    out[0] = ctx.remote_port
                    out[1] = ctx.remote_ip4
                    out[2] = ctx.local_port
                    ctx.reply = 0
            """,
            GROUP=group.path,
        )
        with group, socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            assert connected(server.getsockname())
            assert outs(module, 2) == [server.getsockname()[1], 0x7F000001]


# ---- the kernel's functions ----


def test_iterators(attach):
    session, _ = attach(
        """
        @bp.iter("task")
        def tasks(ctx):
            task = ctx.task
            if task is None:
                return
            if ctx.meta.seq_num == 0:
                print("  pid name")
            print(f"{task.pid:>5} {task.comm}")

        @bp.iter("task_file")
        def files(ctx):
            if file := ctx.file:
                if task := ctx.task:
                    if task.tgid == PID:
                        print(ctx.fd, end=" ")

        @bp.iter("bpf_map")
        def maps(ctx):
            if m := ctx.map:
                print(f"{m.id} {m.max_entries}")

        @bp.iter_map(counts)
        def entries(ctx):
            if ctx.key is None:
                return
            key = bp.cast(u32, ctx.key)
            value = bp.cast(u64, ctx.value)
            print(f"{key[0]}={value[0]}")
        """,
        PID=os.getpid(),
    )
    session.maps["counts"][5] = 50
    text = {link.hook: link.text() for link in session.links}
    tasks = [v for v in text.values() if v.startswith("  pid name\n")]
    assert f"{os.getpid():>5} " in tasks[0]
    numbers = next(v for v in text.values() if v and "\n" not in v)
    assert {0, 1, 2} <= {int(n) for n in numbers.split()}
    assert any(f"{session.maps['counts'].id} 64\n" in v for v in text.values())
    assert "5=50\n" in text.values()


def test_syscall_program(attach):
    session, _ = attach(
        """
        class Args(bp.Struct):
            a: u64
            b: u64
            sum: u64

        @bp.syscall
        def add(args: Args):
            args.sum = args.a + args.b
            return 7
        """
    )
    run = session.programs["add"].test_run(ctx=struct.pack("=QQQ", 3, 4, 0))
    assert (run.retval, struct.unpack("=QQQ", run.ctx)[2]) == (7, 7)


libc = ctypes.CDLL(None)


def test_uprobes_by_pattern_and_by_number(attach):
    session, module = attach(
        """
        @bp.uprobe("libc", "getpgid")
        def start(pid: i32):
            if bp.pid() == PID:
                out[0] = pid
                out[1] = bp.arg(0)
                out[2] = bp.reg("ip") != 0

        @bp.uretprobe("libc", "getpgid")
        def end():
            if bp.pid() == PID:
                out[3] = bp.retval()

        @bp.uprobe_multi("libc", "getpgi*")
        def many(pid):
            if bp.pid() == PID:
                out[4] = pid
        """,
        PID=os.getpid(),
    )
    libc.getpgid(os.getpid())
    assert outs(module, 5) == [os.getpid(), os.getpid(), 1, os.getpgid(0), os.getpid()]
    assert session


def test_uprobe_session(attach):
    _, module = attach(
        """
        @bp.uprobe_session("libc", "getpgid")
        def both(pid):
            if bp.pid() == PID:
                out[0] += 1
        """,
        needs="uprobe.session",
        PID=os.getpid(),
    )
    libc.getpgid(0)
    assert module.out[0] == 2


def test_kprobes(attach):
    _, module = attach(
        """
        @bp.kprobe("do_nanosleep")
        def start(timer, mode):
            if bp.pid() == PID:
                out[0] += 1
                out[1] = mode

        @bp.kretprobe("do_nanosleep")
        def end(ret):
            if bp.pid() == PID:
                out[2] += 1

        @bp.ksyscall("getpgid")
        def call(pid):
            if bp.pid() == PID:
                out[3] = pid
        """,
        needs="kprobe",
        PID=os.getpid(),
    )
    libc.usleep(1000)  # relative: mode is 1
    libc.getpgid(os.getpid())
    assert outs(module, 4) == [1, 1, 1, os.getpid()]


def test_kprobes_by_pattern(attach):
    _, module = attach(
        """
        @bp.kprobe_multi("do_nanosle*")
        def start():
            if bp.pid() == PID:
                out[0] += 1

        @bp.kretprobe_multi("do_nanosle*")
        def end():
            if bp.pid() == PID:
                out[1] += 1

        @bp.kprobe_session("do_nanosle*")
        def both():
            if bp.pid() == PID:
                out[2] += 1
        """,
        needs="kprobe_multi",
        PID=os.getpid(),
    )
    time.sleep(0.001)
    assert outs(module, 3) == [1, 1, 2]


def test_fentry_and_fexit(attach):
    _, module = attach(
        """
        @bp.fentry("do_nanosleep")
        def start(timer, mode):
            if bp.pid() == PID:
                out[0] = mode
                out[1] = timer.task.pid
                out[2] = bp.arg(1)

        @bp.fexit("do_nanosleep")
        def end(timer, ret):
            if bp.pid() == PID:
                out[3] = ret
                out[4] = bp.retval()
                out[5] += 1
        """,
        needs="fentry",
        PID=os.getpid(),
    )
    libc.usleep(1000)  # relative: mode is 1
    found = outs(module, 6)
    assert (found[0], found[2:]) == (1, [1, 0, 0, 1])


def test_lsm(attach):
    _, module = attach(
        """
        @bp.lsm("file_open")
        def opened(file):
            if bp.pid() == PID and file.f_flags & 0x10000:
                out[0] += 1
                return -1
        """,
        needs="lsm",
        PID=os.getpid(),
    )
    with pytest.raises(PermissionError):
        os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    assert module.out[0]


def test_lsm_cgroup(attach, group):
    _, module = attach(
        """
        @bp.lsm_cgroup("socket_bind", GROUP)
        def bind(sock, address):
            out[0] += 1
            return 0
        """,
        needs="lsm_cgroup",
        GROUP=group.path,
    )
    with group, socket.socket() as made, pytest.raises(PermissionError):
        made.bind(("127.0.0.1", 0))
    assert module.out[0] == 1


# ---- functions for the kernel ----


def test_struct_ops(attach):
    session, module = attach(
        """
        @bp.struct_ops("tcp_congestion_ops")
        class Steady:
            name = "probee_steady"

            def ssthresh(self, sk):
                return max(sk.snd_cwnd >> 1, 2)

            def undo_cwnd(self, sk):
                return sk.snd_cwnd

            def cong_avoid(self, sk, ack, acked):
                out[0] += 1
                sk.snd_cwnd = 12
                out[1] = sk.snd_cwnd
        """,
        needs="struct_ops",
    )
    available = "/proc/sys/net/ipv4/tcp_available_congestion_control"
    with open(available) as file:
        assert "probee_steady" in file.read()
    with socket.socket() as server, socket.socket() as client:
        for made in (server, client):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"probee_steady")
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            client.sendall(bytes(60_000))
            received = 0
            while received < 60_000:
                received += len(accepted.recv(60_000))
    assert module.out[0] > 0
    assert module.out[1] == 12
    session.close()
    with open(available) as file:
        assert "probee_steady" not in file.read()


def test_usdt_arguments(attach, tmp_path):
    import shutil
    import subprocess

    if not shutil.which("gcc"):
        pytest.skip("no C compiler to make a program with a USDT probe")
    source = tmp_path / "probes.c"
    source.write_text(
        """
        struct note { int n; };
        int main(int argc, char **argv) {
            long a = -7; unsigned char b = 200; int c = argc + 41;
            __asm__ volatile(
                "990: nop\\n"
                ".pushsection .note.stapsdt,\\"\\",\\"note\\"\\n.balign 4\\n"
                ".4byte 992f-991f, 994f-993f, 3\\n991: .asciz \\"stapsdt\\"\\n992: .balign 4\\n"
                "993: .8byte 990b, 0, 0\\n.asciz \\"demo\\"\\n.asciz \\"hit\\"\\n"
                ".asciz \\"-8@%0 1@%b1 -4@%k2 -4@$-5\\"\\n994: .balign 4\\n.popsection\\n"
                :: "r"(a), "r"(b), "r"(c));
            return 0;
        }
        """
    )
    binary = tmp_path / "probes"
    made = subprocess.run(["gcc", "-O1", "-o", binary, source], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"the C compiler does not take the probe: {made.stderr.splitlines()[:1]}")
    _, module = attach(
        """
        @bp.usdt(BINARY, "demo", "hit")
        def hit():
            out[0] = bp.arg(0)
            out[1] = bp.arg(1)
            out[2] = bp.arg(2)
            out[3] = bp.arg(3)
            out[4] = bp.arg(4)
            out[5] += 1
        """,
        needs="uprobe",
        BINARY=str(binary),
    )
    subprocess.run([binary], check=True)
    signed = [n - (1 << 64) if n >> 63 else n for n in outs(module, 6)]
    assert signed == [-7, 200, 42, -5, 0, 1]


# ---- redirects ----


def pairs() -> tuple[list[socket.socket], list[socket.socket]]:
    """Two TCP connections over the loopback: the clients, and their other ends."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        clients, others = [], []
        for _ in range(2):
            clients.append(socket.create_connection(server.getsockname()))
            others.append(server.accept()[0])
            others[-1].settimeout(1)
            clients[-1].settimeout(1)
    return clients, others


def test_sk_msg_redirects_and_drops(attach):
    _, module = attach(
        """
        sockets = bp.SockMap(4)

        class Word(bp.Struct):
            text: u8[4]

        @bp.sk_msg(sockets)
        def sent(msg):
            out[0] += 1
            out[1] = msg.size
            word = msg.read(Word)
            if word is None:
                return SK.PASS
            if word.text == b"drop":
                return SK.DROP
            if word.text == b"over":
                return msg.redirect(sockets, 1)
            out[2] = msg.remote_port
            return SK.PASS
        """
    )
    clients, others = pairs()
    with ExitStack() as stack:
        for made in (*clients, *others):
            stack.enter_context(made)
        module.sockets[0], module.sockets[1] = clients[0], clients[1]
        clients[0].sendall(b"pass it")
        assert others[0].recv(100) == b"pass it"
        assert outs(module, 3) == [1, 7, clients[0].getpeername()[1]]
        clients[0].sendall(b"over there")
        assert others[1].recv(100) == b"over there"
        with pytest.raises(PermissionError):
            clients[0].send(b"drop me")


def test_sk_skb_verdict(attach):
    _, module = attach(
        """
        sockets = bp.SockMap(4)

        class Word(bp.Struct):
            text: u8[4]

        @bp.sk_skb("stream_parser", sockets)
        def parse(pkt):
            out[0] += 1

        @bp.sk_skb("stream_verdict", sockets)
        def judge(pkt):
            word = pkt.load(0, Word)
            if word is not None and word.text == b"drop":
                return SK.DROP
            if word is not None and word.text == b"over":
                return pkt.redirect(sockets, 1)
            return SK.PASS
        """
    )
    clients, others = pairs()
    with ExitStack() as stack:
        for made in (*clients, *others):
            stack.enter_context(made)
        module.sockets[0], module.sockets[1] = others[0], others[1]
        clients[0].sendall(b"over there")
        assert clients[1].recv(100) == b"over there"
        clients[0].sendall(b"drop")
        time.sleep(0.05)
        clients[0].sendall(b"pass")
        assert others[0].recv(100) == b"pass"
        assert module.out[0] > 0


def test_xdp_redirects_by_map_and_by_number(attach):
    with netbox.pair() as pair:
        session, module = attach(
            """
            ports = bp.DevMap(4)

            @bp.xdp
            def away(pkt):
                out[0] += 1
                return pkt.redirect(ports, 2, XDP.DROP)

            @bp.tcx("near", "egress")
            def aside(pkt):
                eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=TC.NEXT)
                if udp.dst_port == 5:
                    out[1] += 1
                    return pkt.redirect(LO)
                return TC.NEXT
            """,
            LO=1,
        )
        frame = bytes(60)
        assert session.programs["away"].test_run(frame).retval == 1
        module.ports[2] = "near"
        assert session.programs["away"].test_run(frame).retval == 4
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", (pair.THERE, 5))
        assert module.out[1] == 1
        assert pair.reaches(payload=b"y") == b"y"
