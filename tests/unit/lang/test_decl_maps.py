"""Declared maps, globals and programs, and the names of the top-level module."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

import probee as bp
from probee import u8, u32, u64
from probee.errors import CompileError, ProbeeError
from probee.isa.tables import MAP_TYPES
from probee.lang import decl


class Record(bp.Struct):
    pid: u32


def test_kinds_are_the_kernels() -> None:
    names = {
        bp.Hash: "hash",
        bp.Array: "array",
        bp.PerCpuHash: "percpu_hash",
        bp.PerCpuArray: "percpu_array",
        bp.LruHash: "lru_hash",
        bp.LruPerCpuHash: "lru_percpu_hash",
        bp.RingBuf: "ringbuf",
        bp.StackTrace: "stack_trace",
        bp.ProgArray: "prog_array",
    }
    assert {cls: MAP_TYPES[name][0] for cls, name in names.items()} == {cls: cls.kind for cls in names}


def test_declared_types() -> None:
    m = bp.Hash[u32, Record](100, flags=1, name="runs", pin=True)
    assert (m.key, m.value, m.max_entries, m.flags, m.name, m.pin) == (u32, Record, 100, 1, "runs", True)
    assert repr(m) == "<Hash[u32, Record] runs, 100 entries>"
    a = bp.PerCpuArray[u64](3)
    assert (a.key, a.value, a.per_cpu) == (u32, u64, True)
    r = bp.RingBuf[Record](4096)
    assert (r.key, r.value) == (None, Record)
    s = bp.StackTrace(10, depth=20)
    assert s.value == u64[20]
    assert bp.ProgArray(2).value is u32
    assert bp.Hash[int, bool](1).key is decl.i64


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: bp.Hash(10), "needs its types"),
        (lambda: bp.Hash[u32](10), "Hash is written Hash\\[key, value\\]"),
        (lambda: bp.Array[u32, u64](10), "Array is written Array\\[value\\]"),
        (lambda: bp.StackTrace[u32](10), "plain StackTrace"),
        (lambda: bp.Hash[u32, float](10), "not a type"),
        (lambda: bp.Hash[u32, u64](0), "the size is"),
        (lambda: bp.Hash[u32, u64]("many"), "the size is"),
        (lambda: bp.Hash[u32, u64](2**32), "the size is"),
        (lambda: bp.Hash[u32, u64](1, name="two words"), "identifier"),
        (lambda: bp.RingBuf[Record](5000), "use 8192"),
        (lambda: bp.RingBuf[Record](64), "use 4096"),
        (lambda: bp.RingBuf[u64](4096), "records are structs"),
        (lambda: bp.StackTrace(1, depth=128), "depth"),
        (lambda: bp.Const[float](1), "not a type"),
        (lambda: bp.tracepoint("sched_switch"), "not group:event"),
        (lambda: bp.tracepoint("a:b:c"), "not group:event"),
        (lambda: bp.tracepoint(lambda args: 0), "needs the tracepoint"),
        (lambda: bp.tp_btf("sched:sched_switch"), "drop the group"),
        (lambda: bp.raw_tracepoint(""), "is a name"),
        (lambda: bp.perf_event(freq=1, period=2), "not both"),
        (lambda: bp.perf_event(freq=-1), "positive"),
        (lambda: bp.uprobe("libc", "mal loc"), "function is a name"),
        (lambda: bp.uprobe("libc", "malloc", offset=-1), "offset"),
        (lambda: bp.uprobe("libc", "malloc", pid=0), "process id"),
        (lambda: bp.tracepoint("a:b")(5), "stands on a function"),
    ],
)
def test_bad_declarations(declare, words: str) -> None:
    with pytest.raises(CompileError) as e:
        declare()
    import re

    assert re.search(words, str(e.value)), str(e.value)
    assert e.value.file == __file__
    assert e.value.source


class FakeMap(dict):
    fd = 7

    def to_numpy(self) -> str:
        return "columns"


def test_map_is_the_live_one_while_attached() -> None:
    m = bp.Hash[u32, u64](8)
    for use in (lambda: m[1], lambda: len(m), lambda: list(m), lambda: m.to_numpy(), lambda: 1 in m):
        with pytest.raises(bp.NotAttached, match=r"bp\.attach"):
            use()
    with pytest.raises(bp.NotAttached):
        m[1] = 2
    assert isinstance(bp.NotAttached(), ProbeeError)
    assert bool(m)
    assert not hasattr(m, "fd")
    m._live = FakeMap()
    m[1] = 2
    m[3] = 4
    del m[3]
    assert (m[1], len(m), list(m), 1 in m, m.get(9, 0), m.fd, m.to_numpy()) == (
        2,
        1,
        [1],
        True,
        0,
        7,
        "columns",
    )
    assert dict(m.items()) == {1: 2}
    m._live = None
    assert not hasattr(m, "fd")
    assert copy.copy(m).max_entries == 8


class FakeGlobals:
    total = 5


def test_const_and_global() -> None:
    c = bp.Const[u32](7)
    assert (c.value, int(c), bool(c), c.initial()) == (7, 7, True, None)
    assert [0, 1, 2][bp.Const[u32](1)] == 1
    c.value = 2**32 + 1
    assert c.value == 1
    assert c.initial() == b"\1\0\0\0"
    c.value = 7
    assert c.initial() is None
    text = bp.Const[bp.Char[4]]("")
    text.value = "hello"
    assert (text.value, text.initial()) == ("hell", b"hell")
    assert bp.Global[u64]().value == 0
    assert bp.Global[Record](Record(pid=3)).value == Record(pid=3)
    g = bp.Global[u64](1)
    g.name = "total"
    g._live = FakeGlobals()
    assert g.value == 5
    g.value += 1
    assert g._live.total == 6
    c._live = FakeGlobals()
    with pytest.raises(ProbeeError, match="fixed once loaded"):
        c.value = 3


@bp.tracepoint("sched:sched_switch")
def on_switch(args):
    """Doc."""
    return args + 1


@bp.perf_event(freq=49)
def sample(ctx):
    pass


class Group:
    @bp.uprobe("libc", "malloc", pid=7)
    def on_malloc(size):
        pass

    class Deeper:
        @bp.raw_tracepoint("sys_enter")
        def raw(regs, id):
            pass

    themselves = None


Group.themselves = Group


@bp.tp_btf("sched_switch")
@bp.tracepoint("sched:sched_waking")
def stacked(args):
    pass


def test_programs() -> None:
    assert on_switch(1) == 2
    assert (on_switch.kind, on_switch.args, on_switch.name) == (
        "tracepoint",
        ("sched", "sched_switch"),
        "on_switch",
    )
    assert on_switch.hook == "tracepoint sched:sched_switch"
    assert sample.args == ("cpu-clock", "freq", 49)
    assert bp.perf_event()(lambda ctx: 0).args == ("cpu-clock", "freq", 99)
    assert Group.on_malloc.pid == 7
    assert Group.on_malloc.args == ("libc", "malloc", 0)
    assert [p.kind for p in stacked.expand()] == ["tracepoint", "tp_btf"]
    assert [p.name for p in stacked.expand()] == ["stacked", "stacked_2"]
    assert stacked.fn is stacked.under.fn


def test_programs_of_a_module() -> None:
    found = decl.programs_in(globals())
    assert found == [on_switch, sample, Group.on_malloc, Group.Deeper.raw, stacked]


def test_names_of_the_package() -> None:
    for name in bp.__all__:
        if name not in ("attach", "Session"):
            assert getattr(bp, name) is not None, name
    assert bp.ktime_get_ns.id == 5
    assert bp.ktime_get_ns is bp.ktime_get_ns
    with pytest.raises(AttributeError, match="no attribute 'ktime_get_nss'"):
        bp.ktime_get_nss  # noqa: B018
    with pytest.raises(ProbeeError, match="only inside a program"):
        bp.pid()
    assert "u8" in dir(bp)
    assert u8 is decl.u8


HEAVY = (
    "typing dataclasses inspect enum re functools collections pathlib logging subprocess numpy llvmlite ast "
    "argparse json"
)


def test_import_stays_light() -> None:
    """What every start pays for: nothing heavy may come with the declarations or the cache key."""
    text = (
        "import sys; import probee as bp\n"
        "assert not [m for m in sys.modules if m.startswith('probee.')], 'import probee alone loads a room'\n"
        "from probee import u32, Char, Hash, Struct, comm, ktime_get_ns\n"
        "import probee.lang.cachekey\n"
        f"print(*[m for m in {HEAVY.split()!r} if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{text}"],
        capture_output=True,
        text=True,
    )
    assert run.stdout == "\n", run.stdout + run.stderr
