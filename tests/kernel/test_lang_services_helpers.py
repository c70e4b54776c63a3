"""Kernel helpers called from the language: what they did is looked at."""

from __future__ import annotations

import os
import struct

import pytest

import lang_module

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path):
    with lang_module.builder(ktypes, tmp_path) as build:
        yield build


SYSCALL = {"hook": "syscall", "params": "args: Args"}
ARGS = """
class Args(bp.Struct):
    a: u64
    b: u64
    c: u64
    text: Char[32]
"""


def run(made, a=0, b=0, c=0, text=b""):
    data = struct.pack("<QQQ32s", a, b, c, text)
    out = made.collection.programs["program"].test_run(ctx=data)
    return struct.unpack("<QQQ32s", out.ctx)


def test_sizes_and_contexts_are_filled_in(build):
    """Numbers in, numbers out, memory by its type, text, and names of parameters."""
    made = build(
        """
        value = i64(0)
        if bp.strtol(args.text, 0, value) > 0:
            args.a = u64(value)
        args.b = bp.strncmp(args.text, "123") == 0
        pair = Point(x=5, y=6)
        other = Point()
        if bp.probe_read_kernel(other, pair) == 0:
            args.c = other.x * 10 + other.y
        bp.map_update_elem(counts, 7, args.a, flags=0)
        bp.map_update_elem(counts, 8, value)
        bp.map_delete_elem(counts, 8)
        """,
        above=ARGS,
        **SYSCALL,
    )
    a, b, c, _ = run(made, text=b"123")
    assert (a, b, c) == (123, 1, 56)
    assert dict(made.maps["counts"].items()) == {7: 123}


def test_results_that_may_be_missing(build):
    made = build(
        """
        found = bp.map_lookup_elem(points, u32(args.a))
        if found is None:
            args.b = 1
            return
        found.x += 1
        args.b = found.x
        """,
        above=ARGS,
        **SYSCALL,
    )
    assert run(made, a=3)[1] == 1
    made.maps["points"][3] = made.module.Point(x=41, y=0)
    assert run(made, a=3)[1] == 42


def test_typed_results_of_the_kernel(build):
    made = build(
        """
        task = bp.get_current_task_btf()
        regs = bp.task_pt_regs(task)
        args.a = regs.ip
        args.b = task.tgid
        frames = u64[8]()
        args.c = bp.get_task_stack(task, frames, 0) > 0
        """,
        above=ARGS,
        **SYSCALL,
    )
    a, b, c, _ = run(made)
    assert a > 4096
    assert b == os.getpid()
    assert c == 1


def test_memory_of_the_user_in_programs_that_sleep(build):
    import ctypes

    here = ctypes.create_string_buffer(b"from user space")
    made = build(
        """
        into = Char[16]("")
        if bp.copy_from_user(into, args.a) == 0:
            args.text = into
        else:
            args.b = 1
        """,
        above=ARGS,
        **SYSCALL,
    )
    assert run(made, a=ctypes.addressof(here))[3].rstrip(b"\0") == b"from user space"
    assert run(made, a=8)[1] == 1


def test_send_signal(build):
    import signal

    got = []
    before = signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
    try:
        made = build(
            """
            if bp.pid() == total.value:
                total.value = 0
                signed_total.value = bp.send_signal(10)
            """,
        )
        made.globals.total = os.getpid()
        lang_module.fire(made)
        os.getppid()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert made.globals.signed_total == 0
    assert got == [1]


def test_stacks_into_an_array(build):
    made = build(
        """
        frames = u64[16]()
        size = bp.get_stack(frames, 0)
        if size > 0:
            total.value = u64(size) // 8
            slots[0] = frames[0]
        """
    )
    lang_module.fire(made)
    assert made.globals.total > 0
    assert made.maps["slots"][0] > 1 << 63
