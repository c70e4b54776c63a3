"""What only a module has: its functions, hooks and structs, from its split BTF."""

from __future__ import annotations

import pytest

import lang_module
from probee import lang
from probee.btf import Btf
from probee.btf.build import BtfBuilder
from probee.btf.choose import choose
from probee.btf.kinds import FUNC, INT, STRUCT
from probee.errors import CompileError
from probee.lang.ktypes import KernelTypes
from probee.obj import read_object

MODULE = """
import probee as bp
from probee import u64, i32

total = bp.Global[u64](0)

class Args(bp.Struct):
    a: u64

@bp.syscall
def called(args: Args):
    args.a = bp.kfunc.thing_add(i32(args.a), 3)
    return bp.kernel_type_exists("thing")

@bp.fentry("thing_open")
def hooked(self, flags):
    total.value = self.size + flags + self.owner.pid

@bp.tp_btf("thing_read")
def traced(task, thing):
    total.value = thing.size + task.pid

@bp.syscall
def cast(args: Args):
    total.value = bp.cast("thing", args.a).size
"""


@pytest.fixture(scope="module")
def kernel():
    """A kernel's BTF, and that of a module made for it."""
    base, _ = choose("shipped")
    b = BtfBuilder(base)
    task = base.find("task_struct", STRUCT)
    number = base.find("int", INT)
    thing = b.struct("thing", 16, [("size", number, 0), ("owner", b.ptr(task), 64)])
    to_thing, to_task = b.ptr(thing), b.ptr(task)
    add = b.func("thing_add", b.func_proto(number, [("a", number), ("b", number)]))
    b.decl_tag("bpf_kfunc", add)
    b.func("thing_open", b.func_proto(number, [("self", to_thing), ("flags", number)]))
    b.func("thing_shut", b.func_proto(number, []))
    proto = b.func_proto(0, [("__data", b.ptr(0)), ("task", to_task), ("thing", to_thing)])
    b.typedef("btf_trace_thing_read", b.ptr(proto))
    return base, Btf.parse(b.build(), base)


def types(kernel, modules=True):
    base, module = kernel
    usual = KernelTypes.usual("shipped")
    return KernelTypes(
        base, arch="x86_64", formats=usual._formats, events=usual._events, modules=[module] if modules else ()
    )


def test_programs_use_what_a_module_has(kernel, tmp_path):
    made = lang_module.make(MODULE, tmp_path)
    data = lang.compile([made.called, made.hooked, made.traced, made.cast], ktypes=types(kernel))
    spec = read_object(data, "m")
    assert list(spec.externs) == ["thing_add"]
    proto = spec.btf.type(spec.btf.type(spec.btf.find("thing_add", FUNC)).type)
    assert [spec.btf.type(type).name for _, type in proto.params] == ["int", "int"]
    assert {"called", "hooked", "traced", "cast"} == set(spec.programs)
    thing = spec.btf.type(spec.btf.find("thing", STRUCT))
    assert {m.name for m in thing.members} == {"size", "owner"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("called", "this kernel has no kernel function thing_add"),
        ("hooked", "this kernel's BTF has no function thing_open"),
        ("traced", "this kernel has no raw tracepoint thing_read"),
        ("cast", "this kernel has no struct thing"),
    ],
)
def test_without_the_module_they_are_missing(kernel, tmp_path, name, message):
    made = lang_module.make(MODULE, tmp_path)
    with pytest.raises(CompileError, match=message):
        lang.compile([getattr(made, name)], ktypes=types(kernel, modules=False))


def test_a_function_of_a_module_that_programs_can_not_call(kernel, tmp_path):
    made = lang_module.make(MODULE.replace("thing_add(i32(args.a), 3)", "thing_shut()"), tmp_path)
    with pytest.raises(CompileError, match="a function that programs can't call: thing_shut"):
        lang.compile([made.called], ktypes=types(kernel))
