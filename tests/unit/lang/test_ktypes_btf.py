"""Kernel types and tracepoints from BTF, on hand-made kernels and on the running one."""

from __future__ import annotations

import os

import pytest

from probee.btf import Btf, kernel_btf
from probee.btf.build import BtfBuilder
from probee.errors import CompileError, PermissionDenied
from probee.lang import ktypes, types
from probee.lang.ktypes import KernelTypes
from probee.sys.tracefs import Field, parse_format

SWITCH = """
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:char prev_comm[16];	offset:8;	size:16;	signed:0;
	field:pid_t prev_pid;	offset:24;	size:4;	signed:1;
	field:__data_loc char[] path;	offset:28;	size:4;	signed:0;
	field:__rel_loc u32[] stack;	offset:32;	size:4;	signed:0;
	field:void * skaddr;	offset:40;	size:8;	signed:0;
"""
ODD = """
	field:long when;	offset:8;	size:8;	signed:1;
	field:bool ok;	offset:16;	size:1;	signed:0;
	field:u8 raw[6];	offset:17;	size:6;	signed:0;
	field:const struct task_struct * who;	offset:24;	size:8;	signed:0;
	field:__data_loc char[] text;	offset:32;	size:4;	signed:0;
	field:struct odd thing;	offset:36;	size:12;	signed:0;
"""
OPENAT = """
	field:int __syscall_nr;	offset:8;	size:4;	signed:1;
	field:int dfd;	offset:16;	size:8;	signed:0;
	field:const char * filename;	offset:24;	size:8;	signed:0;
	field:size_t len;	offset:32;	size:8;	signed:0;
	field:struct task_struct * who;	offset:40;	size:8;	signed:0;
	field:const char *const * argv;	offset:48;	size:8;	signed:0;
	field:umode_t mode;	offset:56;	size:8;	signed:0;
"""
EXIT = """
	field:int __syscall_nr;	offset:8;	size:4;	signed:1;
	field:long ret;	offset:16;	size:8;	signed:1;
"""


def kernel() -> Btf:
    b = BtfBuilder()
    u32, i32 = b.int_("unsigned int", 4), b.int_("int", 4, 1)
    char, long, u8 = b.int_("char", 1, 1), b.int_("long", 8, 1), b.int_("unsigned char", 1)
    bool_, wide, u16 = b.int_("_Bool", 1, 4), b.int_("__int128", 16, 1), b.int_("unsigned short", 2)
    pid = b.typedef("pid_t", b.typedef("__kernel_pid_t", i32))
    b.typedef("u32", u32)
    b.typedef("size_t", b.int_("unsigned long", 8))
    b.typedef("umode_t", u16)
    state = b.enum("state", [("IDLE", 0), ("BUSY", 5)])
    signed = b.enum("signed_state", [("BAD", -1)])
    big = b.enum64("big_state", [("HUGE", 1 << 40)])
    comm = b.array(char, 16)
    anonymous = b.union("", 8, [("left", long, 0), ("right", u32, 0)])
    hidden = b.fwd("task_struct")
    flat = b.array(u8, 4)
    grid = b.array(b.array(i32, 2), 3)
    tail = b.array(char, 0)
    fn = b.ptr(b.func_proto(i32, [("", i32)]))
    hidden_ptr, void_ptr, user_ptr = b.ptr(hidden), b.ptr(0), b.ptr(b.type_tag("user", char))
    task = b.next_id + 2
    ptr = b.ptr(b.const(task))
    members = [
        ("pid", pid, 0),
        ("flag", u32, 32, 3),
        ("comm", comm, 64),
        ("", anonymous, 192),
        ("parent", ptr, 256),
        ("same", hidden_ptr, 320),
        ("anything", void_ptr, 384),
        ("text", user_ptr, 448),
        ("state", state, 512),
        ("signed", signed, 544),
        ("big", big, 576),
        ("wide", wide, 640),
        ("ok", bool_, 768),
        ("bytes", flat, 776),
        ("grid", grid, 832),
        ("tail", tail, 1024),
        ("fn", fn, 1088),
    ]
    assert b.struct("task_struct", 256, members) == task
    entry = b.struct("trace_entry", 8, [("type", u16, 0), ("pid", i32, 32)])
    data = b.array(char, 0)
    fields = [
        ("ent", entry, 0),
        ("prev_comm", comm, 64),
        ("prev_pid", i32, 192),
        ("__data_loc_path", u32, 224),
        ("__rel_loc_stack", u32, 256),
        ("skaddr", void_ptr, 320),
        ("__data", data, 384),
    ]
    b.struct("trace_event_raw_zz_template", 48, fields)
    b.struct("trace_event_raw_sched_template", 48, fields)
    b.struct("trace_event_raw_sched_switchover", 48, [f for f in fields if f[0] != "skaddr"])
    args = b.array(b.int_("long unsigned int", 8), 6)
    b.struct("trace_event_raw_sys_enter", 64, [("ent", entry, 0), ("id", long, 64), ("args", args, 128)])
    b.struct("trace_event_raw_sys_exit", 24, [("ent", entry, 0), ("id", long, 64), ("ret", long, 128)])
    task_ptr = b.ptr(task)
    proto = b.func_proto(0, [("", void_ptr), ("", bool_), ("", task_ptr)])
    b.typedef("btf_trace_sched_switch", b.ptr(proto))
    return b.btf()


FORMATS = {
    "sched:sched_switch": SWITCH,
    "odd:odd": ODD,
    "syscalls:sys_enter_openat": OPENAT,
    "syscalls:sys_exit_openat": EXIT,
}


def formats(group: str, event: str) -> list[Field]:
    if f"{group}:{event}" not in FORMATS:
        raise FileNotFoundError(event)
    return parse_format(FORMATS[f"{group}:{event}"])


def denied(*names: str) -> list[Field]:
    raise PermissionDenied("reading tracefs needs root")


def no_events() -> list[str]:
    raise PermissionDenied("reading tracefs needs root")


@pytest.fixture(scope="module")
def k() -> KernelTypes:
    return KernelTypes(kernel(), arch="x86_64", formats=formats, events=lambda: list(FORMATS))


@pytest.fixture(scope="module")
def blind() -> KernelTypes:
    return KernelTypes(kernel(), arch="x86_64", formats=denied, events=no_events)


def test_member_types(k: KernelTypes) -> None:
    task = k.struct("task_struct")
    assert task.core
    assert task is k.struct("struct task_struct") is k.find("task_struct")
    m = {m.name: m for m in task.members}
    assert m["pid"].type == types.I32
    assert (m["flag"].bit_offset, m["flag"].bit_size) == (32, 3)
    assert m["comm"].type == types.Chars(16)
    assert isinstance(m[""].type, types.Struct)
    assert m[""].type.union
    assert task.find("right") == (3, 1)
    for name in ("parent", "same"):  # through const, and through a forward declaration
        assert m[name].type == types.Ptr(task, types.Space.KERNEL)
    assert m["anything"].type == types.Ptr(types.VOID, types.Space.KERNEL)
    assert m["fn"].type == types.Ptr(types.VOID, types.Space.KERNEL)
    assert m["text"].type == types.Ptr(types.I8, types.Space.USER)
    assert m["state"].type == types.U32
    assert isinstance(m["state"].type, types.EnumInt)
    assert m["state"].type.name == "state"
    assert m["signed"].type == types.I32
    assert m["big"].type == types.U64
    assert m["wide"].type == types.Array(types.U64, 2)
    assert m["ok"].type == types.BOOL
    assert m["bytes"].type == types.Array(types.U8, 4)
    assert m["grid"].type == types.Array(types.Array(types.I32, 2), 3)
    assert m["tail"].type == types.Chars(0)


def test_names(k: KernelTypes) -> None:
    assert k.find("union task_struct") is None
    assert k.find("nothing") is None
    with pytest.raises(CompileError, match="no struct nothing"):
        k.struct("struct nothing")
    assert k.integer("pid_t") == types.I32
    assert k.integer("const unsigned long") == types.U64
    assert k.integer("enum state") == types.U32
    assert k.integer("task_struct") is None
    assert k.enum("state") == k.enum("enum state") == {"IDLE": 0, "BUSY": 5}
    assert k.enum("nothing") is None


def test_raw_parameters(k: KernelTypes) -> None:
    assert [t for _, t in k.raw_params("sched_switch")] == [
        types.BOOL,
        types.Ptr(k.struct("task_struct"), types.Space.KERNEL),
    ]
    assert k.has_raw("sched_switch")
    assert not k.has_raw("sched_switched")
    with pytest.raises(CompileError, match="no raw tracepoint sched_swich") as e:
        k.raw_params("sched_swich")
    assert "did you mean sched_switch?" in e.value.advice


def test_tracepoint_by_its_class(k: KernelTypes) -> None:
    tp = k.tracepoint("sched", "sched_switch")
    # two classes have these very fields; the one with the more similar name is it
    assert tp.struct.name == "trace_event_raw_sched_template"
    facts = {f.name: (f.how, f.path, f.type) for f in tp.fields.values()}
    assert facts == {
        "prev_comm": (ktypes.PLAIN, (1,), types.Chars(16)),
        "prev_pid": (ktypes.PLAIN, (2,), types.I32),
        "path": (ktypes.DATA_LOC, (3,), types.Chars(0)),
        "stack": (ktypes.REL_LOC, (4,), types.Array(types.U32, 0)),
        "skaddr": (ktypes.PLAIN, (5,), types.Ptr(types.VOID, types.Space.KERNEL)),
    }
    assert k.tracepoint("sched", "sched_switch") is tp


def test_tracepoint_without_a_struct(k: KernelTypes) -> None:
    tp = k.tracepoint("odd", "odd")
    assert not tp.struct.core
    facts = {
        f.name: (f.how, f.type, tp.struct.members[f.path[0]].bit_offset // 8) for f in tp.fields.values()
    }
    assert facts == {
        "when": (ktypes.PLAIN, types.I64, 8),
        "ok": (ktypes.PLAIN, types.BOOL, 16),
        "raw": (ktypes.PLAIN, types.Array(types.U8, 6), 17),
        "who": (ktypes.PLAIN, types.Ptr(k.struct("task_struct"), types.Space.KERNEL), 24),
        "text": (ktypes.DATA_LOC, types.Chars(0), 32),
        "thing": (ktypes.PLAIN, types.Array(types.U8, 12), 36),
    }


def test_unknown_tracepoint(k: KernelTypes, blind: KernelTypes) -> None:
    with pytest.raises(CompileError, match="no tracepoint sched:sched_swich") as e:
        k.tracepoint("sched", "sched_swich")
    assert "sched:sched_switch" in e.value.advice
    with pytest.raises(CompileError, match="can't find out the fields") as e:
        blind.tracepoint("sched", "sched_swich")
    assert "root" in e.value.advice


def test_without_tracefs(blind: KernelTypes) -> None:
    tp = blind.tracepoint("sched", "sched_template")
    assert list(tp.fields) == ["prev_comm", "prev_pid", "path", "stack", "skaddr"]
    assert tp.fields["path"].type == types.Chars(0)
    assert list(blind.tracepoint("syscalls", "sys_enter_openat").fields) == ["__syscall_nr", "args"]
    assert list(blind.tracepoint("syscalls", "sys_exit_openat").fields) == ["__syscall_nr", "ret"]


def test_system_calls(k: KernelTypes) -> None:
    tp = k.tracepoint("syscalls", "sys_enter_openat")
    assert tp.struct.name == "trace_event_raw_sys_enter"
    user = types.Space.USER
    assert [(f.name, f.index, f.type) for f in tp.fields.values()] == [
        ("__syscall_nr", 0, types.I32),
        ("dfd", 0, types.I32),
        ("filename", 1, types.Ptr(types.I8, user)),
        ("len", 2, types.U64),
        ("who", 3, types.Ptr(k.struct("task_struct"), user)),
        ("argv", 4, types.Ptr(types.U64, user)),
        ("mode", 5, types.U16),
    ]
    back = k.tracepoint("syscalls", "sys_exit_openat")
    assert back.fields["ret"].type == types.I64
    assert back.struct.name == "trace_event_raw_sys_exit"


@pytest.fixture(scope="module")
def live() -> KernelTypes:
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        pytest.skip("this kernel has no BTF (/sys/kernel/btf/vmlinux)")
    return KernelTypes(kernel_btf())


def test_running_kernel(live: KernelTypes) -> None:
    task = live.struct("task_struct")
    path = task.find("real_parent")
    assert path
    assert task.members[path[-1]].type == types.Ptr(task, types.Space.KERNEL)
    assert live.raw_params("sched_process_exec")[0][1] == types.Ptr(task, types.Space.KERNEL)
    with pytest.raises(CompileError, match="no raw tracepoint sched_process_exex") as e:
        live.raw_params("sched_process_exex")
    assert "sched_process_exec" in e.value.advice


def test_every_struct_can_be_made(live: KernelTypes) -> None:
    for name in (
        "sock",
        "file",
        "inode",
        "sk_buff",
        "request",
        "mm_struct",
        "bio",
        "net_device",
        "rq",
        "page",
    ):
        struct = live.struct(name)
        assert struct.members
        assert len(set(struct.names())) > 3


@pytest.mark.root
def test_tracepoints_of_the_running_kernel_match_their_btf(live: KernelTypes) -> None:
    expected = {
        "sched:sched_process_exec": "sched_process_exec",
        "sched:sched_wakeup": "sched_wakeup_template",
        "sched:sched_waking": "sched_wakeup_template",
        "irq:softirq_entry": "softirq",
        "sock:inet_sock_set_state": "inet_sock_set_state",
        "syscalls:sys_enter_openat": "sys_enter",
        "syscalls:sys_exit_openat": "sys_exit",
    }
    for name, struct in expected.items():
        tp = live.tracepoint(*name.split(":"))
        assert tp.struct.name == f"trace_event_raw_{struct}"
        assert tp.struct.core
    with pytest.raises(CompileError, match="no tracepoint") as e:
        live.tracepoint("sched", "sched_process_exek")
    assert "sched:sched_process_exec" in e.value.advice
    with pytest.raises(CompileError, match="no tracepoint") as e:
        live.tracepoint("scheduler", "sched_switch")
    assert "sched:sched_switch" in e.value.advice
