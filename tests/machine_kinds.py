"""A program of each kind that the language has, the event that runs it in a machine, and what comes of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import probee as bp
from probee import CGROUP, LWT, NF, SK, TC, UDP, XDP, Ethernet, IPv4, i32, i64, ipv4, ipv6, u8, u32, u64
from probee.machine.machine import Machine

Event = Callable[[Machine], Any]

CASES: list[tuple[Any, Event, Any]] = []


def case(event: Event, expected: Any) -> Callable[[Any], Any]:
    """What an event gives when the program below runs on it."""

    def decorate(program: Any) -> Any:
        CASES.append((program, event, expected))
        return program

    return decorate


class Byte(bp.Struct):
    value: u8


class Number(bp.Struct):
    n: u32


class Sum(bp.Struct):
    a: u64
    b: u64
    total: u64


out = bp.Array[u64](8)
socks = bp.SockMap(4)
table = bp.Hash[u32, u64](8)


def outs(n: int) -> list[int]:
    return [out[i] for i in range(n)]


def checksum(data: bytes) -> int:
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(port: int = 53, payload: bytes = b"?", source: str = "10.0.0.1", to: str = "10.0.0.2") -> bytes:
    """A datagram from its IP header on."""
    ends = bytes(map(int, source.split("."))) + bytes(map(int, to.split(".")))
    size = 8 + len(payload)
    head = b"\x9c\x40" + port.to_bytes(2, "big") + size.to_bytes(2, "big")
    check = checksum(ends + b"\0\x11" + size.to_bytes(2, "big") + head + b"\0\0" + payload)
    ip = b"\x45\0" + (20 + size).to_bytes(2, "big") + bytes(4) + b"\x40\x11"
    return (
        ip
        + checksum(ip + b"\0\0" + ends).to_bytes(2, "big")
        + ends
        + head
        + check.to_bytes(2, "big")
        + payload
    )


ETHERNET = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0"
PACKET = udp()
FRAME = ETHERNET + PACKET
IPV6 = b"\x60\0\0\0\0\0\x3a\x40" + bytes(15) + b"\x01" + bytes(15) + b"\x02"


# ---- packets


@case(
    lambda m: [m.xdp(p, xdp_plain).verdict for p in (FRAME, ETHERNET + udp(80), b"\0" * 14)],
    ["DROP", "TX", "PASS"],
)
@bp.xdp
def xdp_plain(pkt):
    _eth, _ip, u = pkt.read(Ethernet, IPv4, UDP, short=XDP.PASS)
    return XDP.DROP if u.dst_port == 53 else XDP.TX


@case(
    lambda m: (m.xdp(FRAME + bytes(9000), xdp_frags, linear=64).verdict, out[0]), ("PASS", 9000 + len(FRAME))
)
@bp.xdp(frags=True)
def xdp_frags(pkt):
    out[0] = pkt.buffer_length()


@case(lambda m: m.xdp(FRAME, xdp_devmap, egress_ifindex=7).verdict, "DROP")
@bp.xdp(at="devmap")
def xdp_devmap(pkt):
    return XDP.DROP if pkt.egress_ifindex == 7 else XDP.PASS


@case(lambda m: m.xdp(FRAME, xdp_cpumap, rx_queue_index=3).verdict, "DROP")
@bp.xdp(at="cpumap")
def xdp_cpumap(pkt):
    return XDP.DROP if pkt.rx_queue_index == 3 else XDP.PASS


@case(lambda m: (m.tc(FRAME, tc_plain).verdict, m.tc(FRAME, tc_plain).mark), ("SHOT", 10))
@bp.tc
def tc_plain(pkt):
    pkt.mark = 10
    return TC.SHOT if pkt.protocol == bp.EtherType.IPV4 else TC.OK


@case(lambda m: [m.tc(FRAME, acting, mark=mark).verdict for mark in (1, 2)], ["SHOT", "UNSPEC"])
@bp.action
def acting(pkt):
    if pkt.mark == 1:
        return TC.SHOT


@case(lambda m: [m.tc(FRAME, tcx_ingress, ingress_ifindex=i).verdict for i in (1, 4)], ["UNSPEC", "OK"])
@bp.tcx
def tcx_ingress(pkt):
    if pkt.ingress_ifindex == 4:
        return TC.OK


@case(lambda m: m.tc(FRAME, tcx_egress).redirect, {"ifindex": 9, "ingress": False})
@bp.tcx(direction="egress")
def tcx_egress(pkt):
    return pkt.redirect(9)


@case(lambda m: m.tc(FRAME, netkit_primary, cb=(0, 5)).cb, [6, 5, 0, 0, 0])
@bp.netkit
def netkit_primary(pkt):
    pkt.cb[0] = pkt.cb[1] + 1


@case(lambda m: m.tc(FRAME, netkit_peer, priority=6).priority, 7)
@bp.netkit(end="peer")
def netkit_peer(pkt):
    pkt.priority += 1


@case(
    lambda m: [
        m.netfilter(PACKET, hooked, hook=hook, in_device=m.net_device("eth1", 5)).verdict for hook in (1, 3)
    ],
    ["DROP", "ACCEPT"],
)
@bp.netfilter
def hooked(ctx):
    if ctx.state.hook == 1 and ctx.skb.len == 29 and ctx.state.pf == 2:
        return NF.DROP
    return NF.ACCEPT


@case(lambda m: [m.skb(p, route_in).verdict for p in (PACKET, udp(80))], ["DROP", "OK"])
@bp.lwt("in")
def route_in(pkt):
    _ip, u = pkt.read(IPv4, UDP, short=LWT.OK)
    return LWT.DROP if u.dst_port == 53 else LWT.OK


@case(lambda m: (lambda r: (r.verdict, r.mark))(m.skb(PACKET, route_out)), ("OK", 29))
@bp.lwt("out")
def route_out(pkt):
    pkt.mark = len(pkt)


@case(
    lambda m: (lambda r: (r.verdict, r.packet[:9], r.packet[9:]))(m.skb(PACKET, route_xmit)),
    ("LWT_REROUTE", bytes(9), PACKET),
)
@bp.lwt("xmit")
def route_xmit(pkt):
    if pkt.change_head(9) != 0:
        return LWT.DROP
    return LWT.REROUTE


@case(lambda m: [m.skb(p, route_seg6).verdict for p in (IPV6, PACKET)], ["OK", "DROP"])
@bp.lwt("seg6local")
def route_seg6(pkt):
    return LWT.OK if pkt.protocol == bp.EtherType.IPV6 else LWT.DROP


@case(lambda m: (lambda c: (c["thoff"], c["ip_proto"]))(m.flow_dissector(FRAME, dissector).context), (34, 17))
@bp.flow_dissector
def dissector(pkt):
    _eth, ip = pkt.read(Ethernet, IPv4, short=bp.FLOW.DROP)
    pkt.flow_keys.thoff = pkt.flow_keys.nhoff + 20
    pkt.flow_keys.ip_proto = ip.protocol
    return bp.FLOW.OK


@case(lambda m: m.skb(FRAME, socket_filter).packet, FRAME[:20])
@bp.socket_filter
def socket_filter(pkt):
    _eth, ip = pkt.read(Ethernet, IPv4, short=0)
    return 20 if ip.protocol == 17 else 0


# ---- sockets


@case(
    lambda m: (lambda r: (r.context["reply"], outs(2)))(
        m.sock_ops(3, tcp_events, sock=m.sock("tcp", local=("10.0.0.1", 4000), remote=("10.0.0.2", 443)))
    ),
    (4000, [443, 0x0A000002]),
)
@bp.sockops
def tcp_events(ctx):
    if ctx.op == 3:
        out[0] = ctx.remote_port
        out[1] = ctx.remote_ip4
        ctx.reply = ctx.local_port


@case(
    lambda m: [(r.verdict, r.output) for r in (m.sk_msg(b"GET /", message), m.sk_msg(b"quit", message))],
    [("PASS", b"ET /"), ("DROP", b"quit")],
)
@bp.sk_msg
def message(msg):
    first = msg.read(Byte, short=SK.DROP)
    if first.value != 71:
        return SK.DROP
    if msg.pop(0, 1) != 0:
        return SK.DROP
    return SK.PASS


@case(lambda m: [m.skb(p, stream_parser).retval for p in (b"\0\x07abc", b"\x01\0")], [7, 256])
@bp.sk_skb("stream_parser")
def stream_parser(pkt):
    size = pkt.load(0, bp.u16)
    if size is None:
        return 0
    return size


def _redirected(m: Machine) -> tuple[str, bool]:
    peer = m.sock("tcp", local=("10.0.0.1", 99), remote=("10.0.0.2", 1))
    m.map(socks)[1] = peer
    result = m.skb(b"GET", stream_verdict)
    return result.verdict, result.redirect["ingress"], result.redirect["socket"].local_port


@case(_redirected, ("PASS", False, 99))
@bp.sk_skb("stream_verdict")
def stream_verdict(pkt):
    return pkt.redirect(socks, 1)


@case(
    lambda m: [m.skb(p, verdict, sock=m.sock("tcp", local=("10.0.0.1", 70))).verdict for p in (b"a", b"bc")],
    ["DROP", "PASS"],
)
@bp.sk_skb
def verdict(pkt):
    return SK.PASS if len(pkt) == 2 and pkt.local_port == 70 else SK.DROP


@case(
    lambda m: [
        m.sk_lookup(("127.0.0.1", port), ("192.0.2.1", 5555), looked_up).verdict for port in (1500, 2500)
    ],
    ["PASS", "DROP"],
)
@bp.sk_lookup
def looked_up(ctx):
    near = 1000 <= ctx.local_port < 2000 and ctx.remote_port == 5555
    return SK.PASS if near and ctx.remote_ip4 == ipv4("192.0.2.1") and ctx.protocol == 6 else SK.DROP


@case(
    lambda m: [m.sk_reuseport(bytes([0x9C, 0x40, 0, p]) + bytes(4), chosen).verdict for p in (80, 81)],
    ["PASS", "DROP"],
)
@bp.sk_reuseport
def chosen(pkt):
    u = pkt.read(UDP, short=SK.DROP)
    return SK.PASS if u.dst_port == 80 and len(pkt) == 8 else SK.DROP


def _migrated(m: Machine) -> list[str]:
    moving = m.sock("tcp", local=("10.0.0.1", 80))
    return [m.sk_reuseport(b"", migrate, **more).verdict for more in ({}, {"migrating_sk": moving})]


@case(_migrated, ["PASS", "DROP"])
@bp.sk_reuseport(migrate=True)
def migrate(pkt):
    moving = pkt.migrating_sk
    if moving is None:
        return SK.PASS
    return SK.DROP if moving.src_port == 80 else SK.PASS


# ---- cgroups


@case(lambda m: [m.skb(p, skb_ingress).decision for p in (PACKET, udp(80))], ["deny", "allow"])
@bp.cgroup_skb
def skb_ingress(pkt):
    _ip, u = pkt.read(IPv4, UDP, short=CGROUP.ALLOW)
    return CGROUP.DENY if u.dst_port == 53 else CGROUP.ALLOW


@case(lambda m: [m.skb(p, skb_egress).decision for p in (PACKET, IPV6)], ["allow", "deny"])
@bp.cgroup_skb("egress")
def skb_egress(pkt):
    return CGROUP.ALLOW if pkt.protocol == bp.EtherType.IPV4 else CGROUP.DENY


@case(
    lambda m: [
        (r.decision, r.context["mark"])
        for r in (m.sock_create(sock_create, protocol=p) for p in ("tcp", "udp"))
    ],
    [("allow", 5), ("deny", 5)],
)
@bp.cgroup_sock
def sock_create(sk):
    sk.mark = 5
    return CGROUP.ALLOW if sk.protocol == 6 else CGROUP.DENY


def _released(m: Machine) -> tuple[str, int]:
    result = m.sock_release(sock_release, sock=m.sock("udp", mark=3))
    return result.decision, out[0]


@case(_released, ("allow", 17))
@bp.cgroup_sock("sock_release")
def sock_release(sk):
    out[0] = sk.protocol


@case(
    lambda m: [m.post_bind("10.0.0.1", port, post_bind4).decision for port in (80, 8080)], ["deny", "allow"]
)
@bp.cgroup_sock("post_bind4")
def post_bind4(sk):
    return CGROUP.DENY if sk.src_port < 1024 and sk.src_ip4 == ipv4("10.0.0.1") else CGROUP.ALLOW


@case(lambda m: [m.post_bind(a, 80, post_bind6).decision for a in ("fd00::1", "fd00::2")], ["deny", "allow"])
@bp.cgroup_sock("post_bind6")
def post_bind6(sk):
    return CGROUP.DENY if sk.src_ip6 == ipv6("fd00::1") else CGROUP.ALLOW


def address4(call: str) -> Any:
    """A program that lets 10.0.0.1 through as 127.0.0.1:8080."""

    def change(ctx):
        if ctx.user_ip4 == ipv4("10.0.0.1") and ctx.user_port == 80:
            ctx.user_ip4 = ipv4("127.0.0.1")
            ctx.user_port = 8080

    change.__name__ = change.__qualname__ = call
    made = bp.cgroup_sock_addr(call)(change)
    event = call.removesuffix("4")
    case(
        lambda m: (lambda r: (r.decision, r.address, r.port))(getattr(m, event)("10.0.0.1", 80, made)),
        ("allow", "127.0.0.1", 8080),
    )(made)
    return made


def address6(call: str) -> Any:
    """A program that lets fd00::1 through as fd00::2, and another port."""

    def change(ctx):
        if ctx.user_ip6 == ipv6("fd00::1"):
            ctx.user_ip6[3] = 2
            ctx.user_port += 1

    change.__name__ = change.__qualname__ = call
    made = bp.cgroup_sock_addr(call)(change)
    event = call.removesuffix("6")
    case(
        lambda m: (lambda r: (r.decision, r.address, r.port))(getattr(m, event)("fd00::1", 80, made)),
        ("allow", "fd00::2", 81),
    )(made)
    return made


def address_unix(call: str) -> Any:
    """A program that sees the kind of socket."""

    def look(ctx):
        out[0] = ctx.user_family
        out[1] = ctx.type

    look.__name__ = look.__qualname__ = call
    made = bp.cgroup_sock_addr(call)(look)
    event = call.removesuffix("_unix")
    kind = 2 if "msg" in call else 1
    case(
        lambda m: (lambda r: (r.decision, r.address, outs(2)))(getattr(m, event)("/run/a.sock", 0, made)),
        ("allow", "/run/a.sock", [1, kind]),
    )(made)
    return made


_VERBS = ("bind", "connect", "sendmsg", "recvmsg", "getpeername", "getsockname")
for _verb in _VERBS:
    globals()[f"{_verb}4"] = address4(f"{_verb}4")
    globals()[f"{_verb}6"] = address6(f"{_verb}6")
    if _verb != "bind":
        globals()[f"{_verb}_unix"] = address_unix(f"{_verb}_unix")


@case(
    lambda m: [(r.decision, r.output) for r in (m.setsockopt(6, n, 9, setsockopt) for n in (1, 2))],
    [("allow", b"\x09\0"), ("deny", b"\x09\0\0\0")],
)
@bp.cgroup_sockopt("setsockopt")
def setsockopt(ctx):
    value = ctx.read(Number, short=CGROUP.DENY)
    if ctx.level == 6 and ctx.optname == 1 and value.n == 9:
        ctx.optlen = 2
        return CGROUP.ALLOW
    return CGROUP.DENY


@case(
    lambda m: (lambda r: (r.decision, r.output, r.context["retval"]))(
        m.getsockopt(6, 1, 5, getsockopt, retval=-2)
    ),
    ("allow", (1234).to_bytes(4, "little"), 0),
)
@bp.cgroup_sockopt("getsockopt")
def getsockopt(ctx):
    value = ctx.read(Number, short=CGROUP.DENY)
    if ctx.retval == -2 and value.n == 5:
        value.n = 1234
        ctx.retval = 0


@case(
    lambda m: (
        m.sysctl("net/ipv4/ip_forward", "0", sysctl).decision,
        m.sysctl("net/ipv4/ip_forward", "0", sysctl, new="1").decision,
    ),
    ("allow", "deny"),
)
@bp.cgroup_sysctl
def sysctl(ctx):
    name = bp.Char[32]()
    bp.sysctl_get_name(name, 0)
    if ctx.write and name == "net/ipv4/ip_forward":
        return CGROUP.DENY


@case(
    lambda m: [m.device(1, minor, device, access="read write").decision for minor in (5, 7)],
    ["allow", "deny"],
)
@bp.cgroup_device
def device(ctx):
    if ctx.major == 1 and ctx.minor == 7 and ctx.access_type >> 16 == 6 and ctx.access_type & 0xFFFF == 2:
        return CGROUP.DENY


@case(lambda m: m.lirc(1 << 24 | 560, lirc).facts["keys"], [{"protocol": 1, "scancode": 560, "toggle": 0}])
@bp.lirc_mode2
def lirc(sample):
    if sample >> 24 == 1:
        bp.rc_keydown(1, sample & 0xFFFFFF, 0)


@case(
    lambda m: m.fire(called, struct.pack("=QQQ", 3, 4, 0)).output,
    struct.pack("=QQQ", 3, 4, 7),
)
@bp.syscall
def called(args: Sum):
    args.total = args.a + args.b


# ---- tracing


def seen(m: Machine, *args: Any, **fields: Any) -> list[int]:
    """The first two entries of `out` after an event."""
    out[0] = out[1] = 0
    m.fire(*args, **fields)
    return outs(2)


@case(lambda m: seen(m, "sched:sched_process_exec", pid=7, filename="/bin/ls"), [7, 1])
@bp.tracepoint("sched:sched_process_exec")
def tracepoint(args):
    out[0] = args.pid
    out[1] = args.filename == "/bin/ls"


@case(lambda m: seen(m, raw_tracepoint, m.task(9), 3), [9, 3])
@bp.raw_tracepoint("task_rename")
def raw_tracepoint(task, comm):
    out[0] = task.pid
    out[1] = comm


@case(lambda m: seen(m, writable, (-5).to_bytes(4, "little", signed=True)), [5, 0])
@bp.raw_tracepoint_writable("bpf_test_finish")
def writable(error):
    value: i32 = 0
    bp.probe_read_kernel(value, error)
    out[0] = -value


@case(lambda m: seen(m, tp_btf, False, m.task(3), m.task(4)), [3, 4])
@bp.tp_btf("sched_switch")
def tp_btf(preempt, before, after):
    out[0] = before.pid
    out[1] = after.pid


@case(lambda m: seen(m, "fentry:bpf_fentry_test2", 5, 6), [5, 6])
@bp.fentry("bpf_fentry_test2")
def fentry(a, b):
    out[0] = a
    out[1] = b


@case(lambda m: seen(m, "fexit:bpf_fentry_test2", a=5, b=6, result=11), [6, 11])
@bp.fexit("bpf_fentry_test2")
def fexit(a, b, ret):
    out[0] = b
    out[1] = ret


@case(
    lambda m: [(r.retval, r.decision) for r in (m.fire(fmod_ret, a, b"word") for a in (1, 2))],
    [(0, "allow"), (-22, "deny")],
)
@bp.fmod_ret("bpf_modify_return_test")
def fmod_ret(a, b):
    return -22 if a == 2 else 0


@case(
    lambda m: [m.fire("lsm:file_open", m.file(path)).decision for path in ("/etc/shadow", "/etc/hosts")],
    ["deny", "allow"],
)
@bp.lsm("file_open")
def lsm(file):
    return -1 if file.f_path.dentry.d_name.name == "shadow" else 0


@case(lambda m: [m.fire("lsm_cgroup:socket_create", 2, kind).decision for kind in (1, 2)], ["allow", "deny"])
@bp.lsm_cgroup("socket_create")
def lsm_cgroup(family, type, protocol, kern):
    return 1 if type == 1 else 0


@case(lambda m: m.iterate("task", [m.task(1, "init"), m.task(2, "b")]).output, b"1 init\n2 b\nend 2\n")
@bp.iter("task")
def iter_task(ctx):
    task = ctx.task
    if task is None:
        print("end", ctx.meta.seq_num)
        return
    print(task.pid, task.comm)


def _elements(m: Machine) -> bytes:
    m.map(table).update({1: 10})
    return m.iterate(iter_map, table).output


@case(_elements, b"key 1\n")
@bp.iter_map(table)
def iter_map(ctx):
    if ctx.key is None:
        return
    key = bp.cast(u32, ctx.key)
    print(f"key {key[0]}")


@case(lambda m: seen(m, "kprobe:do_nanosleep", 5, 6), [5, 6])
@bp.kprobe("do_nanosleep")
def kprobe(a, b):
    out[0] = a
    out[1] = b


@case(lambda m: seen(m, "kretprobe:do_nanosleep", result=-4), [4, 0])
@bp.kretprobe("do_nanosleep")
def kretprobe(result):
    out[0] = -result


@case(lambda m: seen(m, "ksyscall:openat", -100, "/etc/hosts", 2, 0), [2, 1])
@bp.ksyscall("openat")
def ksyscall(dfd, path, flags, mode):
    out[0] = flags
    out[1] = bp.user_str(path) == "/etc/hosts"


@case(lambda m: seen(m, "kretsyscall:openat", 8), [8, 1])
@bp.kretsyscall("openat")
def kretsyscall(result: i64):
    out[0] = result
    out[1] = bp.retval() == 8


@case(lambda m: seen(m, "kprobe:vfs_read", 5, 6), [5, 6])
@bp.kprobe_multi("vfs_*")
def kprobe_multi(a: u64, b: u64):
    out[0] = a
    out[1] = b


@case(lambda m: seen(m, kretprobe_multi, 8), [8, 8])
@bp.kretprobe_multi("vfs_*")
def kretprobe_multi(result: i64):
    out[0] = result
    out[1] = bp.retval()


@case(lambda m: [m.fire(kprobe_session, 8, result=-2, function="vfs_read"), outs(2)][1], [9, 2])
@bp.kprobe_session("vfs_*")
def kprobe_session(a: u64):
    if bp.kfunc.bpf_session_is_return():
        out[0] += 1
        out[1] = -bp.retval()
    else:
        out[0] = a


@case(lambda m: seen(m, "uprobe", "text", 3), [116, 3])
@bp.uprobe("libc", "getenv")
def uprobe(name, n: i32):
    out[0] = bp.user_str(name)[0]
    out[1] = n


@case(lambda m: seen(m, "uretprobe", -5), [5, 0])
@bp.uretprobe("libc", "getpgid")
def uretprobe():
    out[0] = -bp.retval()


@case(lambda m: seen(m, uprobe_multi, 1, 2), [1, 2])
@bp.uprobe_multi("libc", "getp*")
def uprobe_multi(a: u64, b: u64):
    out[0] = a
    out[1] = b


@case(lambda m: seen(m, uretprobe_multi, 4), [4, 4])
@bp.uretprobe_multi("libc", "getp*")
def uretprobe_multi(result: i64):
    out[0] = result
    out[1] = bp.retval()


@case(lambda m: seen(m, uprobe_session, 6), [6, 0])
@bp.uprobe_session("libc", "getp*")
def uprobe_session(a: u64):
    out[0] = a
    out[1] = bp.kfunc.bpf_session_is_return()


@case(lambda m: seen(m, usdt, 7, -8), [7, 8])
@bp.usdt("libc", "libc", "setjmp")
def usdt():
    out[0] = bp.arg(0)
    out[1] = -bp.arg(1)


stacks = bp.StackTrace(16)


def _sampled(m: Machine) -> tuple[list[int], list[list[int]]]:
    m.fire("perf_event", period=99, stack=[0xFFFF1, 0xFFFF2], ip=0xFFFF1)
    return outs(2), [list(stack) for stack in m.map(stacks).values()]


@case(_sampled, ([99, 0xFFFF1], [[0xFFFF1, 0xFFFF2]]))
@bp.perf_event(freq=99)
def sampled(ctx):
    out[0] = ctx.sample_period
    out[1] = ctx.ip
    bp.kstack(stacks)


@bp.struct_ops("tcp_congestion_ops")
class Steady:
    name = "steady_window"

    def ssthresh(self, sk):
        return max(sk.snd_cwnd >> 1, 2)

    def undo_cwnd(self, sk):
        return 9

    def cong_avoid(self, sk, ack, acked):
        sk.snd_cwnd = 20
        out[0] = acked


def _steady(m: Machine) -> list[int]:
    sock = m.kernel.new("tcp_sock", snd_cwnd=30)
    m.call("Steady", "cong_avoid", sock, 1, 12)
    windows = [m.call("Steady", member, sock).retval for member in ("ssthresh", "undo_cwnd")]
    return [*windows, out[0], sock.snd_cwnd]


for _function in (Steady.ssthresh, Steady.undo_cwnd, Steady.cong_avoid):
    case(_steady, [10, 9, 12, 20])(_function)


@case(lambda m: m.fire(freplace, FRAME).verdict, "DROP")
@bp.freplace("decide", like="xdp")
def freplace(pkt):
    return XDP.DROP
