"""Objects with DWARF: names cost no instruction, and each variable can have memory of its own."""

from __future__ import annotations

import pytest

import probee as bp
from probee import Char, lang, u8, u32, u64
from probee.errors import CompileError
from probee.lang.decl import ProgramDecl, programs_in
from probee.obj import dwarf, read_object
from probee.tools import biolatency, execsnoop, opensnoop, runqlat, syscount, tcpstates


class Pair(bp.Struct):
    a: u32
    b: u32


class Large(bp.Struct):
    words: u64[40]


seen = bp.Hash[u32, Pair](16)
large = bp.RingBuf[Large](1 << 16)


def double(n):  # type: ignore[no-untyped-def]
    twice = n * 2
    return twice


@bp.raw_tracepoint("sched_switch")
def names(preempt, prev, next):  # type: ignore[no-untyped-def]
    pid = bp.pid()
    comm = bp.comm()
    found = seen.get(pid)
    total: u32 = 0
    small = u8(pid)
    for i in range(pid & 3):
        total += double(i) + prev.pid
    pair = Pair(a=small, b=total)
    if found is not None and comm == "x":
        found.a += 1
    word: Char[8] = "word"

    def inner():  # type: ignore[no-untyped-def]
        nonlocal total
        total += 1

    inner()
    flag = total > 3
    seen[pid] = pair
    print(word, flag)


@bp.raw_tracepoint("sched_switch")
def crowded(preempt, prev, next):  # type: ignore[no-untyped-def]
    one = Large()
    two = Large()
    one.words[bp.pid() & 7] = 1
    two.words[bp.pid() & 7] = one.words[2]
    large.output(two)


@bp.xdp
def packet(p):  # type: ignore[no-untyped-def]
    _eth, ip = p.read(bp.Ethernet, bp.IPv4, short=bp.XDP.PASS)
    if ip.version == 4 and ip.ttl > 3:
        ip.ttl -= 1
    return bp.XDP.PASS


MODULES = (biolatency, execsnoop, opensnoop, runqlat, syscount, tcpstates)


def code(data: bytes) -> list[bytes]:
    return list(read_object(data).code.values())


@pytest.mark.parametrize(
    "programs",
    [[names], [crowded], [packet], *(programs_in(vars(m)) for m in MODULES)],
    ids=["names", "crowded", "packet", *(m.__name__.rpartition(".")[2] for m in MODULES)],
)
def test_names_change_no_instruction(programs: list[ProgramDecl]) -> None:
    plain = lang.compile(programs)
    assert b"debug_info" not in plain
    named = lang.compile(programs, debug="names")
    assert code(plain) == code(named)
    a, b = read_object(plain), read_object(named)
    assert a.btf_ext is not None
    assert b.btf_ext is not None
    assert [(r.insn_off, r.access_str, r.kind) for s in a.btf_ext.core.values() for r in s] == [
        (r.insn_off, r.access_str, r.kind) for s in b.btf_ext.core.values() for r in s
    ]


def test_variables_of_a_program() -> None:
    spec = read_object(lang.compile([names], debug="slots"))
    found = dwarf.function(spec, "names", "names")
    assert found is not None
    function, _ = found
    kinds = {name: str(v.type) for name, v in function.variables(function.low).items()}
    assert kinds == {
        "preempt": "long long",
        "prev": "struct task_struct *",
        "next": "struct task_struct *",
        "pid": "unsigned long long",
        "comm": "char[16]",
        "found": "struct Pair *",
        "total": "unsigned int",
        "small": "unsigned long long",
        "i": "long long",
        "pair": "struct Pair *",
        "word": "char[8]",
        "flag": "long long",
    }
    assert all(v.lasting for v in function.variables(function.low).values())
    inner = dwarf.function(spec, "names", "inner")
    assert inner is not None
    assert str(inner[0].variables(inner[0].low)["total"].type) == "unsigned int"
    called = dwarf.function(spec, "names", "double")
    assert called is not None
    assert {"n", "twice"} <= called[0].variables(called[0].low).keys()


def test_large_variables_live_in_maps() -> None:
    spec = read_object(lang.compile([crowded], debug="slots"))
    found = dwarf.function(spec, "crowded", "crowded")
    assert found is not None
    assert {"one", "two"} <= found[0].variables(found[0].low).keys()


def test_programs_with_too_many_variables_are_refused() -> None:
    space: dict[str, object] = {}
    lines = [f"    v{n} = bp.ktime_get_ns()\n    out[0] = v{n}" for n in range(80)]
    text = "\n".join(["def many(a, b, c):", *lines])
    import linecache

    linecache.cache["<many>"] = (len(text), None, [x + "\n" for x in text.splitlines()], "<many>")
    space.update(bp=bp, out=bp.Array[u64](1))
    exec(compile(text, "<many>", "exec"), space)
    program = bp.raw_tracepoint("sched_switch")(space["many"])
    assert read_object(lang.compile([program])).programs
    with pytest.raises(CompileError, match="stack"):
        lang.compile([program], debug="slots")
