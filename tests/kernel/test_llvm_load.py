"""Our objects loaded by other people's loader: bpftool, with libbpf inside, on the running kernel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from probee.lang import ir, llvm
from probee.lang.builder import Builder
from probee.lang.types import I32, U32, U64, VOID, Chars, EnumInt, Member, Ptr, Space, Struct

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("bpftool"), reason="needs bpftool"),
    pytest.mark.skipif(not os.path.exists("/sys/kernel/btf/vmlinux"), reason="this kernel has no BTF"),
]

PIN = Path(f"/sys/fs/bpf/probee-test-{os.getpid()}")
EVENT = Struct("Event", 32, (Member("ns", U64, 0), Member("pid", U32, 64), Member("comm", Chars(16), 96)))


@pytest.fixture
def pin() -> Iterator[Path]:
    try:
        yield PIN
    finally:
        shutil.rmtree(PIN, ignore_errors=True)


def real_task() -> Struct:
    """Names and kinds as in the kernel; every offset is wrong, so that only relocation can make it right."""
    task: Struct = Struct(
        "task_struct",
        512,
        lambda: (
            Member("pid", I32, 0),
            Member("tgid", I32, 32),
            Member("real_parent", Ptr(task, Space.KERNEL), 64),
            Member("mm", Ptr(Struct("mm_struct", 0, (), core=True), Space.KERNEL), 128),
            Member("comm", Chars(16), 192),
            Member("policy", U32, 320),
            Member("in_execve", U32, 353, 1),
        ),
        core=True,
    )
    return task


def load(tmp_path: Path, pin: Path, body: Callable[[Builder, ir.Module], None]) -> dict[str, object]:
    """What bpftool says of the program of that body, loaded."""
    param = ir.Param(0, "ctx", Ptr(VOID, Space.CONTEXT))
    fn = ir.Function("prog", [param], I32, section="tp/sched/sched_process_exec", file=__file__, line=1)
    m = ir.Module()
    m.functions.append(fn)
    b = Builder(fn)
    b.loc = ir.Loc(2, 0)
    body(b, m)
    b.ret()
    made = tmp_path / "made.bpf.o"
    made.write_bytes(llvm.emit(m))
    command = ["bpftool", "prog", "loadall", str(made), str(pin)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        ["bpftool", "-j", "prog", "show", "pinned", str(pin / "prog")], capture_output=True
    )
    result: dict[str, object] = json.loads(shown.stdout)
    return result


def at(b: Builder, ptr: ir.Value, name: str) -> ir.Value:
    place = b.field(ptr, name)
    assert place is not None
    return place


def current(b: Builder, task: Struct) -> ir.Value:
    return b.helper("get_current_task_btf", type=Ptr(task, Space.TRUSTED))


def test_everything_at_once(tmp_path: Path, pin: Path) -> None:
    task = real_task()

    def body(b: Builder, m: ir.Module) -> None:
        counts, events = ir.Map("counts", 1, U32, U64, 1024), ir.Map("events", 27, None, EVENT, 4096)
        m.maps += [counts, events]
        limit = ir.GlobalVar("limit", U32, b"\1\0\0\0", const=True)
        total = ir.GlobalVar("total", U64, bytes(8), const=False)
        m.globals += [limit, total]
        t = current(b, task)
        key = b.local("key", U32)
        b.write(key, b.read(at(b, b.read(at(b, b.read(at(b, t, "real_parent")), "real_parent")), "tgid")))
        found = b.helper("map_lookup_elem", ir.MapRef(counts), key, type=Ptr(U64, Space.MAP, True))
        hit, after = b.new_block("hit"), b.new_block("after")
        b.branch(found, hit, after)
        b.at(hit)
        b.atomic("add", found, b.const(1))
        b.jump(after)
        b.at(after)
        record = b.helper(
            "ringbuf_reserve", ir.MapRef(events), b.const(32), b.const(0), type=Ptr(EVENT, Space.RECORD, True)
        )
        room, end = b.new_block("room"), b.new_block("end")
        b.branch(record, room, end)
        b.at(room)
        b.write(at(b, record, "ns"), b.helper("ktime_get_ns"))
        b.write(at(b, record, "pid"), b.read(at(b, t, "pid")))
        b.copy_into(at(b, record, "comm"), at(b, t, "comm"))
        b.helper("ringbuf_submit", record, b.const(0), type=VOID)
        b.jump(end)
        b.at(end)
        far = b.recast(b.helper("get_current_task"), Ptr(task, Space.KERNEL))
        b.write(ir.GlobalRef(total), b.arith("+", b.read(at(b, far, "tgid")), b.read(ir.GlobalRef(limit))))
        b.helper("trace_printk", b.string(b"hello %d\n"), b.const(10), b.read(ir.GlobalRef(limit)))

    shown = load(tmp_path, pin, body)
    assert shown["type"] == "tracepoint"
    assert shown["gpl_compatible"] is True
    assert len(shown["map_ids"]) == 4  # type: ignore[arg-type]


def test_core_facts(tmp_path: Path, pin: Path) -> None:
    task = real_task()

    def body(b: Builder, m: ir.Module) -> None:
        total = ir.GlobalVar("total", U64, bytes(8), const=False)
        m.globals.append(total)
        has = b.has_field(task, "mm")
        assert has is not None
        t = current(b, task)
        value = b.arith("+", b.read(at(b, t, "in_execve")), b.read(at(b, t, "policy")))
        value = b.arith("+", value, b.arith("+", has, b.type_info("size", task)))
        value = b.arith("+", value, b.enum_info("value", "bpf_map_type", "BPF_MAP_TYPE_HASH", 99))
        b.write(ir.GlobalRef(total), value)

    load(tmp_path, pin, body)


def test_enum_field(tmp_path: Path, pin: Path) -> None:
    """A field that is an enum in the kernel: libbpf refuses to match it with an int."""
    bpf_map = Struct("bpf_map", 64, (Member("map_type", EnumInt("bpf_map_type", 32, False), 64),), core=True)

    def body(b: Builder, m: ir.Module) -> None:
        total = ir.GlobalVar("total", U64, bytes(8), const=False)
        m.globals.append(total)
        some = b.recast(b.helper("get_current_task"), Ptr(bpf_map, Space.KERNEL))
        b.write(ir.GlobalRef(total), b.read(at(b, some, "map_type")))

    load(tmp_path, pin, body)


@pytest.mark.parametrize("size", [512, 1024, 4096])
def test_large_records_are_zeroed(tmp_path: Path, pin: Path, size: int) -> None:
    big = Struct("Big", size, (Member("text", Chars(size), 0),))

    def body(b: Builder, m: ir.Module) -> None:
        events = ir.Map("events", 27, None, big, 65536)
        m.maps.append(events)
        record = b.helper(
            "ringbuf_reserve", ir.MapRef(events), b.const(size), b.const(0), type=Ptr(big, Space.RECORD, True)
        )
        room, end = b.new_block("room"), b.new_block("end")
        b.branch(record, room, end)
        b.at(room)
        b.zero(record)
        b.helper("ringbuf_submit", record, b.const(0), type=VOID)
        b.jump(end)
        b.at(end)

    load(tmp_path, pin, body)


def test_subprograms_and_loops(tmp_path: Path, pin: Path) -> None:
    def body(b: Builder, m: ir.Module) -> None:
        total = ir.GlobalVar("total", U64, bytes(8), const=False)
        m.globals.append(total)
        fn = ir.Function("mean", [ir.Param(0, "a", U64), ir.Param(1, "n", U64)], U64, line=5, inline=False)
        fn.file = b.fn.file
        inside = Builder(fn)
        inside.ret(inside.arith("//", fn.params[0], fn.params[1]))
        m.functions.append(fn)
        i = b.local("i", U64)
        b.write(i, b.const(0))
        head, again, end = b.new_block("head"), b.new_block("again"), b.new_block("end")
        b.jump(head)
        b.at(head)
        b.branch(b.compare("<", b.read(i), b.const(100)), again, end)
        b.at(again)
        now = b.helper("ktime_get_ns", type=U64)
        b.write(ir.GlobalRef(total), b.arith("+", b.read(ir.GlobalRef(total)), b.call(fn, now, b.read(i))))
        b.write(i, b.arith("+", b.read(i), b.const(1)))
        b.jump(head)
        b.at(end)

    load(tmp_path, pin, body)
