"""`probee run OBJECT.o`: the records of C objects, which do not say what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from c_objects import compile_c, object_from_c
from probee.cli.shapes import Shapes

SOURCE = """
struct event { u32 pid; char comm[16]; u64 when; };
struct other { u32 a; u32 b; u64 c; u64 d; };
struct event *unused_event;
struct other hold;
struct small { u32 a; u32 b; u32 c; };
struct small keep;
RINGBUF(events, 4096);
struct { __uint(type, 4); __uint(key_size, 4); __uint(value_size, 4); } pipe SEC(".maps");
static long (*perf_output)(void *, void *, u64, void *, u64) = (void *)25;
static long (*comm)(void *, u32) = (void *)16;
SEC("tp/syscalls/sys_enter_getppid") int send(void *ctx) {
    struct event *e = ringbuf_reserve(&events, sizeof *e, 0);
    if (e) { e->pid = pid_tgid() >> 32; comm(e->comm, 16); e->when = 7; ringbuf_submit(e, 0); }
    struct small s = {1, 2, 3};
    perf_output(ctx, &pipe, 0xffffffffULL, &s, sizeof s);
    return 0;
}
"""


def test_a_struct_that_a_global_points_to_is_what_is_sent(tmp_path: Path) -> None:
    shapes = Shapes(object_from_c(tmp_path, SOURCE, "shapes").btf)
    event = (7).to_bytes(4, sys.byteorder) + b"bash".ljust(20, b"\0") + (9).to_bytes(8, sys.byteorder)
    found = shapes.decode(event)  # 32 bytes, as `struct other` might be
    assert (found.pid, found.comm, found.when) == (7, "bash", 9)


def test_a_struct_of_the_objects_own_by_its_size(tmp_path: Path) -> None:
    btf = object_from_c(tmp_path, SOURCE, "shapes").btf
    raw = b"".join(n.to_bytes(4, sys.byteorder) for n in (1, 2, 3))
    assert Shapes(btf).decode(raw)._asdict() == {"a": 1, "b": 2, "c": 3}
    assert Shapes(btf).decode(raw + bytes(4)) == raw + bytes(4)  # no struct has 16 bytes
    assert Shapes(btf, padded=True).decode(raw + bytes(4)).c == 3  # perf buffers pad
    assert Shapes(None).decode(raw) == raw


@pytest.mark.root
def test_records_of_ring_and_perf_buffers_are_shown_by_name(tmp_path: Path) -> None:
    compile_c(tmp_path, SOURCE, "send")
    words = [sys.executable, "-m", "probee", "run", "--json", str(tmp_path / "send.bpf.o")]
    caller = "import os, time\nwhile True: os.getppid(); time.sleep(0.02)"
    with (
        subprocess.Popen([sys.executable, "-c", caller]) as calls,
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        wanted = {"events": {"when": 7}, "pipe": {"a": 1, "b": 2, "c": 3}}
        for text in process.stdout:
            record = json.loads(text)
            source = record.pop("from")
            if source == "events" and record["pid"] != calls.pid:
                continue
            assert wanted.get(source, {}).items() <= record.items()
            wanted.pop(source, None)
            if not wanted:
                break
        calls.kill()
        process.send_signal(2)
        process.stdout.read()
        assert process.wait(10) in (0, 130)
