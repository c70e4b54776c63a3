"""Maps that belong to kernel objects or lead to them, by what programs do with them."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import netbox
from lang_attach import attaching, outs

pytestmark = pytest.mark.root


@pytest.fixture
def attach(tmp_path) -> Iterator[Callable[..., Any]]:
    with attaching(tmp_path) as attach:
        yield attach


def test_values_of_sockets(attach):
    """What one hook leaves with a socket another finds there, and Python; it goes with the socket."""
    with netbox.namespace(), netbox.cgroup() as group:
        _, module = attach(
            """
            class State(bp.Struct):
                port: u32
                packets: u32

            by_socket = bp.SkStorage[State]()
            taken = bp.SkStorage[u64]()

            @bp.cgroup_sock_addr("sendmsg4", GROUP)
            def send(ctx):
                sk = ctx.sk
                if sk is None:
                    return CGROUP.ALLOW
                state = by_socket.get(sk, create=True)
                if state is not None:
                    state.port = ctx.user_port
                taken[sk] += 1

            @bp.cgroup_skb("egress", GROUP)
            def leave(pkt):
                sk = pkt.sk
                if sk is None:
                    return CGROUP.ALLOW
                state = by_socket.get(sk)
                if state is not None:
                    state.packets += 1
                    out[0] = state.port
                if taken[sk] == 2:
                    del taken[sk]
            """,
            GROUP=group.path,
        )
        with (
            group,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        ):
            client.sendto(b"x", ("127.0.0.1", 9))
            assert module.taken[client] == 1
            client.sendto(b"x", ("127.0.0.1", 10))
            assert module.out[0] == 10
            state = module.by_socket[client]
            assert (state.port, state.packets) == (10, 2)
            assert client not in module.taken
            assert other not in module.by_socket


def test_values_of_inodes(attach, tmp_path):
    """Marked through one descriptor, found through another."""
    _, module = attach(
        """
        opened = bp.InodeStorage[u64]()

        @bp.lsm("file_open")
        def open(file):
            if bp.pid() == PID and file.f_flags & 0x10000:
                opened[file.f_inode] += 1
                out[0] = opened[file.f_inode]
        """,
        needs="lsm",
        PID=os.getpid(),
    )
    (tmp_path / "twice").mkdir()
    (tmp_path / "once").mkdir()
    flags = os.O_RDONLY | os.O_DIRECTORY
    for name in ("twice", "once", "twice"):
        os.close(os.open(tmp_path / name, flags))
    assert module.out[0] == 2


def test_values_of_cgroups(attach):
    """For any cgroup, for the one a program is attached to, and there one for each CPU."""
    with netbox.cgroup() as group:
        _, module = attach(
            """
            of_any = bp.CgrpStorage[u64]()

            @bp.tp_btf("sys_enter")
            def call(regs, number):
                if bp.pid() == PID:
                    with bp.rcu():
                        of_any[bp.current_task().cgroups.dfl_cgrp] += 1
            """,
            needs="cgrp_storage",
            PID=os.getpid(),
        )
        _, own = attach(
            """
            class Count(bp.Struct):
                n: u64

            of_this = bp.CgroupStorage[Count]()
            of_each = bp.PerCpuCgroupStorage[Count]()

            @bp.cgroup_sock("sock_create", GROUP)
            def create(ctx):
                of_this.local().n += 1
                of_each.local().n += 2
            """,
            GROUP=group.path,
        )
        with group:
            for _ in range(3):
                socket.socket().close()
        directory = os.open(group.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            assert module.of_any[directory] > 3
        finally:
            os.close(directory)
        number = os.stat(group.path).st_ino  # a cgroup's id
        assert own.of_this[number].n == 3
        assert sum(count.n for count in own.of_each[number]) == 6


def test_arrays_of_cgroups(attach):
    """Is the task, is the packet's socket in one of them?"""
    with netbox.namespace(), netbox.cgroup() as group:
        _, module = attach(
            """
            groups = bp.CgroupArray(2)

            @bp.tp_btf("sys_enter")
            def call(regs, number):
                if bp.pid() == PID and number == GETPPID:
                    out[groups.has_current(1)] += 1

            @bp.tcx("lo", "egress")
            def leave(pkt):
                eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=TC.NEXT)
                if udp.dst_port == 9:
                    out[2 + groups.has(1)] += 1
            """,
            needs="tcx",
            PID=os.getpid(),
            GETPPID=110 if os.uname().machine == "x86_64" else 173,
        )
        module.groups[1] = group.path
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside, group:
            os.getppid()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
                inside.sendto(b"x", ("127.0.0.1", 9))
            outside.sendto(b"x", ("127.0.0.1", 9))
        os.getppid()
        os.getppid()
        assert outs(module, 4) == [2, 1, 1, 1]


class Receiver:
    """An AF_XDP socket bound to queue 0 of an interface, with one buffer for a packet."""

    SOL_XDP, OFFSETS, RX, UMEM, FILL, COMPLETION = 283, 1, 2, 4, 5, 6

    def __init__(self, interface: str) -> None:
        try:
            self.socket = socket.socket(44, socket.SOCK_RAW)  # AF_XDP
        except OSError as error:
            pytest.skip(f"this kernel has no AF_XDP sockets: {error}")
        self.memory = mmap.mmap(-1, 16 * 4096)
        self._anchor = ctypes.c_char.from_buffer(self.memory)
        where = struct.pack("=QQIIII", ctypes.addressof(self._anchor), 16 * 4096, 4096, 0, 0, 0)
        self.socket.setsockopt(self.SOL_XDP, self.UMEM, where)
        for ring in (self.FILL, self.COMPLETION, self.RX):
            self.socket.setsockopt(self.SOL_XDP, ring, struct.pack("=I", 8))
        at = struct.unpack("=16Q", self.socket.getsockopt(self.SOL_XDP, self.OFFSETS, 128))
        self.rx, self.fill = at[0:4], at[8:12]  # producer, consumer, descriptors, flags
        self.rings = [
            mmap.mmap(self.socket.fileno(), 4096, mmap.MAP_SHARED, offset=offset)
            for offset in (0, 0x1_0000_0000)
        ]
        struct.pack_into("=Q", self.rings[1], self.fill[2], 4096)  # the buffer's place
        struct.pack_into("=I", self.rings[1], self.fill[0], 1)
        libc = ctypes.CDLL(None, use_errno=True)
        where = struct.pack("=HHIII", 44, 0, socket.if_nametoindex(interface), 0, 0)
        if libc.bind(self.socket.fileno(), where, len(where)):
            pytest.skip(f"this kernel has no AF_XDP on {interface}: {os.strerror(ctypes.get_errno())}")

    def packet(self) -> bytes | None:
        """The first packet that came."""
        (produced,) = struct.unpack_from("=I", self.rings[0], self.rx[0])
        if not produced:
            return None
        place, size, _ = struct.unpack_from("=QII", self.rings[0], self.rx[2])
        return self.memory[place : place + size]

    def close(self) -> None:
        for ring in self.rings:
            ring.close()
        self.socket.close()
        del self._anchor
        self.memory.close()


@contextmanager
def receiver(interface: str) -> Iterator[Receiver]:
    made = Receiver(interface)
    try:
        yield made
    finally:
        made.close()


def test_packets_for_a_socket_of_user_space(attach):
    with netbox.pair() as pair, pair.there:
        _, module = attach(
            """
            sockets = bp.XskMap(4)

            @bp.xdp("far", mode="generic")
            def choose(pkt):
                eth, ip, udp = pkt.read(Ethernet, IPv4, UDP, short=XDP.PASS)
                if udp.dst_port == 9:
                    return pkt.redirect(sockets, pkt.rx_queue_index, XDP.PASS)
                return XDP.PASS
            """
        )
        with receiver("far") as made:
            module.sockets[0] = made.socket
            with pair.here:
                assert pair.reaches(7) == b"hello"
                assert pair.reaches(9) is None
            packet = made.packet()
            assert packet is not None
            assert packet.endswith(b"hello")
            del module.sockets[0]
            with pair.here:
                assert pair.reaches(9) == b"hello"


def test_stacks_are_kept_once(attach):
    """The kernel's and the process's; the same way in has the same number."""
    _, module = attach(
        """
        stacks = bp.StackTrace(1024)

        @bp.tp_btf("sys_enter")
        def call(regs, number):
            if bp.pid() == PID and number == GETPGID:
                counts[bp.ustack(stacks)] += 1
                out[0] = bp.kstack(stacks)
        """,
        PID=os.getpid(),
        GETPGID=121 if os.uname().machine == "x86_64" else 155,
    )
    for _ in range(3):
        os.getpgid(0)
    (number,) = [n for n, times in module.counts.items() if times == 3]
    with open("/proc/self/maps") as file:
        code = [line.split()[0].split("-") for line in file if " r-xp " in line]
    ranges = [range(int(low, 16), int(high, 16)) for low, high in code]
    assert any(module.stacks[number][0] in here for here in ranges)
    assert all(address >> 48 == 0xFFFF for address in module.stacks[module.out[0]])


def test_tables_that_forget_and_tables_of_each_cpu(attach):
    """What was not used for long makes room; each CPU counts for itself."""
    session, module = attach(
        """
        class Args(bp.Struct):
            first: u64
            last: u64

        recent = bp.LruHash[u32, u64](64)
        recent_here = bp.LruPerCpuHash[u32, u64](64)
        here = bp.PerCpuArray[u64](4)
        by_key = bp.PerCpuHash[u32, u64](8)

        @bp.syscall
        def fill(args: Args):
            for i in range(args.first, args.last):
                recent[i] = i
                recent_here[i] += i
                here[3] += 1
                by_key[i & 7] += 1
            out[0] = recent[args.last - 1]
            out[1] = recent[args.first]
        """,
        needs="syscall programs",
    )
    session.programs["fill"].test_run(ctx=struct.pack("=QQ", 1000, 2000))
    assert outs(module, 2) == [1999, 0]
    assert 0 < len(module.recent) <= 64
    assert 1999 in module.recent
    assert 0 < len(module.recent_here) < 1000
    assert sum(module.recent_here[1999]) == 1999
    assert sum(module.here[3]) == 1000
    assert {key: sum(each) for key, each in module.by_key.items()} == dict.fromkeys(range(8), 125)
