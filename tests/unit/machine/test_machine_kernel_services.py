"""What programs ask the kernel for, given by the test: sockets, routes, cgroups, memory, CPUs, drivers."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

import pytest

import probee as bp
from machine_kinds import ETHERNET, FRAME, checksum, udp
from probee import LWT, XDP, Char, Ethernet, IPv4, u8, u16, u32, u64
from probee.machine.machine import Machine

out = bp.Array[u64](8)
stacks = bp.StackTrace(16)


class Line(bp.Struct):
    text: Char[128]


lines = bp.Array[Line](1)


class Ask(bp.Struct):
    a: u64
    b: u64
    c: u64


class Tuple4(bp.Struct):
    saddr: u8[4]
    daddr: u8[4]
    sport: u8[2]
    dport: u8[2]


class Option(bp.Struct):
    kind: u8
    length: u8
    value: u8[6]


class Fib(bp.Struct):
    family: u8
    l4_protocol: u8
    sport: u16
    dport: u16
    tot_len: u16
    ifindex: u32
    tos: u32
    src: u8[16]
    dst: u8[16]
    tbid: u32
    smac: u8[6]
    dmac: u8[6]


@bp.sockops
def options(ctx):
    if ctx.op == 13:  # PARSE_HDR_OPT
        found = Option(kind=8)
        out[0] = -bp.load_hdr_opt(found, 0)
        out[1] = found.value[3]
        syn = Option(kind=2)
        out[2] = bp.load_hdr_opt(syn, 1)
        none = Option(kind=99)
        out[3] = -bp.load_hdr_opt(none, 0)
    elif ctx.op == 14:  # HDR_OPT_LEN
        out[0] = bp.reserve_hdr_opt(8, 0)
        out[1] = -bp.reserve_hdr_opt(80, 0)
    elif ctx.op == 15:  # WRITE_HDR_OPT
        mine = Option(kind=253, length=8, value=(1, 2, 3, 4, 5, 6))
        out[0] = bp.store_hdr_opt(mine, 0)
        out[1] = -bp.store_hdr_opt(mine, 0)
    else:
        out[0] = -bp.reserve_hdr_opt(8, 0)


@bp.syscall
def cpu_sets(ask: Ask):
    with bp.kfunc.bpf_cpumask_create() as mask:
        bp.kfunc.bpf_cpumask_set_cpu(1, mask)
        bp.kfunc.bpf_cpumask_set_cpu(3, mask)
        bp.kfunc.bpf_cpumask_set_cpu(77, mask)
        ask.a = bp.kfunc.bpf_cpumask_first(mask.cpumask)
    with bp.kfunc.bpf_cpumask_create() as full:
        bp.kfunc.bpf_cpumask_setall(full)
        ask.b = bp.kfunc.bpf_cpumask_test_and_clear_cpu(2, full)


@bp.syscall
def groups(ask: Ask):
    with bp.kfunc.bpf_cgroup_from_id(ask.a) as cgroup, bp.rcu():
        for css in bp.css(cgroup.self, "descendants"):
            ask.b = ask.b * 10 + css.cgroup.level
            for task in bp.css_tasks(css):
                ask.c = ask.c * 10 + task.pid


@bp.tp_btf("task_rename")
def areas(task, comm):
    for vma in bp.vmas(bp.current_task()):
        out[2] += 1
        out[(out[2] - 1) & 1] = vma.vm_start


@bp.tc
def sockets(pkt):
    who = Tuple4(daddr=(127, 0, 0, 1), dport=(0, 80))
    with bp.sk_lookup_tcp(who, -1, 0) as sk:
        out[0] = sk.src_port
        out[1] = sk.state
    who.dport = (0, 81)
    out[2] = 1
    with bp.sk_lookup_udp(who, -1, 0) as sk:
        out[2] = 0


@bp.xdp
def routes(pkt):
    ask = Fib(family=2, ifindex=1, dst=(10, 0, 0, 9))
    out[0] = bp.fib_lookup(ask, 0)
    out[1] = ask.ifindex
    out[2] = ask.dmac[5]
    ask.dst = (172, 16, 0, 1)
    out[3] = bp.fib_lookup(ask, 0)


@bp.xdp
def drivers(pkt):
    stamp = u64(0)
    protocol, tag = u16(0), u16(0)
    out[0] = -bp.kfunc.bpf_xdp_metadata_rx_timestamp(pkt, stamp)
    out[1] = stamp
    out[2] = -bp.kfunc.bpf_xdp_metadata_rx_vlan_tag(pkt, protocol, tag)
    out[3] = tag
    return XDP.PASS


@bp.lwt("xmit")
def tunnel(pkt):
    outer = Outer(version=0x45, length=(0, 49), ttl=64, protocol=4)
    return LWT.OK if bp.lwt_push_encap(2, outer) == 0 else LWT.DROP


class Outer(bp.Struct):
    version: u8
    tos: u8
    length: u8[2]
    rest: u8[4]
    ttl: u8
    protocol: u8
    sum: u8[2]
    ends: u8[8]


@bp.xdp
def syn_cookies(pkt):
    _eth, ip, tcp = pkt.read(Ethernet, IPv4, bp.TCP, short=XDP.PASS)
    if tcp.syn:
        made = bp.tcp_raw_gen_syncookie_ipv4(ip, tcp, 20)
        out[0] = made & 0xFFFFFFFF
        out[1] = made >> 32
        return XDP.TX
    return XDP.PASS if bp.tcp_raw_check_syncookie_ipv4(ip, tcp) == 0 else XDP.DROP


class Cycles(bp.Struct):
    unused: u64


cycles = bp.PerfEventArray[Cycles](4)


@bp.xdp
def counted(pkt):
    value = Value()
    out[0] = bp.perf_event_read_value(cycles, 0xFFFFFFFF, value)
    out[1] = value.running
    size = u32(0)
    out[2] = bp.check_mtu(7, size, 0)
    out[3] = size


@bp.perf_event(freq=99)
def sampled(ctx):
    value = Value()
    bp.perf_prog_read_value(value)
    out[0] = value.counter
    out[1] = value.enabled
    bp.kstack(stacks)


class Value(bp.Struct):
    counter: u64
    enabled: u64
    running: u64


@bp.lsm("file_open")
def paths(file):
    line = lines.get(0)
    if line is not None:
        out[0] = bp.d_path(file.f_path, line.text)


@pytest.fixture(scope="module")
def m() -> Iterator[Machine]:
    with bp.Machine(sys.modules[__name__], btf="shipped", cpus=4) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(m: Machine) -> None:
    for i in range(8):
        out[i] = 0


def outs(n: int) -> list[int]:
    return [out[i] for i in range(n)]


HEADER = bytes(12) + b"\x80\x10" + bytes(6) + b"\x01\x01\x08\x0a\0\0\0\x09\0\0\0\x07"


def test_options_of_tcp_headers(m: Machine) -> None:
    syn = bytes(12) + b"\x60\x02" + bytes(6) + b"\x02\x04\x05\xb4"
    m.sock_ops(13, options, header=HEADER, syn=syn)
    assert outs(4) == [28, 9, 4, 42]  # ENOSPC: the option has 10 bytes; ENOMSG: there is none
    result = m.sock_ops(14, options, header=HEADER)
    assert (result.facts["reserved"], outs(2)) == (8, [0, 28])
    result = m.sock_ops(15, options, header=HEADER)
    assert (result.facts["options"], outs(2)) == (bytes([253, 8, 1, 2, 3, 4, 5, 6]), [0, 17])
    m.sock_ops(3, options)
    assert outs(1) == [1]  # EPERM


def test_sets_of_cpus(m: Machine) -> None:
    a, b, _ = struct.unpack("=QQQ", m.fire(cpu_sets, bytes(24)).output)
    assert (a, b) == (1, 1)


def test_cgroups_and_their_tasks(m: Machine) -> None:
    above = m.cgroup("/web")
    for pid, path in ((3, "/web/a"), (4, "/web/a"), (5, "/web"), (6, "/other")):
        m.task(pid, cgroup=path)
    ask = struct.pack("=QQQ", above.kn.id, 0, 0)
    assert struct.unpack("=QQQ", m.fire(groups, ask).output)[1:] == (12, 534)


def test_areas_of_memory(m: Machine) -> None:
    m.current = m.task(9, "a")
    for start in (0x7000, 0x4000):
        m.vma(m.current, start, 0x1000)
    m.fire(areas, m.current, "b")
    assert outs(3) == [0x4000, 0x7000, 2]


def test_sockets_that_the_test_made(m: Machine) -> None:
    m.sock("tcp", local=("127.0.0.1", 80), state="LISTEN")
    m.sock("udp", local=("127.0.0.1", 82))
    m.tc(FRAME, sockets)
    assert outs(3) == [80, 10, 1]


def test_routes_that_the_test_gave(m: Machine) -> None:
    m.route("10.0.0.0/8", 4, dmac="02:00:00:00:00:07")
    m.route("0.0.0.0/32", 9)
    m.xdp(FRAME, routes)
    assert outs(4) == [0, 4, 7, 4]  # the last: not forwarded


def test_what_a_driver_tells(m: Machine) -> None:
    m.xdp(FRAME, drivers, rx_timestamp=77, rx_vlan=(0x8100, 5))
    assert outs(4) == [0, 77, 0, 5]
    m.xdp(FRAME, drivers)
    assert (outs(3)[0], outs(3)[2]) == (61, 61)  # ENODATA


def test_a_tunnel(m: Machine) -> None:
    result = m.skb(udp(), tunnel)
    assert (result.verdict, result.packet[:2], result.packet[20:]) == ("OK", b"\x45\0", udp())


def test_cookies_answer_themselves(m: Machine) -> None:
    ends = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    ip = b"\x45\0\0\x28\0\0\0\0\x40\x06"
    ip += checksum(ip + b"\0\0" + ends).to_bytes(2, "big") + ends

    def tcp(flags: int, sequence: int, answer: int) -> bytes:
        return struct.pack(">HHIIBBHHH", 999, 80, sequence, answer, 0x50, flags, 512, 0, 0)

    assert m.xdp(ETHERNET + ip + tcp(2, 100, 0), syn_cookies).verdict == "TX"
    cookie, size = outs(2)
    assert size == 536
    assert m.xdp(ETHERNET + ip + tcp(16, 101, cookie + 1 & 0xFFFFFFFF), syn_cookies).verdict == "PASS"
    assert m.xdp(ETHERNET + ip + tcp(16, 101, cookie + 2 & 0xFFFFFFFF), syn_cookies).verdict == "DROP"


def test_counters_and_stacks_of_samples(m: Machine) -> None:
    m.fire("perf_event", stack=[0xFFFF1, 0xFFFF2], counter=(5, 6, 7))
    assert outs(2) == [5, 6]
    assert [list(stack) for stack in m.map(stacks).values()] == [[0xFFFF1, 0xFFFF2]]


def test_counters_and_sizes_that_the_test_gave(m: Machine) -> None:
    m.map(cycles).counters[0] = (5, 6, 7)
    m.net_device("eth7", 7, mtu=20)
    m.xdp(FRAME, counted)
    assert outs(4) == [0, 7, 1, 20]  # BPF_MTU_CHK_RET_FRAG_NEEDED


def test_paths_of_files(m: Machine) -> None:
    m.fire("lsm:file_open", m.file("/etc/ssl/key.pem"))
    assert (outs(1), m.map(lines)[0].text) == ([17], "/etc/ssl/key.pem")
