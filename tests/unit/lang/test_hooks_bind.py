"""Hooks: sections, parameters, and where each attribute is read from, by architecture."""

from __future__ import annotations

import pytest

import probee as bp
from probee.btf import Btf
from probee.btf.build import BtfBuilder
from probee.errors import CompileError
from probee.lang import decl, hooks, ir, types
from probee.lang.builder import Builder
from probee.lang.ktypes import KernelTypes
from probee.lang.types import Ptr, Space
from probee.sys.tracefs import Field, parse_format

HEAD = "\n	field:int common_pid;	offset:4;	size:4;	signed:1;\n"
FORMATS = {
    "sched:sched_switch": f"""{HEAD}
	field:char prev_comm[16];	offset:8;	size:16;	signed:0;
	field:int prev_pid;	offset:24;	size:4;	signed:1;
	field:__data_loc char[] path;	offset:28;	size:4;	signed:0;
	field:__rel_loc char[] other;	offset:32;	size:4;	signed:0;
""",
    "syscalls:sys_enter_openat": f"""{HEAD}
	field:int __syscall_nr;	offset:8;	size:4;	signed:1;
	field:int dfd;	offset:16;	size:8;	signed:0;
	field:const char * filename;	offset:24;	size:8;	signed:0;
	field:int flags;	offset:32;	size:8;	signed:0;
	field:unsigned long mode;	offset:40;	size:8;	signed:0;
""",
    "syscalls:sys_exit_openat": f"""{HEAD}
	field:int __syscall_nr;	offset:8;	size:4;	signed:1;
	field:long ret;	offset:16;	size:8;	signed:1;
""",
    "syscalls:sys_enter_newstat": f"""{HEAD}
	field:int __syscall_nr;	offset:8;	size:4;	signed:1;
	field:const char * filename;	offset:16;	size:8;	signed:0;
""",
    "syscalls:sys_enter_unheard_of": HEAD,
}
X86 = [
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di"),
    *("orig_ax", "ip", "cs", "flags", "sp", "ss"),
]


def kernel(arch: str, *, raw: bool = True) -> Btf:
    b = BtfBuilder()
    long, u32, i32 = b.int_("unsigned long", 8), b.int_("unsigned int", 4), b.int_("int", 4, 1)
    char, signed = b.int_("char", 1, 1), b.int_("long", 8, 1)
    if arch == "x86_64":
        b.struct("pt_regs", 168, [(name, long, i * 64) for i, name in enumerate(X86)])
        info = b.struct("thread_info", 24, [("flags", long, 0), ("status", u32, 128)])
    else:
        user = b.struct("user_pt_regs", 272, [("regs", b.array(long, 31), 0), ("sp", long, 31 * 64)])
        inner = b.struct(
            "", 272, [("regs", b.array(long, 31), 0), ("sp", long, 31 * 64), ("pc", long, 32 * 64)]
        )
        either = b.union("", 272, [("user_regs", user, 0), ("", inner, 0)])
        b.struct("pt_regs", 336, [("", either, 0), ("orig_x0", long, 272 * 8), ("syscallno", i32, 280 * 8)])
        info = b.struct("thread_info", 24, [("flags", long, 0)])
    task = b.struct("task_struct", 64, [("thread_info", info, 0), ("pid", i32, 256)])
    entry = b.struct("trace_entry", 8, [("pid", i32, 32)])
    fields = [("ent", entry, 0), ("prev_comm", b.array(char, 16), 64), ("prev_pid", i32, 192)]
    b.struct(
        "trace_event_raw_sched_switch",
        36,
        [*fields, ("__data_loc_path", u32, 224), ("__rel_loc_other", u32, 256)],
    )
    args = b.array(long, 6)
    b.struct("trace_event_raw_sys_enter", 64, [("ent", entry, 0), ("id", signed, 64), ("args", args, 128)])
    b.struct("trace_event_raw_sys_exit", 24, [("ent", entry, 0), ("id", signed, 64), ("ret", signed, 128)])
    proto = b.func_proto(0, [("", b.ptr(0)), ("", i32), ("", b.ptr(task)), ("", b.ptr(char))])
    for name in ("sched_switch", *(("sys_enter", "sys_exit") if raw else ())):
        b.typedef(f"btf_trace_{name}", b.ptr(proto))
    return b.btf()


def formats(group: str, event: str) -> list[Field]:
    try:
        return parse_format(FORMATS[f"{group}:{event}"])
    except KeyError:
        raise FileNotFoundError(event) from None


def ktypes(arch: str = "x86_64", **kwargs: bool) -> KernelTypes:
    known = "x86_64" if arch == "x86_64" else "aarch64"
    return KernelTypes(kernel(known, **kwargs), arch=arch, formats=formats, events=lambda: list(FORMATS))


class Bound:
    """A program's hook, bound to its parameters in a function of its own."""

    def __init__(
        self, p: decl.ProgramDecl, k: KernelTypes, merge: bool = True, **annotated: decl.ScalarType
    ) -> None:
        self.hook = hooks.Hook.for_program(p, k, merge)
        self.fn = ir.Function(p.name, self.hook.params(), self.hook.ret, section=self.hook.section)
        self.b = Builder(self.fn)
        names = p.code.co_varnames[: p.code.co_argcount]
        self.values = self.hook.bind(self.b, self.fn.params, names, annotated)

    def attr(self, name: str) -> ir.Value:
        (obj,) = self.values.values()
        assert isinstance(obj, hooks.ContextObject)
        return obj.attr(self.b, name)


def shown(v: ir.Value) -> str:
    """A value as text: where it comes from."""
    if isinstance(v, ir.Param):
        return v.name
    if isinstance(v, ir.Const):
        return str(v.value)
    if isinstance(v, ir.FieldAddr):
        name = v.struct.members[v.index].name
        return f"{shown(v.base)}.{name}" if name else shown(v.base)
    if isinstance(v, ir.ElemAddr):
        return f"{shown(v.base)}[{shown(v.index)}]"
    if isinstance(v, ir.Load):
        return f"*{shown(v.ptr)}"
    if isinstance(v, ir.Cast):
        return f"{v.type!r}({shown(v.value)})"
    if isinstance(v, ir.Recast):
        to = v.type.space.name if isinstance(v.type, Ptr) else repr(v.type)
        return f"<{to}>{shown(v.value)}"
    if isinstance(v, ir.Offset):
        return f"{shown(v.base)} + {shown(v.bytes)}"
    if isinstance(v, ir.Binary):
        return f"({shown(v.a)} {v.op} {shown(v.b)})"
    raise AssertionError(type(v))


@bp.tracepoint("sched:sched_switch")
def on_switch(args):
    pass


@bp.tracepoint("syscalls:sys_enter_openat")
def on_open(args):
    pass


@bp.tracepoint("syscalls:sys_exit_openat")
def on_opened(args):
    pass


def test_record_of_a_tracepoint() -> None:
    p = Bound(on_switch, ktypes())
    assert p.hook.section == "tp/sched/sched_switch"
    assert [(x.name, x.type) for x in p.hook.params()] == [("ctx", Ptr(p.hook.tp.struct, Space.CONTEXT))]
    assert shown(p.attr("prev_pid")) == "i64(*ctx.prev_pid)"
    text = p.attr("prev_comm")
    assert shown(text) == "<KERNEL>ctx.prev_comm"
    assert text.type == Ptr(types.Chars(16), Space.KERNEL)
    path = p.attr("path")
    assert shown(path) == "<KERNEL>ctx + (u64(*ctx.__data_loc_path) and 65535)"
    assert path.type == Ptr(types.Chars(0), Space.KERNEL)
    assert shown(p.attr("other")) == (
        "<KERNEL>ctx.__rel_loc_other + ((u64(*ctx.__rel_loc_other) and 65535) add 4)"
    )


def test_unknown_and_hidden_fields() -> None:
    p = Bound(on_switch, ktypes())
    for name, advice in (
        ("prev_pidd", "did you mean prev_pid?"),
        ("zzz", "it has prev_comm, prev_pid, path, other"),
        ("common_pid", r"bp\.tid\(\)"),
    ):
        with pytest.raises(CompileError, match=f"sched:sched_switch has no field {name}") as e:
            p.attr(name)
        import re

        assert re.search(advice.replace("?", r"\?"), e.value.advice)


def test_system_call_on_its_own() -> None:
    p = Bound(on_open, ktypes(), merge=False)
    assert p.hook.section == "tp/syscalls/sys_enter_openat"
    assert shown(p.attr("dfd")) == "i64(i32(*ctx.args[0]))"
    assert shown(p.attr("filename")) == "<USER>*ctx.args[1]"
    assert shown(p.attr("mode")) == "*ctx.args[3]"
    assert shown(p.attr("__syscall_nr")) == "i64(*<CONTEXT>ctx.id)"
    back = Bound(on_opened, ktypes(), merge=False)
    assert shown(back.attr("ret")) == "*ctx.ret"


def test_merged_system_call_on_x86() -> None:
    p = Bound(on_open, ktypes())
    assert p.hook.section == ""
    assert p.hook.params()[0].type.space is Space.TRUSTED
    assert shown(p.attr("dfd")) == "i64(i32(*regs.di))"
    assert shown(p.attr("filename")) == "<USER>*regs.si"
    assert shown(p.attr("flags")) == "i64(i32(*regs.dx))"
    assert shown(p.attr("mode")) == "*regs.r10"
    assert shown(p.attr("__syscall_nr")) == "257"
    back = Bound(on_opened, ktypes())
    assert shown(back.attr("ret")) == "ret"
    with pytest.raises(CompileError, match="no field rett"):
        back.attr("rett")


def test_merged_system_call_on_arm() -> None:
    p = Bound(on_open, ktypes("aarch64"))
    assert shown(p.attr("dfd")) == "i64(i32(*regs.orig_x0))"
    assert shown(p.attr("filename")) == "<USER>*regs.regs[1]"
    assert shown(p.attr("__syscall_nr")) == "56"


def test_what_cannot_be_merged_stays_a_tracepoint() -> None:
    @bp.tracepoint("syscalls:sys_enter_unheard_of")
    def unknown(args):
        pass

    assert hooks.Hook.for_program(unknown, ktypes()).section == "tp/syscalls/sys_enter_unheard_of"
    for k in (ktypes(raw=False), ktypes("riscv64")):
        assert hooks.Hook.for_program(on_open, k).section == "tp/syscalls/sys_enter_openat"

    @bp.tracepoint("syscalls:sys_enter_newstat")  # the kernel's name of stat
    def stat(args):
        pass

    hook = hooks.Hook.for_program(stat, ktypes())
    assert isinstance(hook, hooks.SyscallHook)
    assert hook.nr == 4


@pytest.mark.parametrize(
    ("arch", "number", "compat"), [("x86_64", "orig_ax", "status"), ("aarch64", "syscallno", "flags")]
)
def test_dispatchers(arch: str, number: str, compat: str) -> None:
    k = ktypes(arch)
    module = ir.Module()
    made = []
    for p in (on_open, on_opened, on_open, on_switch):
        bound = Bound(p, k)
        made.append((bound.hook, bound.fn))
        module.functions.append(bound.fn)
    module.maps.append(ir.Map("syscalls_exit", 1, types.U32, types.U32, 1))
    enter, back = hooks.merge(module, made)
    assert module.functions[-2:] == [enter, back]
    assert (enter.name, enter.section) == ("syscalls_enter", "tp_btf/sys_enter")
    assert (back.name, back.section) == ("syscalls_exit_", "tp_btf/sys_exit")
    nr = {"x86_64": 257, "aarch64": 56}[arch]
    for fn, calls in ((enter, [made[0][1], made[2][1]]), (back, [made[1][1]])):
        ops = [op for block in fn.blocks for op in block.ops]
        (switch,) = [op for op in ops if isinstance(op, ir.Switch)]
        assert [value for value, _ in switch.cases] == [nr]
        assert switch.default is fn.blocks[-1]
        assert [op.fn for op in ops if isinstance(op, ir.Call)] == calls
        fields = [op.struct.members[op.index].name for op in ops if isinstance(op, ir.FieldAddr)]
        assert compat in fields
        assert (number in fields) == (fn is back)
        assert all(block.ended for block in fn.blocks)
    assert hooks.merge(module, made[3:]) == []


@pytest.mark.parametrize("kind", ["tp_btf", "raw_tracepoint"])
def test_raw_arguments(kind: str) -> None:
    @getattr(bp, kind)("sched_switch")
    def prog(flag, task, name):
        pass

    p = Bound(prog, ktypes())
    assert p.hook.section == ("tp_btf" if kind == "tp_btf" else "raw_tp") + "/sched_switch"
    assert shown(p.values["flag"]) == "i64(i32(*ctx[0]))"
    task = p.values["task"]
    space = Space.TRUSTED if kind == "tp_btf" else Space.KERNEL
    assert task.type == Ptr(p.hook.ktypes.struct("task_struct"), space)
    assert p.values["name"].type == Ptr(types.I8, Space.KERNEL)

    @getattr(bp, kind)("sched_switch")
    def fewer(flag):
        pass

    assert list(Bound(fewer, ktypes()).values) == ["flag"]

    @getattr(bp, kind)("sched_switch")
    def more(a, b, c, d):
        pass

    with pytest.raises(CompileError, match="gives 3 parameters, not 4") as e:
        Bound(more, ktypes())
    assert "struct task_struct *" in e.value.advice
    with pytest.raises(CompileError, match="the type of flag comes from"):
        Bound(fewer, ktypes(), flag=bp.u8)

    @getattr(bp, kind)("sched_swich")
    def nowhere():
        pass

    with pytest.raises(CompileError, match="no raw tracepoint"):
        Bound(nowhere, ktypes())


@pytest.mark.parametrize("p", [on_switch, on_open])
def test_one_parameter_or_none(p: decl.ProgramDecl) -> None:
    def two(a, b):
        pass

    def none():
        pass

    wrong = decl.ProgramDecl(two, p.kind, p.args)
    with pytest.raises(CompileError, match="gives 1 parameter, not 2"):
        Bound(wrong, ktypes())
    assert Bound(decl.ProgramDecl(none, p.kind, p.args), ktypes()).values == {}


def test_perf_event() -> None:
    @bp.perf_event(freq=49)
    def sample(ctx):
        pass

    for arch, places in (
        ("x86_64", {"ip": 128, "sp": 152, "sample_period": 168, "addr": 176}),
        ("aarch64", {"sp": 248, "ip": 256, "sample_period": 272, "addr": 280}),
    ):
        p = Bound(sample, ktypes(arch))
        struct = p.fn.params[0].type.to
        assert {m.name: m.bit_offset // 8 for m in struct.members} == places
        assert not struct.core
        assert shown(p.attr("addr")) == "*ctx.addr"
    assert p.hook.section == "perf_event/cpu-clock:freq=49"
    with pytest.raises(CompileError, match="no field cpu"):
        p.attr("cpu")

    @bp.perf_event()
    def usual():
        pass

    assert Bound(usual, ktypes()).hook.section == "perf_event"

    @bp.perf_event(period=1000, event="page-faults")
    def faults():
        pass

    assert Bound(faults, ktypes()).hook.section == "perf_event/page-faults:period=1000"
    with pytest.raises(CompileError, match="not on riscv64"):
        Bound(sample, ktypes("riscv64"))


def test_uprobes() -> None:
    @bp.uprobe("/usr/bin/x", "main", offset=16)
    def entered(a, b, c, d, e, f):
        pass

    p = Bound(entered, ktypes(), b=bp.i8)
    assert p.hook.section == "uprobe//usr/bin/x:main+0x10"
    assert [shown(v) for v in p.values.values()] == [
        "*ctx.di",
        "i64(i8(*ctx.si))",
        "*ctx.dx",
        "*ctx.cx",
        "*ctx.r8",
        "*ctx.r9",
    ]
    offsets = {m.name: m.bit_offset // 8 for m in p.fn.params[0].type.to.members}
    assert (offsets["di"], offsets["si"], offsets["r9"], offsets["ax"]) == (112, 104, 64, 80)

    @bp.uprobe("libc", "f")
    def seven(a, b, c, d, e, f, g):
        pass

    with pytest.raises(CompileError, match="gives 6 parameters, not 7"):
        Bound(seven, ktypes())
    assert shown(Bound(seven, ktypes("aarch64")).values["g"]) == "*ctx.x6"

    @bp.uretprobe("libc", "malloc")
    def left(result):
        pass

    p = Bound(left, ktypes(), result=bp.i64)
    assert p.hook.section == "uretprobe/libc:malloc"
    assert shown(p.values["result"]) == "i64(*ctx.ax)"
    assert shown(Bound(left, ktypes("aarch64")).values["result"]) == "*ctx.x0"
