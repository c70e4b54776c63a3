"""Map types with programs at the other end: what Python writes takes effect, what programs write is read."""

from __future__ import annotations

import ctypes
import ctypes.util
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_maps_types import cgroup2, connected, cookie, create

from c_objects import object_from_c
from probee.errors import LoadError, Unsupported
from probee.kernel.load import Collection, load
from probee.sys import kernel

pytestmark = pytest.mark.root

XDP_PASS, XDP_REDIRECT = 2, 4
SK_PASS = 1


@contextmanager
def loaded(folder: Path, text: str, **options: Any) -> Iterator[Collection]:
    """The object of C `text` in the kernel; skips the test on a kernel that lacks a map type of it."""
    try:
        collection = load(object_from_c(folder, text, before=SIZED), **options)
    except Unsupported as e:
        pytest.skip(str(e))
    with collection:
        yield collection


QUEUES = r"""
static long (*push)(void *, const void *, u64) = (void *)87;
static long (*pop)(void *, void *) = (void *)88;
static long (*peek)(void *, void *) = (void *)89;
struct job { u32 id; u32 weight; };
struct { __uint(type, 22); __uint(max_entries, 8); __type(value, struct job); } jobs SEC(".maps");
struct { __uint(type, 23); __uint(max_entries, 8); __type(value, u64); } done SEC(".maps");
SEC("socket") int work(void *ctx) {
    struct job j;
    if (pop(&jobs, &j)) return 0;
    u64 product = (u64)j.id * j.weight;
    push(&done, &product, 0);
    return 1;
}
"""


def run(program: Any, data: bytes = bytes(64)) -> int:
    return kernel().prog_test_run(program.fd, data).retval


def test_queues_and_stacks_between_python_and_a_program(tmp_path: Path) -> None:
    with loaded(tmp_path, QUEUES) as c:
        jobs, done = c.maps["jobs"], c.maps["done"]
        jobs.extend([(1, 10), {"id": 2, "weight": 20}])
        assert jobs.peek().weight == 10
        assert [run(c.programs["work"]) for _ in range(3)] == [1, 1, 0]
        assert done.pop() == 40
        assert done.drain() == [10]


BLOOM = r"""
static long (*peek)(void *, void *) = (void *)89;
struct { __uint(type, 30); __uint(max_entries, 100); __type(value, u32); } seen SEC(".maps");
SEC("socket") int known(void *ctx) { u32 v = 7; return peek(&seen, &v) == 0; }
"""


def test_a_program_asks_a_bloom_filter(tmp_path: Path) -> None:
    create("bloom_filter").close()
    with loaded(tmp_path, BLOOM) as c:
        assert run(c.programs["known"]) == 0
        c.maps["seen"].add(7)
        assert run(c.programs["known"]) == 1


TRIE = r"""
struct prefix { u32 len; u8 data[4]; };
struct { __uint(type, 11); __uint(max_entries, 16); __uint(map_flags, 1);
         __type(key, struct prefix); __type(value, u32); } routes SEC(".maps");
SEC("socket") int route(void *ctx) {
    struct prefix p = {32, {10, 1, 2, 3}};
    u32 *found = map_lookup(&routes, &p);
    return found ? *found : 0;
}
"""


def test_a_program_routes_by_prefixes(tmp_path: Path) -> None:
    with loaded(tmp_path, TRIE) as c:
        routes = c.maps["routes"]
        assert run(c.programs["route"]) == 0
        routes["10.0.0.0/8"] = 1
        assert run(c.programs["route"]) == 1
        routes["10.1.2.0/24"] = 2
        assert run(c.programs["route"]) == 2


INSIDE = r"""
struct inner { __uint(type, 2); __uint(max_entries, 1); __type(key, u32); __type(value, u64); };
struct inner one SEC(".maps"), two SEC(".maps");
struct { __uint(type, 13); __uint(max_entries, 4); __type(key, u32); __array(values, struct inner); }
    outer SEC(".maps") = { .values = { [0] = &one } };
SEC("socket") int bump(void *ctx) {
    u32 key = 0;
    void *m = map_lookup(&outer, &key);
    if (!m) return 0;
    u64 *v = map_lookup(m, &key);
    if (v) __sync_fetch_and_add(v, 1);
    return 1;
}
"""


def test_a_map_inside_is_exchanged_under_a_program(tmp_path: Path) -> None:
    with loaded(tmp_path, INSIDE) as c:
        outer = c.maps["outer"]
        assert outer[0].id == c.maps["one"].id
        assert run(c.programs["bump"]) == 1
        outer[0] = c.maps["two"]
        run(c.programs["bump"])
        run(c.programs["bump"])
        assert (c.maps["one"][0], c.maps["two"][0], outer[0][0]) == (1, 2, 2)
        del outer[0]
        assert run(c.programs["bump"]) == 0
        assert len(outer) == 0


SIZED = r"""
#define SIZED(t, n, v) struct { \
    __uint(type, t); __uint(max_entries, n); __uint(key_size, 4); __uint(value_size, v); }
"""
REDIRECT = r"""
static long (*redirect_map)(void *, u64, u64) = (void *)51;
SIZED(14, 4, 8) devs SEC(".maps");
SIZED(25, 4, 8) hash SEC(".maps");
SIZED(16, 4, 8) cpus SEC(".maps");
SIZED(17, 4, 4) xsks SEC(".maps");
SEC("xdp") int to_dev(void *ctx) { return redirect_map(&devs, 1, 2); }
SEC("xdp") int to_hash(void *ctx) { return redirect_map(&hash, 70, 2); }
SEC("xdp") int to_cpu(void *ctx) { return redirect_map(&cpus, 0, 2); }
SEC("xdp") int to_xsk(void *ctx) { return redirect_map(&xsks, 0, 2); }
SEC("xdp/devmap") int at_dev(void *ctx) { return 1; }
SEC("xdp/cpumap") int at_cpu(void *ctx) { return 1; }
"""


def test_redirection_to_devices_and_cpus(tmp_path: Path) -> None:
    with loaded(tmp_path, REDIRECT) as c:
        p = c.programs
        assert [run(p[n]) for n in ("to_dev", "to_hash", "to_cpu")] == [XDP_PASS] * 3
        c.maps["devs"][1] = "lo"
        c.maps["hash"][70] = ("lo", p["at_dev"])
        c.maps["cpus"][0] = (64, p["at_cpu"])
        assert [run(p[n]) for n in ("to_dev", "to_hash", "to_cpu")] == [XDP_REDIRECT] * 3
        assert c.maps["hash"][70] == (1, p["at_dev"].id)
        assert c.maps["cpus"][0].program_id == p["at_cpu"].id
        del c.maps["hash"][70]
        assert run(p["to_hash"]) == XDP_PASS


@contextmanager
def xdp_socket(interface: str) -> Iterator[socket.socket]:
    """An AF_XDP socket, bound to queue 0 of an interface."""
    af_xdp, sol_xdp = 44, 283
    rx_ring, umem_reg, fill_ring, completion_ring = 2, 4, 5, 6
    try:
        s = socket.socket(af_xdp, socket.SOCK_RAW)
    except OSError as e:
        pytest.skip(f"no AF_XDP sockets: {e}")
    with s, mmap.mmap(-1, 64 * 4096) as memory:
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        s.setsockopt(sol_xdp, umem_reg, struct.pack("=QQIIII", address, 64 * 4096, 4096, 0, 0, 0))
        for option in (fill_ring, completion_ring, rx_ring):
            s.setsockopt(sol_xdp, option, struct.pack("=I", 64))
        libc = ctypes.CDLL(None, use_errno=True)
        where = struct.pack("=HHIII", af_xdp, 0, socket.if_nametoindex(interface), 0, 0)
        if libc.bind(s.fileno(), where, len(where)):
            pytest.skip(f"no AF_XDP on {interface}: {os.strerror(ctypes.get_errno())}")
        yield s


def test_redirection_to_a_socket_of_user_space(tmp_path: Path) -> None:
    with loaded(tmp_path, REDIRECT) as c, xdp_socket("lo") as s:
        assert run(c.programs["to_xsk"]) == XDP_PASS
        c.maps["xsks"][0] = s
        assert run(c.programs["to_xsk"]) == XDP_REDIRECT
        del c.maps["xsks"][0]
        assert run(c.programs["to_xsk"]) == XDP_PASS


SHARED_PORT = r"""
static long (*select_sock)(void *, void *, void *, u64) = (void *)82;
SIZED(20, 2, 8) group SEC(".maps");
u32 wanted;
SEC("sk_reuseport") int choose(void *ctx) {
    u32 key = wanted;
    return select_sock(ctx, &group, &key, 0) == 0;
}
"""


def test_a_program_chooses_the_socket_of_a_port(tmp_path: Path) -> None:
    so_attach_reuseport_ebpf = 52
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    with (
        loaded(tmp_path, SHARED_PORT) as c,
        sockets[0],
        sockets[1],
        socket.socket(type=socket.SOCK_DGRAM) as out,
    ):
        port = 0
        for i, s in enumerate(sockets):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind(("127.0.0.1", port))
            s.settimeout(2)
            port = s.getsockname()[1]
            c.maps["group"][i] = s
        sockets[0].setsockopt(socket.SOL_SOCKET, so_attach_reuseport_ebpf, c.programs["choose"].fd)
        for wanted in (1, 0, 1):
            c.globals.wanted = wanted
            out.sendto(b"hello %d" % wanted, ("127.0.0.1", port))
            assert sockets[wanted].recv(100) == b"hello %d" % wanted


SPLICE = r"""
static long (*sk_redirect_map)(void *, void *, u32, u64) = (void *)52;
SIZED(15, 4, 8) peers SEC(".maps");
SEC("sk_skb/stream_verdict") int verdict(void *skb) { return sk_redirect_map(skb, &peers, 1, 0); }
"""


def test_a_sockmap_redirects_what_arrives(tmp_path: Path) -> None:
    stream_verdict = 5
    a, b = connected(), connected()
    with loaded(tmp_path, SPLICE) as c:
        peers, program = c.maps["peers"], c.programs["verdict"]
        kernel().prog_attach(peers.fd, program.fd, stream_verdict)
        try:
            peers[0], peers[1] = a[2], b[2]
            assert peers[1] == cookie(b[2])
            a[1].send(b"across")
            b[1].settimeout(5)
            assert b[1].recv(100) == b"across"  # sent to one server, it left through the other
        finally:
            kernel().prog_detach(peers.fd, program.fd, stream_verdict)
            for s in (*a, *b):
                s.close()


STORAGE = r"""
struct cgroup; struct css_set { struct cgroup *dfl_cgrp; } CORE;
struct task_struct { int pid; struct css_set *cgroups; } CORE;
static void *(*task_storage_get)(void *, void *, void *, u64) = (void *)156;
static struct task_struct *(*current_task)(void) = (void *)158;
struct { __uint(type, 29); __uint(map_flags, 1); __type(key, int); __type(value, u64); } calls SEC(".maps");
u32 who;
SEC("tp_btf/sys_enter") int on_call(void *ctx) {
    struct task_struct *task = current_task();
    if ((u32)(pid_tgid() >> 32) != who) return 0;
    u64 *n = task_storage_get(&calls, task, 0, 1);
    if (n) *n += 1;
    return 0;
}
"""


def test_a_program_keeps_a_count_with_a_task(tmp_path: Path) -> None:
    create("task_storage").close()
    with loaded(tmp_path, STORAGE) as c:
        calls = c.maps["calls"]
        assert os.getpid() not in calls
        c.globals.who = os.getpid()
        with c.programs["on_call"].attach():
            for _ in range(10):
                os.getppid()
        assert calls[os.getpid()] >= 10
        calls[os.getpid()] = 0
        assert calls.pop(os.getpid()) == 0


PACKETS = r"""
static void *(*local_storage)(void *, u64) = (void *)81;
struct cg_key { u64 id; u32 attach_type; };
struct { __uint(type, 19); __type(key, struct cg_key); __type(value, u64); } shared SEC(".maps");
struct { __uint(type, 21); __type(key, struct cg_key); __type(value, u64); } by_cpu SEC(".maps");
SEC("cgroup_skb/egress") int count_packet(void *skb) {
    __sync_fetch_and_add((u64 *)local_storage(&shared, 0), 1);
    *(u64 *)local_storage(&by_cpu, 0) += 1;
    return 1;
}
"""


def test_storage_of_a_cgroup_where_a_program_is_attached(tmp_path: Path) -> None:
    egress, allow_multi = 1, 2
    root = cgroup2()
    with loaded(tmp_path, PACKETS) as c, socket.socket(type=socket.SOCK_DGRAM) as out:
        fd, program = os.open(root, os.O_RDONLY), c.programs["count_packet"]
        try:
            kernel().prog_attach(fd, program.fd, egress, flags=allow_multi)
            try:
                for _ in range(3):
                    out.sendto(b"x", ("127.0.0.1", 9))
                key = (root, "cgroup_inet_egress")
                shared, by_cpu = c.maps["shared"], c.maps["by_cpu"]
                assert shared[key] >= 3
                assert by_cpu.sum(key) >= 3
                assert list(shared) == list(by_cpu) == [(root.stat().st_ino, egress)]
                assert len(by_cpu.snapshot()[root.stat().st_ino, egress]) == by_cpu.cpus
                shared[key] = 0
                assert shared[root.stat().st_ino, egress] < 3
            finally:
                kernel().prog_detach(fd, program.fd, egress)
        finally:
            os.close(fd)


COUNTERS = r"""
static long (*read_value)(void *, u64, void *, u32) = (void *)55;
SIZED(4, 1, 4) clock SEC(".maps");
SIZED(8, 1, 4) groups SEC(".maps");
static long (*under_cgroup)(void *, u32) = (void *)37;
struct { u64 counter, enabled, running; } value;
long failed; u32 inside;
SEC("raw_tp/sys_enter") int look(void *ctx) {
    failed = read_value(&clock, 0, &value, sizeof value);
    inside = under_cgroup(&groups, 0);
    return 0;
}
"""


def test_a_program_reads_a_counter_and_asks_for_a_cgroup(tmp_path: Path) -> None:
    software, cpu_clock, on_cpu = 1, 0, 1
    with loaded(tmp_path, COUNTERS) as c:
        event = kernel().perf_event_open(software, cpu_clock, cpu=0)
        try:
            c.maps["clock"][0] = event
            c.maps["groups"][0] = cgroup2()
            kernel().prog_test_run(c.programs["look"].fd, repeat=0, flags=on_cpu)
            assert c.globals.failed == 0
            assert c.globals.value.counter > 0
            assert c.globals.inside == 1
        finally:
            kernel().close(event)


ARENA = r"""
#define __arena __attribute__((address_space(1)))
struct { __uint(type, 33); __uint(map_flags, 1 << 10); __uint(max_entries, 16); } shared SEC(".maps");
extern void __arena *bpf_arena_alloc_pages(void *map, void __arena *addr, u32 pages, int node, u64 flags)
    __attribute__((section(".ksyms")));
u64 where;
SEC("syscall") int fill(void *ctx) {
    u32 __arena *page = bpf_arena_alloc_pages(&shared, 0, 1, -1, 0);
    if (!page) return 1;
    page[0] = 42;
    page[1] = 43;
    where = (u64)page;
    return 0;
}
"""


def test_an_arena_is_seen_by_both(tmp_path: Path) -> None:
    create("arena").close()
    try:
        with loaded(tmp_path, ARENA) as c:
            shared = c.maps["shared"]
            assert kernel().prog_test_run(c.programs["fill"].fd, repeat=0).retval == 0
            at = shared.offset(c.globals.where)
            assert shared.memory[at : at + 8].cast("I").tolist() == [42, 43]
    except LoadError as e:
        if "JIT" in str(e) or e.errno == 524:
            pytest.skip(f"no arenas in programs here: {e}")
        raise


def test_a_program_of_a_program_array_is_opened(tmp_path: Path) -> None:
    text = r"""
    SIZED(3, 2, 4) next SEC(".maps");
    SEC("socket") int leaf(void *ctx) { return 42; }
    SEC("socket") int root(void *ctx) { tail_call(ctx, &next, 1); return 1; }
    """
    with loaded(tmp_path, text) as c:
        nexts = c.maps["next"]
        nexts[1] = c.programs["leaf"]
        assert run(c.programs["root"]) == 42
        assert nexts.info().owner_prog_type in (1, None)
        with nexts.program(1) as program:
            assert (program.id, program.name) == (c.programs["leaf"].id, "leaf")
        with pytest.raises(KeyError):
            nexts.program(0)
