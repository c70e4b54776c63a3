"""Small IR modules made by hand, and objects of them."""

from __future__ import annotations

from collections.abc import Callable

from probee.lang import ir, llvm
from probee.lang.builder import Builder
from probee.lang.types import (
    I32,
    I64,
    U32,
    U64,
    VOID,
    Array,
    Chars,
    EnumInt,
    Member,
    Ptr,
    Space,
    Struct,
)
from probee.obj import ObjectSpec, read_object

CONTEXT = Ptr(VOID, Space.CONTEXT)


def program(
    section: str = "tp/sched/sched_process_exec", name: str = "prog", **options: object
) -> ir.Function:
    options = {"file": __file__, "line": 1, **options}
    return ir.Function(name, [ir.Param(0, "ctx", CONTEXT)], I32, section=section, **options)  # type: ignore[arg-type]


def module(body: Callable[[Builder, ir.Module], None], **options: object) -> ir.Module:
    """A module of one program, filled by `body`."""
    out = ir.Module()
    fn = program(**options)  # type: ignore[arg-type]
    out.functions.append(fn)
    builder = Builder(fn)
    builder.loc = ir.Loc(2, 0)
    body(builder, out)
    if not builder.ended:
        builder.ret()
    return out


def build(body: Callable[[Builder, ir.Module], None], **options: object) -> ObjectSpec:
    return read_object(llvm.emit(module(body, **options)), "sample")


def task_struct() -> Struct:
    """A kernel struct with a pointer to itself, an anonymous union, a bitfield, an enum, and more."""
    union = Struct("", 8, (Member("narrow", I32, 0), Member("wide", I64, 0)), union=True, core=True)
    inner = Struct("sched_info", 32, (Member("pcount", U64, 0), Member("run_delay", U64, 64)), core=True)
    mm = Struct("mm_struct", 256, (Member("arg_start", U64, 64),), core=True)
    task: Struct = Struct(
        "task_struct",
        4096,
        lambda: (
            Member("first", U64, 0),
            Member("flag", U32, 67, 2),
            Member("", union, 128),
            Member("state", EnumInt("task_state", 32, False), 192),
            Member("pid", I32, 256),
            Member("tgid", I32, 288),
            Member("real_parent", Ptr(task, Space.KERNEL), 320),
            Member("mm", Ptr(mm, Space.KERNEL), 384),
            Member("comm", Chars(16), 448),
            Member("sched_info", inner, 576),
            Member("slots", Array(U32, 8), 832),
            Member("last", U64, 2048),
        ),
        core=True,
    )
    return task


def current(b: Builder, task: Struct) -> ir.Value:
    return b.helper("get_current_task_btf", type=Ptr(task, Space.TRUSTED))


def at(b: Builder, ptr: ir.Value, *names: str) -> ir.Value:
    """The address at the end of a chain of fields."""
    for name in names[:-1]:
        ptr = b.read(at(b, ptr, name))
    place = b.field(ptr, names[-1])
    assert place is not None
    return place


def sink(m: ir.Module, name: str = "sink") -> ir.GlobalRef:
    """A global that takes results, so that what they are made of stays."""
    for var in m.globals:
        if var.name == name:
            return ir.GlobalRef(var)
    m.globals.append(ir.GlobalVar(name, U64, bytes(8), const=False))
    return ir.GlobalRef(m.globals[-1])


def core(spec: ObjectSpec) -> list[tuple[str, str, int]]:
    """The CO-RE records: type, access, kind."""
    assert spec.btf is not None
    assert spec.btf_ext is not None
    return [
        (spec.btf.type(r.type_id).name, r.access_str, r.kind) for rs in spec.btf_ext.core.values() for r in rs
    ]


def hash_map(name: str = "counts", **options: int) -> ir.Map:
    return ir.Map(name, 1, U32, U64, 1024, **options)
