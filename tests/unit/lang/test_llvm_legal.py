"""What BPF cannot do is a CompileError at its place, before LLVM sees it."""

from __future__ import annotations

import ir_samples as s
import pytest

from probee import CompileError
from probee.lang import ir, legal
from probee.lang.builder import Builder
from probee.lang.types import I32, I64, U32, U64, Array, Chars, Int, Member, Ptr, Space, Struct


def refused(body, **options: object) -> CompileError:
    with pytest.raises(CompileError) as caught:
        legal.check(s.module(body, **options))
    return caught.value


def test_too_many_arguments() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        b.loc = ir.Loc(7, 3)
        b.emit(ir.Helper(6, "trace_printk", [b.const(i) for i in range(6)]))

    error = refused(body)
    assert (error.line, error.column) == (7, 3)
    assert "trace_printk() gets 6 arguments, BPF passes at most 5" in str(error)
    assert error.file == s.__file__


def test_too_many_parameters() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        fn = ir.Function("many", [ir.Param(i, f"p{i}", I64) for i in range(6)], I64, file="x.py", line=3)
        Builder(fn).ret()
        m.functions.append(fn)

    assert str(refused(body)).startswith("x.py:3:1: many() takes 6 arguments")


def test_stack() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        small, big = b.local("small", Array(U64, 20)), b.local("path", Chars(400))
        b.loc = ir.Loc(5, 1)
        b.zero(small)
        b.loc = ir.Loc(6, 2)
        b.zero(big)
        yes, no = b.new_block(), b.new_block()
        b.branch(b.helper("ktime_get_ns"), yes, no)
        b.at(yes)
        b.helper("get_current_comm", big, b.const(16))
        b.helper("get_current_comm", small, b.const(16))
        b.jump(no)
        b.at(no)

    error = refused(body)
    assert "need 560 bytes of stack, BPF has 512" in str(error)
    assert "path (Char[400])" in str(error)
    assert error.line == 6


def test_registers_are_not_stack() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        for i in range(200):
            local = b.local(f"v{i}", U64)
            b.write(local, b.helper("ktime_get_ns"))
            b.write(s.sink(m), b.read(local))

    legal.check(s.module(body))


def test_recursion() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        one = ir.Function("one", [], I64, file="x.py", line=1)
        two = ir.Function("two", [], I64, file="x.py", line=5)
        for fn, other in ((one, two), (two, one)):
            inside = Builder(fn)
            inside.ret(inside.call(other))
        m.functions += [one, two]
        b.call(one)

    assert "calls itself: one -> two -> one" in str(refused(body))


def test_depth() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        callee = None
        for i in range(9):
            fn = ir.Function(f"f{i}", [], I64)
            inside = Builder(fn)
            inside.ret(inside.call(callee) if callee else None)
            m.functions.append(fn)
            callee = fn
        assert callee is not None
        b.call(callee)

    assert "8 frames" in str(refused(body))


@pytest.mark.parametrize("name", ["été", "a b", "1st", ""])
def test_names(name: str) -> None:
    def body(b: Builder, m: ir.Module) -> None:
        m.maps.append(s.hash_map(name))

    assert "ASCII" in str(refused(body))
    assert "ASCII" in str(refused(lambda b, m: None, name=name))

    def field(b: Builder, m: ir.Module) -> None:
        m.maps.append(ir.Map("m", 1, U32, Struct("S", 8, (Member(name or "é", U64, 0),)), 1))

    assert "ASCII" in str(refused(field))


def test_one_name_for_two_things() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        m.maps.append(s.hash_map("prog"))

    assert "map prog has the name of function prog" in str(refused(body))


def test_wide_integers() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        b.emit(ir.Binary("add", ir.Const(Int(128, True), 1), ir.Const(Int(128, True), 2)))

    assert "over 64 bits" in str(refused(body))


def test_aggregates_in_registers() -> None:
    struct = Struct("Pair", 16, (Member("a", U64, 0), Member("b", U64, 64)))

    def body(b: Builder, m: ir.Module) -> None:
        b.emit(ir.Load(b.local("pair", struct)))

    assert "no value in a register" in str(refused(body))

    def result(b: Builder, m: ir.Module) -> None:
        fn = ir.Function("pair", [], struct)
        fn.blocks.append(ir.Block("entry"))
        m.functions.append(fn)

    assert "no argument or result" in str(refused(result))


@pytest.mark.parametrize("space", [Space.KERNEL, Space.USER, Space.TRUSTED])
def test_memory_that_is_not_the_programs(space: Space) -> None:
    def store(b: Builder, m: ir.Module) -> None:
        b.store(b.recast(b.helper("get_current_task"), Ptr(U64, space)), b.const(1, U64))

    assert "cannot write" in str(refused(store))

    def load(b: Builder, m: ir.Module) -> None:
        b.load(b.recast(b.helper("get_current_task"), Ptr(U64, space)))

    if space is Space.TRUSTED:
        legal.check(s.module(load))
    else:
        assert "through a helper only" in str(refused(load))


def test_source_line_is_shown() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        m.sources[s.__file__] = ["one\n", "two = 6 args\n"]
        b.loc = ir.Loc(2, 6)
        b.emit(ir.Helper(6, "trace_printk", [b.const(i) for i in range(6)]))

    assert "    two = 6 args\n          ^" in str(refused(body))


def test_mixed_operands() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        b.emit(ir.Binary("add", b.const(1, I64), b.const(1, I32)))

    assert "add of i64 and i32" in str(refused(body))


def test_sign_of_a_text() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        field = s.at(b, s.current(b, s.task_struct()), "comm")
        assert isinstance(field, ir.FieldAddr)
        b.field_info("signed", field)

    assert "only an integer has a signed" in str(refused(body))


def test_a_block_without_an_end() -> None:
    m = ir.Module()
    fn = s.program()
    Builder(fn).helper("ktime_get_ns")
    m.functions.append(fn)
    with pytest.raises(CompileError, match="no end"):
        legal.check(m)
