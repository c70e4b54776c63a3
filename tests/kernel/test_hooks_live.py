"""Every kind of hook in the running kernel: programs see the arguments that this process made."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import time

import pytest

import probee as bp
from probee import Char, i32, i64, u16, u32, u64

pytestmark = pytest.mark.root

FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
NAME = "/nonexistent/probee-hooks-test"


class Open(bp.Struct):
    nr: i64
    dfd: i64
    flags: i64
    mode: u64
    name: Char[64]


class Exec(bp.Struct):
    pid: u32
    old_pid: u32
    filename: Char[64]


me = bp.Const[u32](0)
opens = bp.RingBuf[Open](65536)
results = bp.Hash[i64, u64](64)
calls = bp.Array[u64](8)
execs = bp.RingBuf[Exec](65536)
switches = bp.Hash[u32, Char[16]](1024)
raw = bp.Array[u64](8)
samples = bp.Array[u64](8)
args = bp.Array[u64](8)


@bp.tracepoint("syscalls:sys_enter_openat")
def on_open(args):
    if bp.pid() == me:
        with opens.reserve() as e:
            e.nr = args.__syscall_nr
            e.dfd = args.dfd
            e.flags = args.flags
            e.mode = args.mode
            e.name = bp.user_str(args.filename)


@bp.tracepoint("syscalls:sys_enter_openat")
def on_open_too(args):
    if bp.pid() == me:
        calls[0] += 1


@bp.tracepoint("syscalls:sys_exit_openat")
def on_opened(args):
    if bp.pid() == me:
        results[args.ret] += 1


@bp.tracepoint("syscalls:sys_enter_getppid")
def on_getppid():
    if bp.pid() == me:
        calls[1] += 1


@pytest.mark.parametrize("merge", [True, False])
def test_system_calls(merge: bool) -> None:
    me.value = os.getpid()
    with bp.attach(on_open, on_open_too, on_opened, on_getppid, merge_syscalls=merge, cache=False) as s:
        kinds = {p.spec.section for p in s.programs.values()}
        if merge:
            assert kinds == {"tp_btf/sys_enter", "tp_btf/sys_exit"}
        else:
            assert kinds == {f"tp/syscalls/sys_{x}" for x in ("enter_openat", "exit_openat", "enter_getppid")}
        before = calls[0]
        with pytest.raises(FileNotFoundError):
            os.open(NAME, FLAGS, 0o642)
        ours = calls[0] - before
        getppid = calls[1]
        os.getppid()
        assert calls[1] == getppid + 1
        seen = [e for e in opens.consume() if e.name == NAME]
        assert ours >= 1
        assert results[-2] >= 1  # -ENOENT
    nr = 257 if platform.machine() == "x86_64" else 56
    wide = FLAGS | 0o100000 if platform.machine() == "x86_64" else FLAGS
    assert [(e.nr, e.dfd, e.flags & wide, e.name) for e in seen] == [(nr, -100, FLAGS, NAME)]
    assert not seen[0].mode  # openat passes a mode only where it may create a file


INT80 = b"\x53\xb8\x06\x00\x00\x00\xbb\xff\xff\xff\xff\xcd\x80\x5b\xc3"
"""push rbx; mov eax, 6 (close in the 32-bit table); mov ebx, -1; int 0x80; pop rbx; ret"""


@bp.tracepoint("syscalls:sys_enter_newlstat")
def on_lstat():
    calls[2] += 1


@bp.tracepoint("syscalls:sys_exit_newlstat")
def on_lstat_done(args):
    calls[3] += 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="int 0x80 exists on x86-64 only")
def test_32_bit_calls_are_told_apart() -> None:
    """Number 6 is lstat for 64-bit callers and close for 32-bit ones."""
    code = (
        "import ctypes, mmap, os, sys\n"
        f"page = mmap.mmap(-1, 4096, prot=7); page.write({INT80!r})\n"
        "fn = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))\n"
        "lstat = ctypes.CDLL(None, use_errno=True).syscall\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    print(ctypes.c_int(fn()).value if line == '32\\n' else lstat(6, 0, 0), flush=True)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
    assert run.stdin
    assert run.stdout
    try:
        assert run.stdout.readline() == "ready\n"
        counted = {}

        def ask(bits: str) -> str:
            before = (calls[2], calls[3])
            run.stdin.write(bits + "\n")
            run.stdin.flush()
            answer = run.stdout.readline().strip()
            counted[bits] = (calls[2] - before[0], calls[3] - before[1])
            return answer

        with bp.attach(on_lstat, on_lstat_done, cache=False):
            assert ask("64") == "-1"
            answer = ask("32")
        if not answer:
            pytest.skip("this kernel has no 32-bit system calls (CONFIG_IA32_EMULATION)")
        assert answer == "-9"  # EBADF
        assert counted == {"64": (1, 1), "32": (0, 0)}
    finally:
        run.kill()
        run.communicate()


@bp.tracepoint("sched:sched_process_exec")
def on_exec(args):
    with execs.reserve() as e:
        e.pid = args.pid
        e.old_pid = args.old_pid
        e.filename = args.filename


@bp.tracepoint("sched:sched_switch")
def on_switch(args):
    switches[args.next_pid] = args.next_comm


def test_tracepoint_record() -> None:
    with bp.attach(on_exec, on_switch, cache=False):
        child = subprocess.Popen(["/bin/sleep", "0.05"])
        child.wait()
        seen = [e for e in execs.consume() if e.pid == child.pid]
        comm = switches.get(child.pid)
    assert [(e.old_pid, e.filename) for e in seen] == [(child.pid, "/bin/sleep")]
    assert comm == "sleep"


@bp.tp_btf("sched_switch")
def typed(preempt, prev, next):
    if prev.tgid == me:
        raw[0] += 1
        raw[1] = prev.real_parent.tgid
        raw[2] = next.tgid
        raw[3] = preempt


@bp.raw_tracepoint("sched_switch")
def untyped(preempt, prev):
    if prev.tgid == me:
        raw[4] += 1
        raw[5] = prev.real_parent.tgid


def test_raw_tracepoints() -> None:
    me.value = os.getpid()
    with bp.attach(typed, untyped, cache=False):
        time.sleep(0.02)
        values = list(raw.values())
    assert values[0] >= 1
    assert values[4] >= 1
    assert values[1] == values[5] == os.getppid()
    assert values[2] != os.getpid()
    assert values[3] in (0, 1)


@bp.perf_event(period=1_000_000, event="cpu-clock")
def sample(ctx):
    if bp.pid() == me:
        samples[0] += 1
        samples[1] = ctx.sample_period
        if ctx.ip:
            samples[2] += 1
        samples[3] = ctx.addr


def test_perf_event() -> None:
    me.value = os.getpid()
    with bp.attach(sample, cache=False) as s:
        (program,) = s.programs.values()
        assert program.spec.section == "perf_event/cpu-clock:period=1000000"
        end = time.monotonic() + 2
        while not samples[0] and time.monotonic() < end:
            sum(range(10000))
        values = list(samples.values())
    assert values[0] >= 1
    assert values[1] == 1_000_000
    assert values[2] == values[0]


@bp.uprobe("libc", "copy_file_range")
def copied(fd_in: i32, off_in, fd_out: u16, off_out, length, flags):
    if bp.pid() == me:
        args[0] = fd_in + 10
        args[1] = off_in
        args[2] = fd_out
        args[3] = off_out
        args[4] = length
        args[5] = flags


@bp.uretprobe("libc", "copy_file_range")
def copy_done(result: i64):
    if bp.pid() == me and result < 0:
        args[6] = -result


def test_uprobes() -> None:
    me.value = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)
    a, b = ctypes.c_int64(0), ctypes.c_int64(0)
    with bp.attach(copied, copy_done, cache=False):
        libc.copy_file_range.restype = ctypes.c_ssize_t
        outcome = libc.copy_file_range(
            ctypes.c_int(-3),
            ctypes.byref(a),
            ctypes.c_int(0x10007),
            ctypes.byref(b),
            ctypes.c_size_t(1 << 40),
            3,
        )
        values = list(args.values())
    assert outcome == -1
    assert values == [7, ctypes.addressof(a), 7, ctypes.addressof(b), 1 << 40, 3, 1, 0]


def test_unknown_hooks_are_compile_errors() -> None:
    @bp.tracepoint("sched:sched_swich")
    def wrong(args):
        pass

    with pytest.raises(bp.CompileError, match="no tracepoint sched:sched_swich") as e:
        bp.attach(wrong, cache=False)
    assert e.value.file == __file__
    assert "sched:sched_switch" in e.value.advice

    @bp.tracepoint("sched:sched_switch")
    def field(args):
        return args.nxt_pid

    with pytest.raises(bp.CompileError, match="has no field nxt_pid") as e:
        bp.attach(field, cache=False)
    assert "next_pid" in e.value.advice
    assert e.value.source.strip() == "return args.nxt_pid"
