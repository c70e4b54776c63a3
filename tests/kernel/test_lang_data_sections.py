"""Globals in maps of their own: in the kernel and in the machine."""

from __future__ import annotations

import pytest

import lang_module
import probee as bp
from probee import u32, u64
from probee.errors import CompileError

pytestmark = pytest.mark.root

ABOVE = """
class Guarded(bp.Struct):
    lock: bp.SpinLock
    total: u64


first = bp.Global[Guarded](section="first")
second = bp.Global[Guarded](section="second")
plain = bp.Global[u64](5, section="plain")
other = bp.Global[u32[4]]((1, 2, 3, 4), section="plain")
size = bp.Const[u32](7, section="sizes")
"""


def test_each_section_is_a_map(tmp_path):
    with lang_module.both(lang_module.kernel_types().btf, tmp_path) as build:
        run = build(
            """
            if skb.len > 1:
                with first.value.lock:
                    first.value.total += size
                with second.value.lock:
                    second.value.total += first.value.total
            plain.value += 1
            other.value[1] += 10
            counts[1] = size
            return 0
            """,
            above=ABOVE,
            hook="tc",
            params="skb",
        )
        names = {
            name.rpartition(".")[2] for name in run.kernel.maps if name.startswith((".data.", ".rodata."))
        }
        assert names == {"first", "second", "plain", "sizes"}
        run.kernel.programs["program"].test_run(data=bytes(64))
        run.machine.skb(bytes(64), "program")
        for where in (run.kernel, run.machine):
            assert where.globals.plain == 6
            assert list(where.globals.other) == [1, 12, 3, 4]
            assert where.globals.first.total == where.globals.second.total == 7
            assert where.maps["counts"][1] == 7


counted = bp.Global[u64](0, section="counted")
step = bp.Const[u32](1, section="steps")


@bp.tracepoint("syscalls:sys_enter_getppid")
def on_getppid(args):
    counted.value += step


def test_a_session_has_their_values():
    import os

    step.value = 3
    with bp.attach(on_getppid, cache=False):
        before = counted.value
        os.getppid()
        assert counted.value - before >= 3
        assert (counted.value - before) % 3 == 0
        counted.value = 0
    step.value = 1


def test_a_section_is_a_name():
    with pytest.raises(CompileError, match="section= is a name, not 'a b'"):
        bp.Global[u64](0, section="a b")
    with pytest.raises(CompileError, match="an arena has no sections"):
        bp.Global[u64](0, section="a", arena=bp.Arena(1))
