"""Arguments with BTF types: tracepoints, iterators, LSM hooks and struct_ops, on a BTF made here."""

from __future__ import annotations

from probee.btf import Btf, BtfBuilder
from probee.isa.tables import ATTACH_TYPES, PROG_TYPES
from probee.verifier.program import Program
from probee.verifier.typed_context import Target, argument_at, target_of, typed_access


def types() -> Btf:
    b = BtfBuilder()
    number = b.int_("int", 4, 1)
    char = b.int_("char", 1)
    task = b.struct("task_struct", 64, [("pid", number, 0)])
    task_p = b.ptr(task)
    text = b.ptr(b.const(char))
    pair = b.struct("pair", 16, [("a", b.int_("long", 8, 1), 0), ("b", number, 64)])
    proto = b.func_proto(0, [("__data", b.ptr(0)), ("task", task_p), ("n", number), ("name", text)])
    b.typedef("btf_trace_sched_test", b.ptr(proto))
    b.typedef("btf_trace_sched_pi_setprio", b.ptr(proto))
    nullable = b.func_proto(number, [("p", pair), ("task__nullable", task_p)])
    b.func("traced", nullable)
    b.func("bpf_lsm_file_open", b.func_proto(number, [("task", task_p)]))
    b.func("bpf_lsm_task_free", b.func_proto(0, [("task", task_p)]))
    b.func("bpf_iter_task", b.func_proto(number, [("meta", task_p), ("task", task_p)]))
    member = b.ptr(b.func_proto(number, [("task", task_p)]))
    b.struct("test_ops", 16, [("plain", number, 0), ("run", member, 64)])
    b.struct("bpf_struct_ops_test_ops", 8, [])
    b.func("test_ops__run", b.func_proto(number, [("task__nullable", task_p)]))
    return b.btf()


BTF = types()


def program(prog: str, attach: str, target: str = "", number: int = 0) -> Program:
    return Program(
        [], PROG_TYPES[prog][0], attach_type=ATTACH_TYPES[attach][0], target=target, attach_btf_id=number
    )


def resolved(made: Program) -> Target:
    target = target_of(made, BTF)
    assert isinstance(target, Target)
    return target


def read(made: Program, off: int, size: int = 8) -> str:
    found, words = typed_access(resolved(made), made, off, size)
    if found is None:
        return words or "refused"
    if found.kind == "scalar":
        return "scalar"
    return f"{'trusted ' if found.trusted else ''}{found.name}{'?' if found.maybe_null else ''}"


def test_tracepoints() -> None:
    made = program("tracing", "trace_raw_tp", "sched_test")
    assert read(made, 0) == "trusted task_struct"
    assert read(made, 8) == "scalar"
    assert read(made, 16) == "scalar"  # text is read with a helper
    assert read(made, 0, 4) == "func 'sched_test' size 4 must be 8"
    assert read(made, 24) == "func 'sched_test' doesn't have 4-th argument"
    assert read(made, 4, 4) == "func 'sched_test' offset 4 is not multiple of 8"
    assert read(made, 12) == "refused"


def test_the_list_of_tracepoints_with_null() -> None:
    made = program("tracing", "trace_raw_tp", "sched_pi_setprio")
    assert resolved(made).mark(1) == "null"
    assert read(made, 0) == "trusted task_struct"


def test_functions() -> None:
    entry = program("tracing", "trace_fentry", "traced")
    assert read(entry, 0) == "scalar"  # half of the pair
    assert read(entry, 16) == "task_struct?"
    assert argument_at(resolved(entry), 8) == 0
    assert read(entry, 24) == "func 'traced' doesn't have 3-th argument"
    assert read(program("tracing", "trace_fexit", "traced"), 24) == "scalar"


def test_lsm_hooks() -> None:
    made = program("lsm", "lsm_mac", "file_open")
    assert read(made, 0) == "trusted task_struct"
    found, _ = typed_access(resolved(made), made, 8, 8)
    assert found is not None
    assert found.retval
    assert read(program("lsm", "lsm_mac", "task_free"), 0) == "task_struct"
    assert resolved(program("lsm", "lsm_mac", "task_free")).void


def test_iterators() -> None:
    made = program("tracing", "trace_iter", "task")
    assert read(made, 0) == "trusted task_struct"
    assert read(made, 8) == "trusted task_struct?"


def test_struct_ops() -> None:
    made = Program([], PROG_TYPES["struct_ops"][0], target="test_ops.run")
    assert read(made, 0) == "trusted task_struct?"
    by_number = Program([], PROG_TYPES["struct_ops"][0], attach_type=1)
    by_number.attach_btf_id = BTF.find("test_ops", 4) or 0
    assert resolved(by_number).name == "run"
    by_number.attach_type = 0
    assert target_of(by_number, BTF) == "attach to invalid member plain(0) of struct test_ops"
    by_number.attach_type = 9
    assert target_of(by_number, BTF) == "attach to invalid member idx 9 of struct test_ops"


def test_what_is_not_there() -> None:
    assert (
        target_of(program("tracing", "trace_fentry", "nowhere"), BTF)
        == "Tracing programs must provide btf_id"
    )
    assert "is invalid" in str(target_of(program("tracing", "trace_fentry", number=9999), BTF))
    trace = BTF.find("btf_trace_sched_test", 8) or 0
    assert "is not a function" in str(target_of(program("tracing", "trace_fentry", number=trace), BTF))
    function = BTF.find("traced", 12) or 0
    assert "wrong type name traced" in str(
        target_of(program("tracing", "trace_raw_tp", number=function), BTF)
    )
    assert "wrong type name traced" in str(target_of(program("lsm", "lsm_mac", number=function), BTF))


def test_stores_are_refused() -> None:
    made = program("tracing", "trace_fentry", "traced")
    assert typed_access(resolved(made), made, 0, 8, write=True) == (None, "")
