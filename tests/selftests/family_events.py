"""Programs on real events: tracepoints, user probes, samples, iterators, cgroups, sockets, storages."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from selftest_ports import Live, Port

import netbox
import probee as bp
from probee import CGROUP, SK, Char, ipv4, u32, u64

libc = ctypes.CDLL(None)
out = bp.Array[u64](32)
seen = bp.Hash[u32, u64](1024)
target = bp.Global[u32](0)
last_name = bp.Global[Char[16]]()
path = bp.Global[Char[64]]()
by_task = bp.TaskStorage[u64]()
by_socket = bp.SkStorage[u64]()
by_cgroup = bp.CgroupStorage[u64]()


class Number(bp.Struct):
    n: u32


class Event(bp.Struct):
    pid: u32
    kind: u32


stream = bp.PerfEventArray[Event]()


# ---- tracing


@bp.tracepoint("syscalls:sys_enter_getpgid")
def tracepoint_fields(args):
    if bp.pid() == target.value:
        out[0] = args.pid


@bp.tracepoint("syscalls:sys_enter_openat")
def tracepoint_text(args):
    if bp.pid() == target.value:
        path.value = bp.user_str(args.filename)


@bp.tracepoint("syscalls:sys_exit_getpgid")
def tracepoint_result(args):
    if bp.pid() == target.value:
        out[1] = args.ret


@bp.raw_tracepoint("sys_enter")
def raw_registers(regs, number):
    if bp.pid() == target.value and number == 121:  # getpgid on x86-64
        out[2] = regs.di


@bp.tp_btf("sys_enter")
def typed_arguments(regs, number):
    if bp.pid() == target.value:
        out[3] += 1
        out[4] = regs.orig_ax == number


@bp.tp_btf("sys_enter")
def task_storage(regs, number):
    task = bp.current_task()
    if task.tgid != target.value:
        return
    v = by_task.get(task, create=True)
    if v is not None:
        by_task[task] += 1
        out[5] = by_task[task]


@bp.tp_btf("sched_process_fork")
def parent_and_child(parent, child):
    if parent.tgid == target.value:
        out[6] = child.real_parent.tgid


@bp.tp_btf("sched_switch")
def switches(preempt, before, after):
    if before.tgid == target.value:
        out[7] += 1
        last_name.value = before.comm


@bp.raw_tracepoint("sys_enter")
def perf_records(regs, number):
    if bp.pid() == target.value:
        stream.output(Event(pid=bp.pid(), kind=3))


@bp.uprobe("libc", "getpgid")
def user_function(pid):
    if bp.pid() == target.value:
        out[8] = pid
        out[9] = bp.reg("sp") > 4096


@bp.uretprobe("libc", "getpgid")
def user_result(ret):
    if bp.pid() == target.value:
        out[10] = ret


@bp.perf_event(freq=2000)
def samples(sample):
    if bp.pid() == target.value:
        out[11] += 1
        out[12] = sample.sample_period


# ---- iterators


@bp.iter("task")
def all_tasks(ctx):
    task = ctx.task
    if task is None:
        return
    if ctx.meta.seq_num == 0:
        print("tgid name")
    print(f"{task.tgid} {task.comm}")


@bp.iter("task_file")
def all_files(ctx):
    if ctx.file is not None and (task := ctx.task) and task.tgid == target.value:
        print(f"{ctx.fd}")


@bp.iter("task_vma")
def all_areas(ctx):
    if (vma := ctx.vma) and (task := ctx.task) and task.tgid == target.value:
        print(f"{vma.vm_start:x}-{vma.vm_end:x}")


@bp.iter("bpf_map")
def all_maps(ctx):
    if m := ctx.map:
        print(f"{m.id} {m.max_entries}")


@bp.iter("bpf_prog")
def all_programs(ctx):
    if p := ctx.prog:
        print(f"{p.aux.id}")


@bp.iter("cgroup")
def all_cgroups(ctx):
    if group := ctx.cgroup:
        print(f"{group.level}")


@bp.iter("tcp")
def all_tcp(ctx):
    if sk := ctx.sk_common:
        print(f"{sk.skc_num}")


@bp.iter("udp")
def all_udp(ctx):
    if sk := ctx.udp_sk:
        print(f"{sk.inet.sk.__sk_common.skc_num}")


@bp.iter("unix")
def all_unix(ctx):
    if sk := ctx.unix_sk:
        print(f"{sk.sk.__sk_common.skc_state}")


@bp.iter_map(seen)
def all_entries(ctx):
    if ctx.key is None:
        return
    key = bp.cast(u32, ctx.key)
    value = bp.cast(u64, ctx.value)
    print(f"{key[0]}={value[0]}")


# ---- cgroups and sockets


@bp.cgroup_sock_addr("connect4")
def connects_elsewhere(ctx):
    if ctx.user_ip4 == ipv4("127.0.0.77"):
        ctx.user_ip4 = ipv4("127.0.0.1")
    if ctx.user_port == 25:
        return CGROUP.DENY


@bp.cgroup_sock_addr("bind4")
def binds_elsewhere(ctx):
    if ctx.user_port == 4040:
        ctx.user_port = 4041


@bp.cgroup_sock_addr("sendmsg4")
def sends_elsewhere(ctx):
    if ctx.user_port == 4999:
        return CGROUP.DENY


@bp.cgroup_sock_addr("getpeername4")
def peer_renamed(ctx):
    ctx.user_ip4 = ipv4("192.0.2.9")


@bp.cgroup_sock_addr("getsockname4")
def name_renamed(ctx):
    ctx.user_port = 4321


@bp.cgroup_sock("sock_create")
def socket_made(ctx):
    out[13] = ctx.family
    ctx.mark = 55


@bp.cgroup_sock("post_bind4")
def socket_bound(ctx):
    out[14] = ctx.src_port


@bp.cgroup_sockopt("setsockopt")
def option_set(ctx):
    if ctx.level == 0xBEEF:
        value = ctx.read(Number, short=0)
        out[15] = value.n
        ctx.optlen = -1


@bp.cgroup_sockopt("getsockopt")
def option_got(ctx):
    if ctx.level == 0xBEEF:
        value = ctx.read(Number, short=0)
        value.n = 4321
        ctx.retval = 0
        ctx.optlen = 4


@bp.cgroup_sysctl
def setting(ctx):
    out[16] += 1
    return CGROUP.DENY if ctx.write else CGROUP.ALLOW


@bp.cgroup_device
def device(ctx):
    return CGROUP.DENY if ctx.major == 1 and ctx.minor == 7 else CGROUP.ALLOW


@bp.cgroup_skb("egress")
def counts_bytes(pkt):
    by_cgroup.local()
    out[17] += len(pkt)


@bp.sockops
def tcp_events(ctx):
    if ctx.op == 3:
        out[18] = ctx.remote_port


@bp.sk_lookup
def port_refused(ctx):
    return SK.DROP if ctx.local_port == 7878 else SK.PASS


def fired(slot: int, want: Callable[[], int], event: Callable[[], Any] | None = None):
    """A check: attached, and after an event, `out` holds a number."""

    def check(live: Live, program: str) -> None:
        live.globals["target"] = os.getpid()
        with live.collection.programs[program].attach():
            (event or (lambda: libc.getpgid(os.getpid())))()
        assert live.maps["out"][slot] == want()

    return check


def _opened(live: Live, program: str) -> None:
    live.globals["target"] = os.getpid()
    with live.collection.programs[program].attach(), suppress(OSError):
        os.open("/no/such/file", os.O_RDONLY)
    assert live.globals["path"] == "/no/such/file"


def _counted(slot: int, least: int = 1, event: Callable[[], Any] | None = None):
    def check(live: Live, program: str) -> None:
        live.globals["target"] = os.getpid()
        live.maps["out"][slot] = 0
        with live.collection.programs[program].attach():
            (event or os.getppid)()
        assert live.maps["out"][slot] >= least

    return check


def _fork() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)


def _work() -> None:
    end = time.perf_counter() + 0.1
    while time.perf_counter() < end:
        pass


def _perf(live: Live, program: str) -> None:
    live.globals["target"] = os.getpid()
    with live.maps["stream"].buffer("Event") as buffer, live.collection.programs[program].attach():
        os.getppid()
        found = buffer.poll(1)
    assert found
    assert {(e.pid, e.kind) for e in found} == {(os.getpid(), 3)}


def lists(want: Callable[[Live], str], event: Callable[[], Any] | None = None):
    """A check: an iterator's text has a line."""

    def check(live: Live, program: str) -> None:
        live.globals["target"] = os.getpid()
        held = event() if event is not None else None
        with live.collection.programs[program].attach() as link:
            lines = link.text().splitlines()
        if held is not None:
            held.close()
        assert want(live) in lines

    return check


def _tasks(live: Live) -> str:
    with open("/proc/self/comm") as file:
        return f"{os.getpid()} {file.read().strip()}"


def _area(live: Live) -> str:
    with open("/proc/self/maps") as file:
        start, end = (int(n, 16) for n in file.readline().split()[0].split("-"))
    return f"{start:x}-{end:x}"


def _entries(live: Live, program: str) -> None:
    live.maps["seen"][7] = 70
    with live.collection.programs[program].attach_iter(map=live.maps["seen"]) as link:
        assert "7=70" in link.text().splitlines()


def _levels(live: Live, program: str) -> None:
    with (
        netbox.cgroup() as group,
        live.collection.programs[program].attach_iter(cgroup=group.path, order="up") as link,
    ):
        levels = [int(line) for line in link.text().splitlines()]
    assert levels == list(range(len(levels)))[::-1]
    assert len(levels) >= 2


def inside(check: Callable[[Live], None]):
    """A check that runs in a cgroup with the program attached."""

    def run(live: Live, program: str) -> None:
        with (
            netbox.namespace(),
            netbox.cgroup() as group,
            live.collection.programs[program].attach_cgroup(group.path),
            group,
        ):
            check(live)

    return run


def _connect(live: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.77", port), 1) as client:
            assert client.getpeername() == ("127.0.0.1", port)
    with pytest.raises(PermissionError), socket.create_connection(("127.0.0.1", 25), 1):
        pass


def _bind(live: Live) -> None:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 4040))
        assert made.getsockname()[1] == 4041


def _send(live: Live) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        assert made.sendto(b"x", ("127.0.0.1", 4998)) == 1
        with pytest.raises(PermissionError):
            made.sendto(b"x", ("127.0.0.1", 4999))


def _peer(live: Live) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), 1) as client,
    ):
        assert client.getpeername()[0] == "192.0.2.9"


def _name(live: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] == 4321


def _made(live: Live) -> None:
    with socket.socket() as made:
        assert live.maps["out"][13] == socket.AF_INET
        assert made.getsockopt(socket.SOL_SOCKET, 36) == 55  # SO_MARK


def _bound(live: Live) -> None:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        assert live.maps["out"][14] == made.getsockname()[1]


def _option_set(live: Live) -> None:
    with socket.socket() as made:
        made.setsockopt(0xBEEF, 1, 77)
        assert live.maps["out"][15] == 77


def _option_got(live: Live) -> None:
    with socket.socket() as made:
        assert made.getsockopt(0xBEEF, 1) == 4321


def _setting(live: Live) -> None:
    with open("/proc/sys/kernel/hostname") as file:
        file.read()
    assert live.maps["out"][16] > 0
    with pytest.raises(PermissionError), open("/proc/sys/kernel/hostname", "w") as file:
        file.write(os.uname().nodename)


def _device(live: Live) -> None:
    with open("/dev/zero", "rb"):
        pass
    with pytest.raises(PermissionError), open("/dev/full", "rb"):
        pass


def _bytes(live: Live) -> None:
    live.maps["out"][17] = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"12345", ("127.0.0.1", 9))
    assert live.maps["out"][17] == 33


def _tcp(live: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 1):
            assert live.maps["out"][18] == port


def _lookup(live: Live, program: str) -> None:
    with (
        netbox.namespace() as space,
        live.collection.programs[program].attach_netns(space.path),
        space,
        socket.create_server(("127.0.0.1", 7878)),
        pytest.raises(OSError),
    ):
        socket.create_connection(("127.0.0.1", 7878), 0.3)


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 47474))
    return made


PORTS = [
    Port("test_tracepoint.c", tracepoint_fields, fired(0, os.getpid)),
    Port("test_vmlinux.c", tracepoint_text, _opened),
    Port("test_autoattach.c", tracepoint_result, fired(1, lambda: os.getpgid(0))),
    Port("bpf_syscall_macro.c", raw_registers, fired(2, os.getpid)),
    Port("test_tp_btf_nullable.c", typed_arguments, _counted(4)),
    Port("task_local_storage.c", task_storage, _counted(5)),
    Port("raw_tp_null.c", parent_and_child, fired(6, os.getpid, _fork)),
    Port("test_overhead.c", switches, _counted(7, 1, lambda: time.sleep(0.01))),
    Port("test_perf_buffer.c", perf_records, _perf),
    Port("test_uprobe.c", user_function, fired(8, os.getpid)),
    Port("test_uprobe_autoattach.c", user_result, fired(10, lambda: os.getpgid(0))),
    Port("test_perf_link.c", samples, _counted(11, 1, _work)),
    Port("bpf_iter_tasks.c", all_tasks, lists(_tasks)),
    Port("bpf_iter_task_file.c", all_files, lists(lambda live: "0")),
    Port("bpf_iter_task_vmas.c", all_areas, lists(_area)),
    Port("bpf_iter_bpf_map.c", all_maps, lists(lambda live: f"{live.maps['seen'].id} 1024")),
    Port("bpf_iter_bpf_link.c/programs", all_programs, lists(lambda live: str(_program_id(live)))),
    Port("cgroup_iter.c", all_cgroups, _levels),
    Port("bpf_iter_tcp4.c", all_tcp, lists(lambda live: "47475", lambda: socket.create_server(("", 47475)))),
    Port("bpf_iter_udp4.c", all_udp, lists(lambda live: "47474", _udp)),
    Port("bpf_iter_unix.c", all_unix, lists(lambda live: "7", lambda: socket.socket(socket.AF_UNIX))),
    Port("bpf_iter_bpf_hash_map.c", all_entries, _entries),
    Port("connect4_prog.c", connects_elsewhere, inside(_connect)),
    Port("bind4_prog.c", binds_elsewhere, inside(_bind)),
    Port("sendmsg4_prog.c", sends_elsewhere, inside(_send)),
    Port("getpeername4_prog.c", peer_renamed, inside(_peer)),
    Port("getsockname4_prog.c", name_renamed, inside(_name)),
    Port("test_sock_fields.c/sock_create", socket_made, inside(_made)),
    Port("sock_addr_kern.c/post_bind", socket_bound, inside(_bound)),
    Port("sockopt_sk.c", option_set, inside(_option_set)),
    Port("sockopt_multi.c", option_got, inside(_option_got)),
    Port("test_sysctl_prog.c", setting, inside(_setting)),
    Port("dev_cgroup.c", device, inside(_device)),
    Port("netcnt_prog.c", counts_bytes, inside(_bytes)),
    Port("test_tcpbpf_kern.c", tcp_events, inside(_tcp)),
    Port("test_sk_lookup.c", port_refused, _lookup),
]


def _program_id(live: Live) -> int:
    return int(live.collection.programs["all_tasks"].info().id)
