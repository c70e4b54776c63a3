"""CO-RE records against clang's: the same accesses to the same partial struct give the same records."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from probee.lang import ir, llvm
from probee.lang.builder import Builder
from probee.lang.types import (
    I32,
    U32,
    U64,
    VOID,
    Array,
    Chars,
    EnumInt,
    Int,
    Member,
    Ptr,
    Space,
    Struct,
)
from probee.obj import ObjectSpec, read_object

CLANG = next((c for c in ("clang-22", "clang-19", "clang") if shutil.which(c)), None)
pytestmark = pytest.mark.skipif(CLANG is None, reason="needs clang to compare with")

SOURCE = """
typedef unsigned int u32; typedef unsigned long long u64;
enum state { RUNNING, SLEEPING };
enum wide { WIDE = 0x1234567890ULL };
struct mm { u64 start; } __attribute__((preserve_access_index));
struct inner { u64 count; u64 delay; } __attribute__((preserve_access_index));
struct task {
    int pid;
    u32 plain : 3, flag : 2;
    union { int narrow; long long wide; };
    enum state state;
    struct task *parent;
    struct mm *mm;
    char comm[16];
    struct inner inner;
    u32 slots[8];
} __attribute__((preserve_access_index));
u64 sink;
static void *(*current)(void) = (void *)158;
static long (*probe_read_kernel)(void *, u32, const void *) = (void *)113;
#define E(p) __builtin_preserve_access_index(p)
__attribute__((section("tp/x/y"), used)) int prog(void *ctx)
{
    struct task *t = current();
    u64 s = t->parent->parent->pid + t->narrow + t->wide + t->state + t->mm->start;
    s += t->comm[5] + t->inner.delay + t->slots[3];
    int value;
    probe_read_kernel(&value, 4, E(&t->parent->slots[2]));
    s += value;
    s += __builtin_preserve_field_info(t->comm, 2) + __builtin_preserve_field_info(t->pid, 0);
    s += __builtin_preserve_field_info(t->inner, 1) + __builtin_preserve_field_info(t->flag, 4);
    s += __builtin_preserve_field_info(t->flag, 5) + __builtin_preserve_field_info(t->pid, 3);
    s += __builtin_preserve_type_info(*(struct task *)0, 0);
    s += __builtin_preserve_type_info(*(struct mm *)0, 1);
    s += __builtin_preserve_enum_value(*(enum state *)SLEEPING, 0);
    s += __builtin_preserve_enum_value(*(enum state *)SLEEPING, 1);
    s += __builtin_preserve_enum_value(*(enum wide *)WIDE, 1);
    sink = s;
    return 0;
}
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""


def by_clang(tmp_path: Path) -> ObjectSpec:
    assert CLANG
    source, made = tmp_path / "core.c", tmp_path / "core.o"
    source.write_text(SOURCE)
    command = [CLANG, "-target", "bpf", "-mcpu=v3", "-g", "-O2", "-c", str(source), "-o", str(made)]
    subprocess.run(command, check=True)
    return read_object(made.read_bytes(), "core")


def by_us() -> ObjectSpec:
    union = Struct("", 8, (Member("narrow", I32, 0), Member("wide", Int(64, True), 0)), union=True, core=True)
    mm = Struct("mm", 8, (Member("start", U64, 0),), core=True)
    inner = Struct("inner", 16, (Member("count", U64, 0), Member("delay", U64, 64)), core=True)
    task: Struct = Struct(
        "task",
        104,
        lambda: (
            Member("pid", I32, 0),
            Member("plain", U32, 32, 3),
            Member("flag", U32, 35, 2),
            Member("", union, 64),
            Member("state", EnumInt("state", 32, False), 128),
            Member("parent", Ptr(task, Space.KERNEL), 192),
            Member("mm", Ptr(mm, Space.KERNEL), 256),
            Member("comm", Chars(16), 320),
            Member("inner", inner, 448),
            Member("slots", Array(U32, 8), 576),
        ),
        core=True,
    )
    m = ir.Module()
    sink = ir.GlobalVar("sink", U64, bytes(8), const=False)
    m.globals.append(sink)
    param = ir.Param(0, "ctx", Ptr(VOID, Space.CONTEXT))
    fn = ir.Function("prog", [param], I32, section="tp/x/y", file=__file__, line=1)
    m.functions.append(fn)
    b = Builder(fn)
    t = b.helper("get_current_task_btf", type=Ptr(task, Space.TRUSTED))
    total: ir.Value = b.const(0)

    def at(ptr: ir.Value, name: str) -> ir.Value:
        place = b.field(ptr, name)
        assert place is not None
        return place

    def info(kind: str, name: str) -> ir.Value:
        place = at(t, name)
        assert isinstance(place, ir.FieldAddr)
        return b.field_info(kind, place)

    parent = b.read(at(t, "parent"))
    values = [b.read(at(b.read(at(parent, "parent")), "pid"))]
    values += [b.read(at(t, name)) for name in ("narrow", "wide", "state")]
    values += [b.read(at(b.read(at(t, "mm")), "start")), b.read(b.index(at(t, "comm"), 5))]
    values += [b.read(at(at(t, "inner"), "delay")), b.read(b.index(at(t, "slots"), 3))]
    far = b.recast(b.read(at(t, "parent")), Ptr(task, Space.KERNEL))
    values += [b.read(b.index(at(far, "slots"), 2))]
    values += [info("exists", "comm"), info("byte_offset", "pid"), info("byte_size", "inner")]
    values += [info("lshift_u64", "flag"), info("rshift_u64", "flag"), info("signed", "pid")]
    values += [b.type_info("exists", task), b.type_info("size", mm)]
    values += [b.enum_info("exists", "state", "SLEEPING", 1), b.enum_info("value", "state", "SLEEPING", 1)]
    values += [b.enum_info("value", "wide", "WIDE", 0x1234567890)]
    for value in values:
        total = b.arith("+", total, value)
    b.write(ir.GlobalRef(sink), total)
    b.ret()
    return read_object(llvm.emit(m), "core")


def records(spec: ObjectSpec) -> list[tuple[str, str, int]]:
    """Each record with its access in words, since the two structs need not list the same members."""
    btf = spec.btf
    assert btf is not None
    assert spec.btf_ext is not None
    out = []
    for rows in spec.btf_ext.core.values():
        for r in rows:
            t = btf.type(btf.strip(r.type_id))
            steps = [int(x) for x in r.access_str.split(":")]
            words = []
            if r.kind < 6:
                for i in steps[1:]:
                    if t.kind == 3:
                        words.append(str(i))
                        t = btf.type(btf.strip(t.array[0]))
                    else:
                        words.append(t.members[i].name)
                        t = btf.type(btf.strip(t.members[i].type))
            elif r.kind >= 10:
                words.append(t.enumerators[steps[0]][0])
            out.append((btf.type(btf.strip(r.type_id)).name, ".".join(words), r.kind))
    return sorted(set(out))  # how often a load is repeated is the optimiser's business


def test_same_records(tmp_path: Path) -> None:
    ours, theirs = records(by_us()), records(by_clang(tmp_path))
    assert ours == theirs
    assert len(ours) == 21


def test_same_layout_of_used_members(tmp_path: Path) -> None:
    """Kinds and offsets of the members both know: what the loader compares with the kernel's."""
    layouts = []
    for spec in (by_us(), by_clang(tmp_path)):
        btf = spec.btf
        assert btf is not None
        (id,) = btf.find_all("task", 4)
        members = btf.type(id).members
        kinds = {m.name: (m.bit_offset, m.bit_size, btf.type(btf.strip(m.type)).kind) for m in members}
        layouts.append((btf.type(id).size, kinds))
    (our_size, ours), (their_size, theirs) = layouts
    assert our_size == their_size
    assert ours.items() <= theirs.items()
    assert set(theirs) - set(ours) == {"plain"}
