"""Programs on the kernel's functions, events and other programs: what the other files of kinds leave out."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import netbox
import probee as bp
from lang_attach import attaching, outs
from probee import XDP, u32, u64
from probee.errors import AttachError, LoadError, PermissionDenied, Unsupported

pytestmark = pytest.mark.root

libc = ctypes.CDLL(None)


@pytest.fixture
def attach(tmp_path) -> Iterator[Callable[..., Any]]:
    with attaching(tmp_path) as attach:
        yield attach


def test_tracepoints_of_all_kinds(attach):
    """The same event by name, raw and typed; system calls merged; samples of this process."""
    session, module = attach(
        """
        @bp.tracepoint("sched:sched_process_exec")
        def named(args):
            if args.filename == "/bin/true":
                out[0] += 1

        @bp.raw_tracepoint("sched_process_exec")
        def raw(task, old_pid, program):
            if program.filename == "/bin/true":
                out[1] += 1

        @bp.tp_btf("sched_process_exec")
        def typed(task, old_pid, program):
            if program.filename == "/bin/true":
                out[2] += task.pid == bp.tid()

        @bp.tracepoint("syscalls:sys_enter_getpgid")
        def call(args):
            if bp.pid() == PID:
                out[3] = args.pid

        @bp.perf_event(freq=500)
        def sample(ctx):
            if bp.pid() == PID:
                out[4] += 1
                out[5] = ctx.sample_period
        """,
        PID=os.getpid(),
    )
    subprocess.run(["/bin/true"], check=True)
    libc.getpgid(os.getpid())
    assert outs(module, 4) == [1, 1, 1, os.getpid()]
    end = time.monotonic() + 2
    while not module.out[4] and time.monotonic() < end:
        sum(range(10_000))
    assert module.out[4] > 0
    assert module.out[5] > 0
    with pytest.raises(Unsupported, match="writes no text: only iterators do"):
        session.links[0].text()


def test_a_writable_tracepoint_changes_a_result(attach):
    """The result of a test run is what the program wrote."""
    try:
        session, module = attach(
            """
            @bp.raw_tracepoint_writable("bpf_test_finish")
            def spoil(error):
                out[0] += 1
                error[0] = -113

            @bp.tc
            def filter(pkt):
                return TC.OK
            """
        )
    except AttachError as error:
        pytest.skip(f"this kernel has no tracepoint bpf_test_finish: {error}")
    with pytest.raises(LoadError) as caught:
        session.programs["filter"].test_run(bytes(64))
    assert caught.value.errno == errno.EHOSTUNREACH
    assert module.out[0] == 1


def test_uretprobes_by_pattern(attach):
    _, module = attach(
        """
        @bp.uretprobe_multi("libc", "getpgi*")
        def leave(ret):
            if bp.pid() == PID:
                out[0] = ret

        @bp.uprobe_multi("libc", "getpgi*", sleepable=True)
        def enter(pid):
            if bp.pid() == PID:
                out[1] = pid
        """,
        needs="uprobe_multi",
        PID=os.getpid(),
    )
    libc.getpgid(os.getpid())
    assert outs(module, 2) == [os.getpgid(0), os.getpid()]


def test_results_of_system_calls_by_kprobe(attach):
    _, module = attach(
        """
        @bp.kretsyscall("getpgid")
        def leave(ret):
            if bp.pid() == PID:
                out[0] = ret
        """,
        needs="kprobe",
        PID=os.getpid(),
    )
    libc.getpgid(os.getpid())
    assert module.out[0] == os.getpgid(0)


def test_fmod_ret_answers_in_the_functions_place(attach):
    """A test run of such a program calls a function that changes its second argument and tells its result."""
    session, module = attach(
        """
        @bp.fmod_ret("bpf_modify_return_test")
        def answer(a, b, ret):
            out[0] += 1
            return ANSWER.value

        ANSWER = bp.Global[i32](0)
        """,
        needs="fmod_ret",
    )
    answer = session.programs["answer"]
    before = answer.test_run().retval
    session.globals.ANSWER = 77
    after = answer.test_run().retval
    assert module.out[0] == 2
    assert after - before == 77 - 4 - (1 << 16)  # not 1 + 3, and one change less behind a pointer


@bp.global_function
def decide(kind: u32, length: u64) -> u64:
    return kind & 1


@bp.xdp
def chooser(pkt):
    return decide(u32(7), len(pkt))


def test_freplace_of_a_function_and_of_a_program():
    with bp.attach(chooser, cache=False) as session:
        target = session.programs["chooser"]

        @bp.freplace("decide", target)
        def other(kind: u32, length: u64):
            return kind + length

        @bp.freplace("chooser", target, like="xdp")
        def whole(pkt):
            return XDP.DROP if len(pkt) == 64 else XDP.TX

        assert target.test_run(bytes(64)).retval == 1
        for program, expected in ((other, 71), (whole, XDP.DROP)):
            try:
                replacing = bp.attach(program, cache=False)
            except PermissionDenied as error:
                pytest.skip(f"this kernel has no freplace: {error.args[0]}")
            with replacing:
                assert target.test_run(bytes(64)).retval == expected
            assert target.test_run(bytes(64)).retval == 1


def test_lirc_decodes_what_a_receiver_sees(attach):
    """A loop-back receiver gets what is sent; each pulse is one press of a key."""
    session, module = attach(
        """
        @bp.lirc_mode2
        def decode(sample):
            if sample >> 24 == 1:                # a pulse, its length in microseconds below
                out[0] += 1
                out[1] = sample & 0xFFFFFF
        """,
        needs="lirc_mode2 programs",
    )
    subprocess.run(["modprobe", "rc-loopback"], check=False)
    devices = sorted(Path("/dev").glob("lirc*"))
    if not devices:
        pytest.skip("this kernel has no infrared receiver (rc-loopback)")
    with session.programs["decode"].attach_lirc(devices[0]), devices[0].open("wb", buffering=0) as sender:
        sender.write(struct.pack("=III", 560, 1690, 570))
        end = time.monotonic() + 2
        while module.out[0] < 2 and time.monotonic() < end:
            time.sleep(0.01)
    assert module.out[0] == 2
    assert 500 < module.out[1] < 650


def test_iterators_over_sockets_and_objects(attach, tmp_path):
    """Each kind finds what this process has made for it."""
    with (
        netbox.namespace(),
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as netlink,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "unix"))
        netlink.bind((0, 0))
        session, _ = attach(
            """
            @bp.iter("tcp")
            def tcp(ctx):
                if sk := ctx.sk_common:
                    print(sk.skc_num, end=" ")

            @bp.iter("udp")
            def udp(ctx):
                if sk := ctx.udp_sk:
                    print(sk.inet.sk.__sk_common.skc_num, end=" ")

            @bp.iter("unix")
            def unix(ctx):
                if sk := ctx.unix_sk:
                    if sk.addr is not None:
                        print(f"{sk.addr.name[0].sun_path}")

            @bp.iter("netlink")
            def netlink(ctx):
                if sk := ctx.sk:
                    print(sk.portid, end=" ")

            @bp.iter("task_vma")
            def areas(ctx):
                task = ctx.task
                vma = ctx.vma
                if task is None or vma is None:
                    return
                if task.tgid == PID:
                    print(f"{vma.vm_start:x}", end=" ")

            @bp.iter("bpf_prog")
            def programs(ctx):
                if prog := ctx.prog:
                    print(prog.aux.id, end=" ")

            @bp.iter("bpf_link")
            def links(ctx):
                if link := ctx.link:
                    print(link.id, end=" ")

            @bp.iter("ksym", sleepable=True)
            def symbols(ctx):
                if found := ctx.ksym:
                    if found.value & 0xFFFF == 0:
                        print(f"{found.value:x} {found.name}")
            """,
            needs="iterators of these kinds",
            PID=os.getpid(),
        )
        text = {link.hook.split()[-1]: link.text() for link in session.links}
        numbers = {word: found.split() for word, found in text.items()}
        assert str(tcp.getsockname()[1]) in numbers["tcp"]
        assert str(udp.getsockname()[1]) in numbers["udp"]
        assert str(tmp_path / "unix") in numbers["unix"]
        assert str(netlink.getsockname()[0]) in numbers["netlink"]
        with open("/proc/self/maps") as file:
            assert file.readline().split("-")[0] in numbers["task_vma"]
        assert {str(program.id) for program in session.programs.values()} <= set(numbers["bpf_prog"])
        assert {str(link.id) for link in session.links} <= set(numbers["bpf_link"])
        with open("/proc/kallsyms") as file:
            known = {(int(address, 16), name) for address, _, name, *_ in map(str.split, file)}
        found = [line.split() for line in text["ksym"].splitlines()]
        named = [(int(words[0], 16), words[1]) for words in found if len(words) == 2]
        assert len(named) > len(found) // 2 > 0
        assert set(named) <= known
