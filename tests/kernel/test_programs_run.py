"""Programs run without a hook: packets, contexts, repetition, CPUs, live frames, syscall programs;
refusals.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from probee.errors import LoadError, Unsupported
from probee.kernel.load import load
from probee.kernel.testrun import BPF_F_TEST_XDP_LIVE_FRAMES

pytestmark = pytest.mark.root

TEXT = r"""
static u32 (*cpu_id)(void) = (void *)8;
struct __sk_buff { u32 len; u32 pkt_type; u32 mark; };
struct xdp_md { u32 data; u32 data_end; u32 data_meta; u32 ingress_ifindex; u32 rx_queue_index; };
u64 runs; u32 cpu;
SEC("tc") int mark(struct __sk_buff *skb) { skb->mark += 1; return skb->len; }
SEC("xdp") int first(struct xdp_md *ctx) {
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __sync_fetch_and_add(&runs, 1);
    if (data + 1 > end) return 0;
    data[0] = 0x42;
    return 2;
}
SEC("xdp") int drop(struct xdp_md *ctx) { __sync_fetch_and_add(&runs, 1); return 1; }
SEC("raw_tp/sched_switch") int where(u64 *ctx) { cpu = cpu_id(); return ctx[0]; }
SEC("tp/sched/sched_switch") int perf(void *ctx) { return 0; }
struct arguments { u32 a; u32 b; u64 sum; };
SEC("?syscall") int add(struct arguments *args) { args->sum = (u64)args->a + args->b; return 7; }
"""

PACKET = bytes(range(64))


def test_packets_contexts_and_repetition(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, TEXT)) as live:
        ctx = bytearray(192)
        struct.pack_into("=I", ctx, 8, 41)  # __sk_buff.mark
        run = live.programs["mark"].test_run(PACKET, bytes(ctx))
        assert struct.unpack_from("=I", run.ctx, 8) == (42,)
        assert (run.retval, run.data) == (64, PACKET)
        assert tuple(run) == (run.retval, run.data, run.duration)
        first = live.programs["first"]
        run = first.test_run(PACKET, repeat=100)
        assert (run.retval, run.data) == (2, b"\x42" + PACKET[1:])
        assert live.globals.runs == 100
        assert run.duration < 1_000_000
        with pytest.raises(LoadError, match="longer than out_size"):
            first.test_run(PACKET, out_size=3)


def test_a_raw_tracepoint_on_a_cpu(tmp_path: Path) -> None:
    needs("test_run_raw_tp")
    cpus = sorted(os.sched_getaffinity(0))
    with load(object_from_c(tmp_path, TEXT)) as live:
        where = live.programs["where"]
        for cpu in cpus:
            assert where.test_run(ctx=struct.pack("=QQ", 5, 6), cpu=cpu).retval == 5
            assert live.globals.cpu == cpu
        with pytest.raises(LoadError, match="no such CPU is online"):
            where.test_run(ctx=struct.pack("=QQ", 5, 6), cpu=4095)


def test_live_frames(tmp_path: Path) -> None:
    needs("test_run_live_xdp")
    with load(object_from_c(tmp_path, TEXT)) as live:
        live.programs["drop"].test_run(PACKET, repeat=300, flags=BPF_F_TEST_XDP_LIVE_FRAMES, batch_size=64)
        assert live.globals.runs == 300


def test_a_syscall_program(tmp_path: Path) -> None:
    needs("syscall_prog")
    with load(object_from_c(tmp_path, TEXT), programs=["add"]) as live:
        run = live.programs["add"].test_run(ctx=struct.pack("=IIQ", 3, 0xFFFF_FFFF, 0))
        assert run.retval == 7
        assert struct.unpack("=IIQ", run.ctx) == (3, 0xFFFF_FFFF, 0x1_0000_0002)


def test_refusals(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, TEXT)) as live:
        with pytest.raises(Unsupported, match="can't test-run programs in section 'tp/sched/sched_switch'"):
            live.programs["perf"].test_run()
        with pytest.raises(LoadError, match="the packet has 3 bytes"):
            live.programs["mark"].test_run(b"abc")
        bad = bytearray(192)
        struct.pack_into("=I", bad, 0, 99)  # __sk_buff.len can't be chosen
        with pytest.raises(LoadError, match="a field that a test run can't set"):
            live.programs["mark"].test_run(PACKET, bytes(bad))
        with pytest.raises(LoadError, match="takes no such flags"):
            live.programs["mark"].test_run(PACKET, flags=1 << 9)
